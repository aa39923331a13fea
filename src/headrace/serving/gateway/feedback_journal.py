"""A gateway's journal of feedback: on disk before the caller is answered, and brought to control when it is there.

A thread writes what requests hand in, all that waits with one sync, to one open file. Another brings closed files
to control, oldest first, and removes each when control has it. Control keeps nothing twice, so a delivery that died
in between is repeated. The writer holds a lock on its open file: what has no such lock belongs to a gateway that is
gone, and any other one brings it.
"""

import asyncio
import fcntl
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from headrace.errors import HeadraceError, InvalidInput, NotAuthenticated, PermissionRefused, TooLarge, Unavailable
from headrace.kernel.ids import new_hex
from headrace.serving.feedback_nouns import Submitted
from headrace.serving.log.segments import CLOSED, OPEN, folder_name

log = structlog.get_logger()

REFUSED = ".refused"
LOOK_S = 0.25
LONGEST_PAUSE_S = 10.0
DELIVERY_ITEMS = 1_000
DELIVERY_BYTES = 4 << 20
CAPACITY_BYTES = 1 << 30
"""What a gateway keeps at most while control does not take it."""

Deliver = Callable[[Sequence[Submitted]], object]
"""Hands items to control; raises its errors."""


class FeedbackJournal:
    """The journal of one gateway process.

    Args:
        root: folder of all gateways' journals.
        gateway: this gateway's name.
        deliver: hands items to control.
        capacity_bytes: of files that control has not taken.
    """

    def __init__(self, root: Path, gateway: str, deliver: Deliver, *, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._root = root
        self._folder = root / folder_name(gateway)
        self._deliver = deliver
        self._capacity_bytes = capacity_bytes
        self._waiting: deque[tuple[bytes, Future[None]]] = deque()
        self._handed_in = threading.Condition()
        self._stopping = False
        self._kept_bytes = 0
        """Of this gateway's files as it last looked, since others bring and remove them too."""
        self._coming_bytes = 0
        """Of what is on its way into them."""
        self._open: tuple[Path, BinaryIO] | None = None
        self._file_lock = threading.Lock()
        self._writer = threading.Thread(target=self._write, name="feedback-journal", daemon=True)
        self._ended = threading.Event()
        self._bringer = threading.Thread(target=self._bring, name="feedback-delivery", daemon=True)

    def start(self) -> None:
        """Begin to write and to deliver."""
        self._count()
        self._writer.start()
        self._bringer.start()

    async def take(self, items: Sequence[Submitted]) -> None:
        """Return when the items are on the disk.

        Raises:
            Unavailable: the disk does not take them, or control was away for so long that too much waits.
        """
        lines = msgspec.json.Encoder().encode_lines(items)
        written: Future[None] = Future()
        with self._handed_in:
            if self._stopping or self._kept_bytes + self._coming_bytes + len(lines) > self._capacity_bytes:
                raise Unavailable(
                    "no more feedback can be kept until the platform takes what waits",
                    where="feedback",
                    fix="Send it again later; nothing of it was kept.",
                )
            self._coming_bytes += len(lines)
            self._waiting.append((lines, written))
            self._handed_in.notify()
        try:
            await asyncio.wrap_future(written)
        except OSError as error:
            raise Unavailable(
                f"the disk does not take feedback ({type(error).__name__})",
                where="feedback",
                fix="Send it again; what was kept of it is not kept twice.",
            ) from error

    def close(self) -> None:
        """Write what waits, and try once to deliver it."""
        with self._handed_in:
            self._stopping = True
            self._handed_in.notify()
        self._ended.set()
        for thread in (self._writer, self._bringer):
            if thread.is_alive():
                thread.join()
        self._close_file()
        with suppress(HeadraceError, OSError):
            self._bring_all()

    def _write(self) -> None:
        while True:
            with self._handed_in:
                while not self._waiting and not self._stopping:
                    self._handed_in.wait()
                if not self._waiting:
                    return
                taken = list(self._waiting)
                self._waiting.clear()
            problem: OSError | None = None
            try:
                self._append(b"".join(lines for lines, _ in taken))
            except OSError as error:
                problem = error
            with self._handed_in:
                self._coming_bytes -= sum(len(lines) for lines, _ in taken)
            for _, written in taken:
                if not written.set_running_or_notify_cancel():  # its caller is gone
                    continue
                if problem is None:
                    written.set_result(None)
                else:
                    written.set_exception(problem)

    def _append(self, lines: bytes) -> None:
        with self._file_lock:
            if self._open is None:
                self._open = _begin(self._folder)
            path, file = self._open
            try:
                view = memoryview(lines)
                while view:
                    view = view[file.write(view) :]
                os.fdatasync(file.fileno())
                self._kept_bytes += len(lines)
            except OSError:  # a torn line must stay the last of its file
                self._open = None
                file.close()
                with suppress(OSError):
                    path.rename(path.with_suffix(CLOSED))
                raise

    def _count(self) -> None:
        """See how much waits. A failed write is found here as well, with what it left."""
        with self._file_lock:
            self._kept_bytes = sum(_size_bytes(path) for path in _files(self._folder))

    def _close_file(self) -> None:
        with self._file_lock:
            if self._open is not None:
                path, file = self._open
                path.rename(path.with_suffix(CLOSED))
                file.close()
                self._open = None

    def _bring(self) -> None:
        pause_s = LOOK_S
        while not self._ended.wait(pause_s):
            try:
                self._close_file()
                self._bring_all()
                pause_s = LOOK_S
            except (HeadraceError, OSError):
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            except Exception:
                log.exception("feedback could not be delivered")
                pause_s = LONGEST_PAUSE_S
            self._count()

    def _bring_all(self) -> None:
        _adopt(self._root)
        for path in sorted(self._root.glob(f"*/*{CLOSED}"), key=lambda path: path.name):
            with suppress(FileNotFoundError):  # another gateway has brought it
                try:
                    for items in _batches(path):
                        self._deliver(items)
                except (NotAuthenticated, PermissionRefused):
                    raise
                except (InvalidInput, TooLarge) as problem:
                    log.error("control refuses feedback; it is set aside", file=str(path), problem=str(problem))
                    path.rename(path.with_suffix(REFUSED))
                    continue
                path.unlink()


def _begin(folder: Path) -> tuple[Path, BinaryIO]:
    """A new open file with its lock; its name sorts by time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{new_hex()}{OPEN}"
    file = path.open("xb", buffering=0)
    fcntl.flock(file, fcntl.LOCK_EX)
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return path, file


def _adopt(root: Path) -> None:
    """Close what gateways that are gone have left open."""
    for path in root.glob(f"*/*{OPEN}"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.rename(path.with_suffix(CLOSED))


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.suffix in {OPEN, CLOSED}]


def _size_bytes(path: Path) -> int:
    """0 when it is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _batches(path: Path) -> Iterator[list[Submitted]]:
    """The items of a file, some at a time; a torn last line was never answered for."""
    decoder = msgspec.json.Decoder(Submitted)
    batch: list[Submitted] = []
    size_bytes = 0
    with path.open("rb") as file:
        for line in file:
            try:
                batch.append(decoder.decode(line))
            except msgspec.DecodeError:
                log.warning("a line of feedback cannot be read", file=str(path))
                continue
            size_bytes += len(line)
            if len(batch) >= DELIVERY_ITEMS or size_bytes >= DELIVERY_BYTES:
                yield batch
                batch, size_bytes = [], 0
    if batch:
        yield batch
