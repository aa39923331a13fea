"""From an asynchronous request body to whoever stores it, in constant memory and off the event loop."""

from collections.abc import AsyncIterable, Callable, Iterator
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import RunVar

from headrace.errors import InvalidInput, TooLarge

T = TypeVar("T")

UPLOADS_AT_ONCE = 64
"""A thread each, but not of those that everything else takes turns on: a client may send as slowly as it likes."""

_turns: RunVar[anyio.CapacityLimiter] = RunVar("turns of uploads")

HUNG_UP = "client disconnected prematurely"
"""How the HTTP library says, with status 500, that a body ended before its end; it has no class for that."""


def cut_off() -> InvalidInput:
    """What a caller is told whose body ended before its end."""
    return InvalidInput("the body was cut off", where="body", fix="Send the whole of it again.")


async def receive(body: AsyncIterable[bytes], store: Callable[[Iterator[bytes]], T], *, limit_bytes: int) -> T:
    """Hand a request body on as it arrives; returns what `store` makes of it.

    Args:
        body: the chunks of the body.
        store: takes them in a thread of its own; keeps nothing when they end in an error.
        limit_bytes: the largest body that is taken.

    Raises:
        TooLarge: the body is larger.
    """
    iterator = aiter(body)

    async def following() -> bytes | None:
        return await anext(iterator, None)

    def chunks() -> Iterator[bytes]:
        received_bytes = 0
        while (chunk := anyio.from_thread.run(following)) is not None:
            received_bytes += len(chunk)
            if received_bytes > limit_bytes:
                raise TooLarge(
                    f"the body is larger than {limit_bytes} bytes",
                    where="body",
                    fix="Raise HEADRACE_UPLOAD_LIMIT_BYTES if that is meant.",
                )
            yield chunk

    try:
        turns = _turns.get()
    except LookupError:
        turns = anyio.CapacityLimiter(UPLOADS_AT_ONCE)
        _turns.set(turns)
    return await anyio.to_thread.run_sync(lambda: store(chunks()), limiter=turns)
