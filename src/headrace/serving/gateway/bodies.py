"""Bodies that do not come: whoever sends one byte a minute must not keep a place that others could have.

One timer looks after all of them. A timer for each body would cost a quick request some percent of its time.
"""

import asyncio
from collections.abc import Awaitable

from headrace.errors import BodyTimeout

LOOK_S = 1.0


class Bodies:
    """Waits for bodies, on the gateway's event loop.

    Args:
        timeout_s: how long for each; it may be `LOOK_S` more.
    """

    def __init__(self, timeout_s: float, look_s: float = LOOK_S) -> None:
        self._timeout_s = timeout_s
        self._look_s = min(look_s, timeout_s)
        self._since_s: dict[asyncio.Task[object], float] = {}
        """The oldest first."""
        self._late: set[asyncio.Task[object]] = set()
        self._looking = False

    async def wait(self, body: Awaitable[bytes]) -> bytes:
        """A body.

        Raises:
            BodyTimeout: it did not come in time.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._since_s[task] = loop.time()
        if not self._looking:
            self._looking = True
            loop.call_later(self._look_s, self._look, loop)
        try:
            return await body
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            task.uncancel()
            raise BodyTimeout(
                f"the body did not come within {self._timeout_s:.0f} seconds",
                where="body",
                fix="Send it again, in smaller parts if the line is slow.",
            ) from None
        finally:
            self._since_s.pop(task, None)
            self._late.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        for task, since_s in list(self._since_s.items()):
            if loop.time() - since_s < self._timeout_s:
                break
            self._late.add(task)
            del self._since_s[task]
            task.cancel()
        self._looking = bool(self._since_s)
        if self._looking:
            loop.call_later(self._look_s, self._look, loop)
