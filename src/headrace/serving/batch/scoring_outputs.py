"""Where scored rows go, a part at a time and each part once: a folder of files, or a table of the lake.

A folder has a manifest, which says what is scored with what; a file appears in it whole, by a rename, and is not
written again. So a run that was killed goes on where it was, and a run of something else does not mix with it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from headrace.errors import Conflict, InvalidInput
from headrace.kernel.lake import Lake, hardly_repeated

MANIFEST = "_manifest.json"
"""Like the rejects under a name that readers of a folder of Parquet files pass over."""
FORMATS = ("parquet", "csv")
CSV_BLOCK_BYTES = 64 << 20
"""No row may be longer."""
# ids differ in their ends, numbers of rows by one
_ENCODINGS = {"row": "DELTA_BINARY_PACKED", "prediction_id": "DELTA_BYTE_ARRAY"}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is scored with what, and how far it is."""

    run_id: str
    """Begins the id of each row's prediction, also after a restart."""
    model: str
    version: int
    digest: str
    """Of the model's files; empty for a directory of one's own, which `files` tells apart."""
    input: dict[str, Any]
    settings: dict[str, Any]
    unlogged: str = ""
    """Why no prediction log takes the answers; empty where that of a platform does."""
    complete: bool = False
    rows: int = 0
    rejected: int = 0
    parts: int = 0

    def same(self, other: "Manifest") -> bool:
        """Whether both are about the same rows, model and settings."""
        told = ("model", "version", "digest", "input", "settings")
        return all(getattr(self, name) == getattr(other, name) for name in told)


class Folder:
    """A folder of files, held by one run at a time.

    Args:
        path: made when it is not there.
        kind: `parquet` or `csv`.
    """

    def __init__(self, path: Path, kind: str) -> None:
        if kind not in FORMATS:
            raise InvalidInput("rows are written as Parquet or CSV", where="format", fix="Use parquet or csv.")
        self.path = path
        self._kind = kind
        self._lock = FileLock(path / ".lock")

    def begin(self, wanted: Manifest) -> Manifest:
        """Begin, or go on with what was begun.

        Returns:
            The manifest in force: that of the first run, when it was about the same.

        Raises:
            Conflict: something else was written here, or another run is writing.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise Conflict("another run writes here", where=str(self.path)) from None
        try:
            return self._begin(wanted)
        except BaseException:
            self._lock.release()
            raise

    def _begin(self, wanted: Manifest) -> Manifest:
        for unfinished in self.path.glob(".unfinished-*"):
            unfinished.unlink()
        known = self.path / MANIFEST
        if known.exists():
            found = _read(known)
            if not found.same(wanted):
                raise Conflict(
                    "something else was scored into this folder: other rows, another model or other settings",
                    where=str(known),
                    fix="Name another folder, or remove this one.",
                )
            return found
        if any(path.name != ".lock" for path in self.path.iterdir()):
            raise Conflict("the folder has other files", where=str(self.path), fix="Name an empty folder.")
        self.put_manifest(wanted)
        return wanted

    def end(self) -> None:
        """Let go of the folder."""
        self._lock.release()

    def done(self, part: int) -> tuple[int, int] | None:
        """How many rows a part has answers for, and how many it rejects; None when it is to be written."""
        if not self._file("part", part).exists():
            return None
        rejects = self._file("_rejects", part)
        return self._count(self._file("part", part)), self._count(rejects) if rejects.exists() else 0

    def write(self, part: int, answers: pa.Table, rejects: pa.Table) -> None:
        """Write a part: its rejects first, since its answers say that it is done."""
        if rejects.num_rows:
            self._put(self._file("_rejects", part), lambda path: self._write(rejects, path))
        self._put(self._file("part", part), lambda path: self._write(answers, path))

    def put_manifest(self, manifest: Manifest) -> None:
        """Write the manifest, in place of what was."""
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        self._put(self.path / MANIFEST, lambda path: path.write_bytes(content))

    def _file(self, kind: str, part: int) -> Path:
        return self.path / f"{kind}-{part:06d}.{self._kind}"

    def _write(self, table: pa.Table, path: Path) -> None:
        if self._kind == "csv":
            pyarrow.csv.write_csv(_flat(table), path)
        else:
            unlike = set(hardly_repeated(table))
            repeated = [name for name in table.schema.names if name not in unlike]
            encodings = {name: coding for name, coding in _ENCODINGS.items() if name in unlike}
            pq.write_table(table, path, compression="zstd", use_dictionary=repeated, column_encoding=encodings)

    def _count(self, path: Path) -> int:
        if self._kind == "parquet":
            return int(pq.read_metadata(path).num_rows)
        try:  # a text that was kept may have lines
            table = pyarrow.csv.read_csv(
                path,
                read_options=pyarrow.csv.ReadOptions(block_size=CSV_BLOCK_BYTES),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            )
        except pa.ArrowInvalid as error:
            raise Conflict(
                f"what was scored cannot be read ({str(error)[:200]})",
                where=str(path),
                fix="Remove the file to score its part again, or name another folder.",
            ) from None
        return int(table.num_rows)

    def _put(self, path: Path, write: Callable[[Path], object]) -> None:
        """A file that is there whole or not at all, also when the machine stops."""
        unfinished = self.path / f".unfinished-{path.name}"
        write(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def append_part(lake: Lake, table: str, run_id: str, part: int, rows: pa.Table) -> None:
    """Append a part to a table of the lake, once however often it is tried."""
    if rows.num_rows:
        lake.append(table, rows, operation=f"serving.score/{run_id}", sequence=part + 1)


def _read(path: Path) -> Manifest:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise Conflict(
            f"the manifest cannot be read ({error})", where=str(path), fix="Name another folder."
        ) from None


def _flat(table: pa.Table) -> pa.Table:
    """Lists as JSON, which CSV can hold."""
    columns = {}
    for name in table.schema.names:
        column = table.column(name)
        if pa.types.is_list(column.type):
            column = pa.array([msgspec.json.encode(value).decode() for value in column.to_pylist()], pa.string())
        columns[name] = column
    return pa.table(columns)
