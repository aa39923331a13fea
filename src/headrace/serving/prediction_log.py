"""The prediction log: every answer ends up in a segment file, and no request waits for a disk.

The event loop puts records into a bounded queue; a thread writes them as JSON lines to one open segment for each
model and closes it when it is large, old, or when a replay has moved the business clock on. Closed segments
belong to the compaction, which moves them into the lake. What a full queue cannot take is counted, not awaited.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from headrace.serving.nouns import BusinessTime, PredictionRecord

OPEN, CLOSED = ".open", ".segment"
FLUSH_S = 0.05
SYNC_S = 1.0


def folder_name(name: str) -> str:
    """A model's or gateway's name as the name of one folder, whatever signs it has."""
    return quote(name, safe="").replace(".", "%2E")


def segment_folder(root: Path, gateway: str, model: str) -> Path:
    """Where a gateway's segments of a model lie."""
    return root / folder_name(gateway) / folder_name(model)


def segments(root: Path, model: str, suffix: str) -> dict[str, list[Path]]:
    """A model's segments by gateway, each list in the order in which they were begun."""
    found: dict[str, list[Path]] = {}
    for path in sorted(root.glob(f"*/{folder_name(model)}/*{suffix}"), key=segment_number):
        found.setdefault(unquote(path.parent.parent.name), []).append(path)
    return found


def segment_number(path: Path) -> int:
    """Place of a segment in its gateway's order."""
    return int(path.stem)


def models_logged(root: Path) -> list[str]:
    """Models that have segments of any kind."""
    return sorted({unquote(path.parent.name) for path in root.glob("*/*/*") if path.suffix in {OPEN, CLOSED}})


def read_segment(path: Path) -> Iterator[PredictionRecord | None]:
    """The records of a segment; None for a line that cannot be read, as a killed gateway may leave as its last."""
    decoder = msgspec.json.Decoder(PredictionRecord)
    with path.open("rb") as file:
        for line in file:
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError:
                yield None


class _Segment:
    """One open segment; used by the writer thread only."""

    def __init__(self, path: Path, earliest: datetime) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = self._path.open("xb", buffering=0)
        self.begun_s = time.monotonic()
        self.earliest = earliest
        self.size_bytes = 0
        self._unsynced = False

    def write(self, lines: bytes) -> None:
        view = memoryview(lines)
        while view:
            view = view[self._file.write(view) :]
        self.size_bytes += len(lines)
        self._unsynced = True

    def sync(self) -> None:
        if self._unsynced:
            os.fdatasync(self._file.fileno())
            self._unsynced = False

    def close(self) -> None:
        self.sync()
        self._file.close()
        self._path.rename(self._path.with_suffix(CLOSED))


class _Numbers:
    """Rising segment numbers of one gateway: microseconds of wall time, which the compaction relies on to rise.

    The last one is kept in a file, since a clock may have been set back while the gateway was away.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = 0

    def restore(self) -> None:
        with suppress(OSError, ValueError):
            self._last = int(self._path.read_text())

    def next(self) -> int:
        self._last = max(self._last + 1, time.time_ns() // 1000)
        unfinished = self._path.with_suffix(".new")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(str(self._last))
        unfinished.replace(self._path)
        return self._last


class PredictionLog:
    """The log of one gateway process.

    Args:
        root: folder of all gateways' logs.
        gateway: this gateway's name; nobody else writes to its folder.
        business_time: tells the business clock; never runs backwards.
        capacity: records that wait for the disk at most.
        segment_bytes: size at which a segment is closed.
        segment_s: age in seconds at which a segment is closed.
    """

    def __init__(
        self,
        root: Path,
        gateway: str,
        *,
        business_time: Callable[[], BusinessTime],
        capacity: int = 100_000,
        segment_bytes: int = 8 << 20,
        segment_s: float = 10.0,
    ) -> None:
        self._root = root
        self._gateway = gateway
        self._business_time = business_time
        self._capacity = capacity
        self._segment_bytes = segment_bytes
        self._segment_s = segment_s
        self._waiting: deque[PredictionRecord] = deque()
        self._in_flight: dict[int, datetime] = {}
        self._tickets = 0
        self._open: dict[str, _Segment] = {}
        self._numbers = _Numbers(root / folder_name(gateway) / "last")
        self._encode = msgspec.json.Encoder().encode_lines
        self._stopping = threading.Event()
        self._writer = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self.dropped = 0
        """Records that were not written: the queue was full, or the disk refused them."""
        self.logged_until: datetime | None = None
        """All records with an earlier business time are in closed segments."""

    def start(self) -> None:
        """Close what a former process of this gateway left open, then begin to write."""
        self._numbers.restore()
        own = self._root / folder_name(self._gateway)
        for left in sorted(own.glob(f"*/*{OPEN}"), key=segment_number):
            left.rename(left.with_name(f"{self._numbers.next()}{CLOSED}"))  # later ones may be in the lake
        self._writer.start()

    def begin(self, business_at: datetime) -> int:
        """A request begins, whose records will have this business time; returns a ticket for `end`."""
        self._tickets += 1
        self._in_flight[self._tickets] = business_at
        return self._tickets

    def end(self, ticket: int) -> None:
        """The request has handed in its records."""
        del self._in_flight[ticket]

    def append(self, record: PredictionRecord) -> None:
        """Hand in a record; never waits."""
        if len(self._waiting) >= self._capacity:
            self.dropped += 1
        else:
            self._waiting.append(record)

    def close(self) -> None:
        """Write what waits and close every segment."""
        self._stopping.set()
        if self._writer.is_alive():
            self._writer.join()

    def _run(self) -> None:
        synced_s = time.monotonic()
        while not self._stopping.wait(FLUSH_S):
            self._cycle()
            if time.monotonic() - synced_s >= SYNC_S:
                for segment in self._open.values():
                    with suppress(OSError):
                        segment.sync()
                synced_s = time.monotonic()
        self._cycle(closing=True)

    def _cycle(self, *, closing: bool = False) -> None:
        # Requests that begin after this line have a business time of at least `horizon`; earlier ones are either
        # in flight or have handed in their records, which the drain below then finds.
        clock = self._business_time()
        horizon = min(list(self._in_flight.values()), default=clock.now)
        horizon = min(horizon, clock.now)
        self._drain()
        for model, segment in list(self._open.items()):
            old = time.monotonic() - segment.begun_s >= self._segment_s
            moved_on = clock.replayed and segment.earliest < clock.now
            if closing or old or moved_on or segment.size_bytes >= self._segment_bytes:
                self._close(model)
        self.logged_until = min([horizon, *(segment.earliest for segment in self._open.values())])

    def _drain(self) -> None:
        by_model: dict[str, list[PredictionRecord]] = {}
        for _ in range(len(self._waiting)):
            record = self._waiting.popleft()
            by_model.setdefault(record.model, []).append(record)
        for model, records in by_model.items():
            earliest = min(record.business_at for record in records)
            try:
                if model not in self._open:
                    folder = segment_folder(self._root, self._gateway, model)
                    self._open[model] = _Segment(folder / f"{self._numbers.next()}{OPEN}", earliest)
                segment = self._open[model]
                segment.earliest = min(segment.earliest, earliest)
                segment.write(self._encode(records))
            except OSError:  # a full disk; a torn line must stay the last of its segment
                self.dropped += len(records)
                self._close(model)

    def _close(self, model: str) -> None:
        segment = self._open.pop(model, None)
        if segment is not None:
            with suppress(OSError):
                segment.close()
