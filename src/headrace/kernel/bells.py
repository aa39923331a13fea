"""Bells wake a waiting loop or stream after a commit; who misses one finds the change by looking."""

import asyncio
import threading
from collections import defaultdict


class Bell:
    """Named wake-ups inside one process. `ring` may be called from any thread, `wait` from an event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(list)
        self._rung: dict[str, int] = defaultdict(int)
        self.closed = False
        """Set when the process ends: streams end too, or it would wait for them."""

    def ring(self, topic: str) -> None:
        """Wake everyone who waits on `topic` now."""
        with self._lock:
            self._rung[topic] += 1
            waiting = self._waiting.pop(topic, [])
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        """The process ends: wake everyone, whatever they wait for."""
        self.closed = True
        with self._lock:
            topics = list(self._waiting)
        for topic in topics:
            self.ring(topic)

    def rung(self, topic: str) -> int:
        """How often `topic` was rung; to be asked before a look, and given to the `wait` after it."""
        with self._lock:
            return self._rung[topic]

    async def wait(self, topic: str, timeout_s: float, *, after: int | None = None) -> bool:
        """Wait for the next ring of `topic`; False when `timeout_s` seconds pass without one.

        Args:
            topic: what to wait for.
            timeout_s: for how long.
            after: what `rung` told before the caller last looked; a ring since then is not missed.
        """
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            if after is not None and self._rung[topic] != after:
                return True
            self._waiting[topic].append(entry)
        try:
            await asyncio.wait_for(entry[1].wait(), timeout_s)
        except TimeoutError:
            return False
        finally:
            with self._lock:
                if entry in self._waiting.get(topic, []):
                    self._waiting[topic].remove(entry)
        return True
