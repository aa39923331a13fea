"""A closed-loop HTTP load: so many connections, each asking again as soon as it was answered.

Written on bare protocols, since the client may share the machine with the server that it measures.
"""

import asyncio
import itertools
import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
WARMING = 0.2
"""Share of the time whose answers are not measured."""


class Load(NamedTuple):
    """What was measured."""

    connections: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    requests: int
    failed: int
    """Answers that were not 200, and connections that broke."""


class _Connection(asyncio.Protocol):
    def __init__(self, next_request: Callable[[], bytes], answered: Callable[[float, bool], bool]) -> None:
        self._next_request = next_request
        self._answered = answered
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._sent_s = 0.0
        self._waits = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not of asyncio's class
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._waits = True
        self._sent_s = time.perf_counter()
        self._transport.write(self._next_request())

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        found = _LENGTH.search(buffer, 0, end)
        if len(buffer) < end + 4 + int(found[1]) if found else not buffer.endswith(b"0\r\n\r\n"):  # chunked
            return
        self._buffer = b""
        self._waits = False
        if self._answered(time.perf_counter() - self._sent_s, buffer.startswith(b"HTTP/1.1 200")):
            self._send()
        elif self._transport is not None:
            self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._waits:
            self._answered(time.perf_counter() - self._sent_s, False)  # noqa: FBT003 - it was not good
        if not self.closed.done():
            self.closed.set_result(None)


async def run(port: int, path: str, bodies: Sequence[bytes], *, connections: int, seconds: float) -> Load:
    """Send the bodies in turns, over and over, to a server on this machine.

    Args:
        port: of the server.
        path: where to.
        bodies: JSON.
        connections: how many at once.
        seconds: how long; the first of it only warms up.
    """
    requests = itertools.cycle([_request(port, path, body) for body in bodies])
    durations_s: list[float] = []
    failed = 0
    begin_s = time.perf_counter() + seconds * WARMING
    end_s = begin_s + seconds * (1 - WARMING)

    def answered(duration_s: float, good: bool) -> bool:
        nonlocal failed
        now_s = time.perf_counter()
        if begin_s <= now_s < end_s:
            durations_s.append(duration_s)
            failed += not good
        return now_s < end_s

    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: _Connection(requests.__next__, answered), "127.0.0.1", port)
        for _ in range(connections)
    ]
    for _, connection in opened:
        await connection.closed
    durations_s.sort()
    return Load(
        connections=connections,
        requests_per_s=len(durations_s) / (seconds * (1 - WARMING)),
        p50_ms=_quantile(durations_s, 0.5) * 1_000,
        p99_ms=_quantile(durations_s, 0.99) * 1_000,
        requests=len(durations_s),
        failed=failed,
    )


def _request(port: int, path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
