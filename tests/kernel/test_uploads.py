"""Bodies on their way in: as long as they take, and nobody else waits for them."""

from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.to_thread
import pytest

from headrace.errors import TooLarge
from headrace.kernel.uploads import receive

MANY = 50
"""More than the threads that everything else takes turns on."""


async def body(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def test_a_body_arrives_in_its_order() -> None:
    async def work() -> bytes:
        return await receive(body(b"a", b"b", b"c"), b"".join, limit_bytes=3)

    assert anyio.run(work) == b"abc"


def test_a_body_that_is_too_large_is_refused() -> None:
    async def work() -> bytes:
        return await receive(body(b"a", b"b"), b"".join, limit_bytes=1)

    with pytest.raises(TooLarge):
        anyio.run(work)


def test_uploads_that_take_their_time_hold_up_nothing_else() -> None:
    """While they wait for their bytes, a thread is still there for whoever reads."""
    waiting = 0

    async def work() -> str:
        more, full = anyio.Event(), anyio.Event()

        async def slow() -> AsyncIterator[bytes]:
            nonlocal waiting
            waiting += 1
            if waiting == MANY:
                full.set()
            await more.wait()
            yield b"at last"

        read = ""

        def keep(chunks: Iterator[bytes]) -> int:
            return len(b"".join(chunks))

        async with anyio.create_task_group() as uploads:
            for _ in range(MANY):
                uploads.start_soon(lambda: receive(slow(), keep, limit_bytes=100))
            with anyio.move_on_after(30):
                await full.wait()
                read = await anyio.to_thread.run_sync(str.upper, "read")
            more.set()
        return read

    assert anyio.run(work) == "READ"
