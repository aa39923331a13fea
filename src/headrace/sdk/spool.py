"""The spool: the folder where runs wait to be sent, one folder for each.

SPOOL/RUN_ID/ holds `beginning.json` and `ending.json` (how it began and ended), `journal/`, `files/` (copies of
what was logged), `rejected.jsonl` (what the platform refused, each line with the reason) and `lock` (held by
who writes or sends it).
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from filelock import FileLock, Timeout

from headrace.client.journal import replace_file
from headrace.errors import InternalError
from headrace.sdk.records import Beginning, Ending

BEGINNING_FILE = "beginning.json"
ENDING_FILE = "ending.json"
REJECTED_FILE = "rejected.jsonl"
JOURNAL = "journal"
COPIES = "files"

T = TypeVar("T")


class SpooledRun:
    """The folder of one run. Whoever holds its lock may write and send it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / "lock", thread_local=False)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.folder.name

    @property
    def journal(self) -> Path:
        """The folder of the journal."""
        return self.folder / JOURNAL

    @property
    def copies(self) -> Path:
        """Where copies of logged files lie until they have arrived."""
        return self.folder / COPIES

    @property
    def rejected(self) -> Path:
        """What the platform refused."""
        return self.folder / REJECTED_FILE

    def create(self, beginning: Beginning) -> None:
        """Make the folder and take it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.journal.mkdir(exist_ok=True, mode=0o700)
        self.copies.mkdir(exist_ok=True, mode=0o700)
        self._lock.acquire(timeout=0)
        replace_file(self.folder / BEGINNING_FILE, msgspec.json.encode(beginning))

    def take(self) -> bool:
        """Take the folder; False when a process that lives holds it."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        """Let somebody else take it."""
        self._lock.release()

    def beginning(self) -> Beginning:
        """How the run began.

        Raises:
            InternalError: the file is not what was written.
        """
        return self._read(BEGINNING_FILE, Beginning)

    def ending(self) -> Ending | None:
        """How the run ended; None while it goes on, or when its process has died.

        Raises:
            InternalError: the file is not what was written.
        """
        return self._read(ENDING_FILE, Ending) if (self.folder / ENDING_FILE).exists() else None

    def end(self, ending: Ending) -> None:
        """Note how the run ended."""
        replace_file(self.folder / ENDING_FILE, msgspec.json.encode(ending))

    def last_written_at(self) -> datetime:
        """When anything was logged last."""
        written = [self.folder / BEGINNING_FILE, *self.journal.iterdir()]
        changed = max(
            path.stat().st_mtime for path in written if path.suffix != ".json" or path.name == BEGINNING_FILE
        )
        return datetime.fromtimestamp(changed, UTC)

    def _read(self, name: str, kind: type[T]) -> T:
        path = self.folder / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except msgspec.DecodeError as error:
            raise InternalError(
                f"a run that waits to be sent cannot be read: {error}",
                where=str(path),
                fix="Was it written by another version of Headrace?",
            ) from error

    def delete(self) -> None:
        """Remove the folder, the run having arrived; what was rejected stays."""
        if self.rejected.exists():
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path != self.rejected:
                    path.unlink()
            return
        shutil.rmtree(self.folder)


def spooled_runs(spool: Path) -> Iterator[SpooledRun]:
    """The runs that wait or are being logged, in the order in which they began."""
    beginnings = spool.glob(f"*/{BEGINNING_FILE}")
    for path in sorted(beginnings, key=lambda path: path.stat().st_mtime_ns):
        yield SpooledRun(path.parent)
