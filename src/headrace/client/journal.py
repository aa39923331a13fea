"""The journal: what a training logs is on the disk before anybody tries to send it.

A folder of files of lines. Each process appends to files of its own, so that forked workers may log too; one reader
takes the lines of all of them and acknowledges what has arrived. What was appended survives the death of the
process that appended it, though not, before the next `flush`, a loss of power.
"""

import os
import threading
import weakref
from collections import deque
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec

from headrace.errors import InternalError

SEGMENT_BYTES = 16 * 1024**2
PROGRESS_FILE = "acknowledged.json"
SUFFIX = ".jsonl"


class Journal:
    """The writing end. Safe to use from any thread, and on both sides of a fork.

    A disk that is full or gone fails nobody: lines are kept in memory then, for the reader in this process.

    Args:
        folder: where the files are; None keeps everything in memory.
        segment_bytes: how long a file grows before the next one is begun.
    """

    def __init__(self, folder: Path | None, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.memory: deque[bytes] = deque()
        self.trouble: OSError | None = None
        self._segment_bytes = segment_bytes
        self._file: int | None = None
        self._number = 0
        self._written = 0
        self._owner = os.getpid()
        self._lock = threading.Lock()
        _journals.add(self)

    def append(self, line: bytes) -> None:
        """Add one line, without its end of line."""
        with self._lock:
            try:
                self._write(line + b"\n")
            except OSError as error:
                self.trouble = error
                self.memory.append(line)

    def flush(self) -> None:
        """Have the disk keep what was appended, even through a loss of power."""
        if self._file is not None:
            os.fsync(self._file)

    def close(self) -> None:
        """Let go of the file; a later line would begin another."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None

    def adopt(self) -> None:
        """Begin files of this process, which is the child of a fork."""
        self._lock = threading.Lock()  # the parent's may be held by a thread that does not exist here
        self._owner, self._file, self._number = os.getpid(), None, 0
        self.memory = deque()

    def _write(self, data: bytes) -> None:
        if self.folder is None:
            raise OSError("there is no folder to write to")
        if self._file is None or self._written >= self._segment_bytes:
            self._begin_segment(self.folder)
        assert self._file is not None
        written = os.write(self._file, data)
        if written < len(data):  # a disk that became full; what is there must not run into the next line
            os.ftruncate(self._file, self._written)
            raise OSError("the disk is full")
        self._written += written

    def _begin_segment(self, folder: Path) -> None:
        while True:
            self._number += 1
            name = folder / f"{self._owner}-{self._number:06d}{SUFFIX}"
            try:
                file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except FileExistsError:  # of an earlier process with this pid
                continue
            if self._file is not None:
                os.close(self._file)
            self._file, self._written = file, 0
            return


_journals: "weakref.WeakSet[Journal]" = weakref.WeakSet()


def _adopt_all() -> None:
    for journal in list(_journals):
        journal.adopt()


# when a child has but one thread yet: later, two that log their first line at once would both do it
os.register_at_fork(after_in_child=_adopt_all)


class Chunk(msgspec.Struct, frozen=True):
    """Lines that were read together.

    Attributes:
        lines: whole lines, without their ends.
        segment: name of their file; empty for those out of memory.
        end: offset in the file behind the last of them, in bytes.
    """

    lines: tuple[bytes, ...]
    segment: str = ""
    end: int = 0


class JournalReader:
    """The reading end; one at a time.

    Args:
        folder: the journal's; None when there is only the memory.
        journal: the writing end in this process, for the lines that it has in memory.
    """

    def __init__(self, folder: Path | None, journal: Journal | None = None) -> None:
        self._folder = folder
        self._journal = journal
        self._acknowledged: dict[str, int] = _read_progress(folder)

    def read(self, limit_bytes: int) -> Chunk | None:
        """Whole lines that are not acknowledged yet, about `limit_bytes` of them; None when there are none."""
        for segment in self._segments():
            start = self._acknowledged.get(segment.name, 0)
            with segment.open("rb") as file:
                file.seek(start)
                data = file.read(limit_bytes)
                if data and b"\n" not in data:
                    data += file.readline()
            end = data.rfind(b"\n") + 1
            if end:
                return Chunk(tuple(data[: end - 1].split(b"\n")), segment.name, start + end)
        if self._journal is not None and self._journal.memory:
            return Chunk(tuple(list(self._journal.memory)[:1000]))
        return None

    def acknowledge(self, chunk: Chunk) -> None:
        """Never read these lines again. A progress that cannot be written is forgotten with the process."""
        if not chunk.segment:
            assert self._journal is not None
            for _ in chunk.lines:
                self._journal.memory.popleft()
            return
        self._acknowledged[chunk.segment] = chunk.end
        try:
            self._delete_finished()
            self._write_progress()
        except OSError:
            return

    def unread_bytes(self) -> int:
        """How much is left to read."""
        waiting = sum(map(len, self._journal.memory)) if self._journal is not None else 0
        for segment in self._segments():
            with suppress(FileNotFoundError):  # it was just read to its end, and deleted
                waiting += max(0, segment.stat().st_size - self._acknowledged.get(segment.name, 0))
        return waiting

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{SUFFIX}")) if self._folder is not None else []

    def _delete_finished(self) -> None:
        """Delete each file that is read to its end and has a successor: a long training leaves no long trail."""
        segments = self._segments()
        for segment, following in pairwise(segments):
            same_writer = segment.name.partition("-")[0] == following.name.partition("-")[0]
            if same_writer and self._acknowledged.get(segment.name, 0) >= segment.stat().st_size:
                segment.unlink()
                del self._acknowledged[segment.name]

    def _write_progress(self) -> None:
        assert self._folder is not None
        replace_file(self._folder / PROGRESS_FILE, msgspec.json.encode(self._acknowledged))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)


def _read_progress(folder: Path | None) -> dict[str, int]:
    if folder is None:
        return {}
    try:
        return msgspec.json.decode((folder / PROGRESS_FILE).read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise InternalError(
            "the progress of a journal cannot be read",
            where=str(folder / PROGRESS_FILE),
            fix="Delete the file: what was sent before is sent again, which is harmless.",
        ) from error
