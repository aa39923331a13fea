"""A closed-loop HTTP load: so many connections, each asking again as soon as it was answered.

Written on bare protocols, since the client shares the machine with the server that it measures. Run as a program it
prints one JSON line, so that it can have a process of its own.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import uvloop

_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


class Load(NamedTuple):
    """What was measured."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    requests: int
    failed: int
    """Answers that were not 200."""


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, answered: Callable[[float, bool], bool]) -> None:
        self._request = request
        self._answered = answered
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._sent_s = 0.0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not of asyncio's class
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent_s = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        found = _LENGTH.search(buffer, 0, end)
        if found is not None:
            if len(buffer) < end + 4 + int(found[1]):
                return
        elif not buffer.endswith(b"0\r\n\r\n"):  # chunked
            return
        self._buffer = b""
        more = self._answered(time.perf_counter() - self._sent_s, buffer.startswith(b"HTTP/1.1 200"))
        if more:
            self._send()
        else:
            assert self._transport is not None
            self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


async def run(host: str, port: int, path: str, body: bytes, *, connections: int, seconds: float) -> Load:
    """Send the same request over and over.

    Args:
        host: of the server.
        port: of the server.
        path: where to.
        body: JSON.
        connections: how many at once.
        seconds: how long; the first fifth of it only warms up.
    """
    request = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    durations_s: list[float] = []
    failed = 0
    begin_s = time.perf_counter() + seconds / 5
    end_s = begin_s + seconds * 4 / 5

    def answered(duration_s: float, good: bool) -> bool:
        nonlocal failed
        now_s = time.perf_counter()
        if begin_s <= now_s < end_s:
            durations_s.append(duration_s)
            failed += not good
        return now_s < end_s

    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: _Connection(request, answered), host, port) for _ in range(connections)
    ]
    for _, connection in opened:
        await connection.closed
    durations_s.sort()
    if not durations_s:
        return Load(0.0, float("nan"), float("nan"), 0, failed)
    return Load(
        requests_per_s=len(durations_s) / (seconds * 4 / 5),
        p50_ms=_quantile(durations_s, 0.5) * 1_000,
        p99_ms=_quantile(durations_s, 0.99) * 1_000,
        requests=len(durations_s),
        failed=failed,
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    body = sys.stdin.buffer.read()
    load = uvloop.run(
        run(given.host, given.port, given.path, body, connections=given.connections, seconds=given.seconds)
    )
    print(json.dumps(load._asdict()))


if __name__ == "__main__":
    main()
