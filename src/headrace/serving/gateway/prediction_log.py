"""The prediction log: every answer ends up in a segment file, and no request waits for a disk.

The event loop puts records into a bounded queue; a thread writes them as JSON lines to one open segment for each
model and closes it when it is large, old, or when a replay has moved the business clock on. Closed segments
belong to the compaction, which moves them into the lake. What a full queue cannot take is counted, not awaited.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import structlog

from headrace.serving.gateway.tally import Tally
from headrace.serving.log.segments import (
    BEGUN,
    CLOSED,
    OPEN,
    Lines,
    Logged,
    folder_name,
    hold,
    segment_folder,
    segment_number,
)
from headrace.serving.nouns import BusinessTime

log = structlog.get_logger()

FLUSH_S = 0.05
SYNC_S = 1.0
WIDE = 100
"""A row takes the room of one more for every so many features: what waits is bounded in memory, too."""


class _Segment:
    """One open segment; used by the writer thread only."""

    def __init__(self, path: Path, earliest: datetime) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        begun = path.with_suffix(BEGUN)  # nobody may find it open before it is held
        self._file = begun.open("xb", buffering=0)
        hold(self._file)
        begun.rename(path)
        self.begun_s = time.monotonic()
        self.earliest = earliest
        self.lines = Lines()
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
        with self._file:  # held until it is renamed
            self.sync()
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


class Era:
    """The requests that began between two looks of the writer."""

    __slots__ = ("began", "in_flight")

    def __init__(self, began: datetime) -> None:
        self.began = began
        self.in_flight = 0


class PredictionLog:
    """The log of one gateway process.

    Args:
        root: folder of all gateways' logs.
        gateway: this gateway's name; nobody else writes to its folder.
        business_time: tells the business clock; never runs backwards.
        capacity: rows that wait for the disk at most.
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
        self._waiting: deque[Logged] = deque()
        self._waiting_size = 0
        self._written_size = 0
        self._era = Era(business_time().now)
        self._eras = deque([self._era])
        self._open: dict[str, _Segment] = {}
        self._numbers = _Numbers(root / folder_name(gateway) / "last")
        self._tally = Tally(root / folder_name(gateway) / "tally")
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
            with suppress(OSError):  # a full disk, or a compaction that adopts it, as it does with what stays open
                left.rename(left.with_name(f"{self._numbers.next()}{CLOSED}"))  # later ones may be in the lake
        lost = self._tally.restore()
        if lost:
            log.warning("the former process was killed before it wrote all predictions", predictions_lost=lost)
        self._writer.start()

    @property
    def lost(self) -> int:
        """Predictions that former processes of this gateway never wrote, since they were killed."""
        return self._tally.lost

    def begin(self) -> "Era":
        """A request begins; it reads the business clock after this, and gives what it gets here to `end`."""
        era = self._era
        era.in_flight += 1
        return era

    def end(self, era: "Era") -> None:
        """The request has handed in its answers."""
        era.in_flight -= 1

    def append(self, logged: Logged) -> None:
        """Hand in answers; never waits."""
        rows = len(logged.ids)
        waiting = self._waiting_size - self._written_size
        size = rows * (1 + len(logged.names) // WIDE)
        if waiting + (size if waiting else rows) > self._capacity:
            self.dropped += rows
        else:
            self._waiting_size += size
            self._tally.hand_in(rows)
            self._waiting.append(logged)

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
        # Who begins after this line reads a clock that is at least here; who began before is counted in an era, or
        # has handed in its answers, which the drain below then finds.
        clock = self._business_time()
        self._era = Era(clock.now)
        self._eras.append(self._era)
        while self._eras[0] is not self._era and not self._eras[0].in_flight:
            self._eras.popleft()
        horizon = self._eras[0].began
        self._drain()
        for model, segment in list(self._open.items()):
            old = time.monotonic() - segment.begun_s >= self._segment_s
            moved_on = clock.replayed and segment.earliest < clock.now
            if closing or old or moved_on or segment.size_bytes >= self._segment_bytes:
                self._close(model)
        self.logged_until = min([horizon, *(segment.earliest for segment in self._open.values())])

    def _drain(self) -> None:
        by_model: dict[str, list[Logged]] = {}
        for _ in range(len(self._waiting)):
            logged = self._waiting.popleft()
            by_model.setdefault(logged.counted.model, []).append(logged)
        for model, answers in by_model.items():
            earliest = min(logged.business_at for logged in answers)
            rows = sum(len(logged.ids) for logged in answers)
            size = sum(len(logged.ids) * (1 + len(logged.names) // WIDE) for logged in answers)
            try:
                if model not in self._open:
                    folder = segment_folder(self._root, self._gateway, model)
                    self._open[model] = _Segment(folder / f"{self._numbers.next()}{OPEN}", earliest)
                segment = self._open[model]
                segment.earliest = min(segment.earliest, earliest)
                segment.write(self._encoded(segment, answers))
            except OSError:  # a full disk; a torn line must stay the last of its segment
                self.dropped += rows
                self._close(model)
            self._written_size += size
            self._tally.settle(rows)

    def _encoded(self, segment: _Segment, answers: Sequence[Logged]) -> bytes:
        """The lines of requests; a defect in one of them must not take those of others along."""
        try:
            return segment.lines.of(answers)
        except Exception:
            if len(answers) > 1:
                return b"".join(self._encoded(segment, [logged]) for logged in answers)
            (logged,) = answers
            log.exception("predictions could not be written", model=logged.counted.model)
            self.dropped += len(logged.ids)
            return b""

    def _close(self, model: str) -> None:
        segment = self._open.pop(model, None)
        if segment is not None:
            with suppress(OSError):
                segment.close()
