"""The load counts whole answers, however they are framed, and what breaks."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from headrace.server import load
from headrace.server.load import Load

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def measured(answer: Answer) -> Load:
    """A load on a server that answers every request as it is told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n{}")
                await answer(writer)
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        return await load.run(server.sockets[0].getsockname()[1], "/", [b"{}"], connections=2, seconds=0.4)


async def in_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n")
    await writer.drain()
    await asyncio.sleep(0.001)
    writer.write(b"0\r\n\r\n")


async def in_two_parts(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{}")
    await writer.drain()
    await asyncio.sleep(0.001)
    writer.write(b"{}")


async def refused(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")


async def broken(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.1)
    writer.close()


@pytest.mark.parametrize("answer", [in_chunks, in_two_parts])
def test_an_answer_is_counted_once_it_is_whole(answer: Answer) -> None:
    found = asyncio.run(measured(answer))
    assert found.requests > 0
    assert found.failed == 0
    assert found.p50_ms > 0.5  # not before its second part


@pytest.mark.parametrize("answer", [refused, broken])
def test_what_is_no_answer_counts_as_failed(answer: Answer) -> None:
    found = asyncio.run(measured(answer))
    assert found.requests == found.failed > 0
