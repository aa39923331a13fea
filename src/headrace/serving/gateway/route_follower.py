"""Follows control's stream of routes and remembers the last of it, so that serving goes on when control is gone."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from headrace.client.transport import Transport
from headrace.errors import HeadraceError
from headrace.serving.nouns import (
    BusinessTime,
    CallersSet,
    Heartbeat,
    RouteRemoved,
    RouteSet,
    Snapshot,
    StreamLine,
)

log = structlog.get_logger()

STREAM_PATH = "/api/v1/routes/stream"
SILENCE_S = 3.0
"""Control sends a line each second; after this long without one it is away."""
RECONNECT_S = 0.25
PRIVATE = 0o600
"""Hashes of tokens are nobody else's business."""


def fold(known: Snapshot | None, line: StreamLine) -> Snapshot | None:
    """What is known after one more line; None until the first snapshot."""
    if isinstance(line, Snapshot) or known is None:
        return line if isinstance(line, Snapshot) else None
    match line:
        case RouteSet():
            others = tuple(route for route in known.routes if route.model != line.route.model)
            return msgspec.structs.replace(known, sequence=line.sequence, routes=(*others, line.route))
        case RouteRemoved():
            others = tuple(route for route in known.routes if route.model != line.model)
            return msgspec.structs.replace(known, sequence=line.sequence, routes=others)
        case Heartbeat():
            return msgspec.structs.replace(known, time=line.time)
        case CallersSet():
            return msgspec.structs.replace(known, callers=line.callers)


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a stream of chunks, as soon as each is complete."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line)


class Memory:
    """Writes what is known to a file, on a thread of its own: the disk may be slow, and no route waits for it.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._latest: Snapshot | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="route-memory", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def keep(self, known: Snapshot) -> None:
        """Write this soon; of several that come meanwhile, the last is enough."""
        with self._changed:
            self._latest = known
            self._changed.notify()

    def close(self) -> None:
        """Write what is left, and end."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._latest is not None)
                known, self._latest = self._latest, None
            if known is None:
                return
            save(self._path, known)


class RouteFollower:
    """A thread that keeps the last known routes, callers and business time.

    Args:
        transport: to control; its timeout must be a few seconds, as a silent stream has to end.
        saved: file that holds what was last known.
        received: called on the follower's thread with each line.
        wall: wall time.
    """

    def __init__(
        self,
        transport: Transport,
        saved: Path,
        *,
        received: Callable[[StreamLine], None],
        wall: Callable[[], datetime],
    ) -> None:
        self._transport = transport
        self._saved = saved
        self._memory = Memory(saved)
        self._received = received
        self._wall = wall
        self._decoder: msgspec.json.Decoder[StreamLine] = msgspec.json.Decoder(StreamLine)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="route-follower", daemon=True)
        self._heard_s: float | None = None
        self.known: Snapshot | None = None

    def start(self) -> Snapshot | None:
        """Begin to follow; returns what a former process of this gateway has left behind."""
        with suppress(OSError, msgspec.DecodeError):
            self.known = msgspec.json.decode(self._saved.read_bytes(), type=Snapshot)
        self._memory.start()
        self._thread.start()
        return self.known

    def stop(self) -> None:
        """Follow no longer; what is known is on disk when this returns."""
        self._stopping.set()
        self._memory.close()

    def control_away(self) -> bool:
        """Whether control has been silent for some seconds."""
        return self._heard_s is None or time.monotonic() - self._heard_s > SILENCE_S

    def business_time(self) -> BusinessTime:
        """Business time: as told while a replay moves it, else it follows wall time."""
        if self.known is not None and self.known.time.replayed:
            return self.known.time
        return BusinessTime(now=self._wall())

    def _run(self) -> None:
        connected = None
        while not self._stopping.is_set():
            try:
                with self._transport.download(STREAM_PATH) as chunks:
                    for text in split_lines(chunks):
                        if self._stopping.is_set():
                            return
                        self._take(self._decoder.decode(text))
                        if connected is not True:
                            log.info("control is there")
                            connected = True
            except (HeadraceError, msgspec.DecodeError) as problem:
                if connected is not False:
                    log.warning("control is away, serving what is known", reason=type(problem).__name__)
                    connected = False
            self._stopping.wait(RECONNECT_S)

    def _take(self, line: StreamLine) -> None:
        before = self.known
        known = fold(before, line)
        if known is None:
            return
        self._heard_s = time.monotonic()
        self.known = known
        self._received(line)
        if before is None or not _same(before, known):
            self._memory.keep(known)


def _same(before: Snapshot, after: Snapshot) -> bool:
    """Whether nothing changed that would have to be remembered; wall time passing is no change."""
    if before.time != after.time and (before.time.replayed or after.time.replayed):
        return False
    return (before.sequence, before.routes, before.callers) == (after.sequence, after.routes, after.callers)


def save(path: Path, known: Snapshot) -> None:
    """Write what is known so that a crash leaves either the old or the new file; a full disk only loses memory."""
    unfinished = path.with_suffix(".new")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(known))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
