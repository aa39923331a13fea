"""Rows to be scored, from Parquet, CSV or a table of the lake, in parts that are the same at every reading."""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from headrace.errors import InvalidInput, NotFound, SchemaMismatch
from headrace.kernel.lake import Lake, Snapshot
from headrace.serving.forms.arrow_forms import from_arrow, from_texts
from headrace.serving.forms.inputs import Inputs
from headrace.serving.forms.json_forms import Forms

LAKE = "lake:"
BATCH_ROWS = 65_536


class Rows(Protocol):
    """A part of the rows."""

    def __len__(self) -> int:
        """How many."""
        ...

    def slice(self, start: int, length: int) -> "Rows":
        """Some of them."""
        ...

    def inputs(self, forms: Forms, names: list[str]) -> Inputs:
        """As the model takes them; raises what the online door raises."""
        ...

    def table(self, names: list[str]) -> pa.Table:
        """Some columns, as they came."""
        ...


class Source(Protocol):
    """Where the rows come from."""

    names: list[str]
    """Their columns."""
    identity: dict[str, Any]
    """What tells whether these are still the same rows."""
    rows: int | None
    """How many, if that is known before they are read."""

    def parts(self, size: int, first: int) -> Iterator[Rows]:
        """Parts of `size` rows, from part number `first` on."""
        ...


def open_source(address: str, lake: Lake) -> Source:
    """The rows of a file, of a folder of Parquet files, or of `lake:TABLE`.

    Raises:
        NotFound: there is no such file or table.
        InvalidInput: it is of no kind that is read.
    """
    if address.startswith(LAKE):
        return ParquetSource.of_snapshot(lake.snapshot(address.removeprefix(LAKE)))
    path = Path(address)
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise NotFound("there is no such input", where=address, fix="Name a file, a folder of them, or lake:TABLE.")
    if path.suffix.lower() == ".csv":
        return CsvSource(path)
    return ParquetSource(files)


def _stamp(path: Path) -> dict[str, Any]:
    about = path.stat()
    return {"path": str(path.absolute()), "size_bytes": about.st_size, "modified_ns": about.st_mtime_ns}


class _ArrowRows:
    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def slice(self, start: int, length: int) -> "_ArrowRows":
        return _ArrowRows(self._table.slice(start, length))

    def inputs(self, forms: Forms, names: list[str]) -> Inputs:
        return from_arrow(forms, self._table.select(names), "parquet")

    def table(self, names: list[str]) -> pa.Table:
        return self._table.select(names)


class ParquetSource:
    """Parquet files, or the files of one version of a table."""

    def __init__(self, files: list[Path], schema: pa.Schema | None = None) -> None:
        self._files = files
        try:
            self._opened = [pq.ParquetFile(file).metadata for file in files]
            found = schema if schema is not None else pq.read_schema(files[0])
        except (pa.ArrowException, OSError) as error:
            raise InvalidInput(
                f"the input is not Parquet ({type(error).__name__})",
                where=str(files[0]),
                fix="Name Parquet or CSV (.csv) files, or lake:TABLE.",
            ) from None
        self._schema = found
        self.names = [name for name in found.names if not name.startswith("__index_level_")]
        self.rows: int | None = sum(about.num_rows for about in self._opened)
        self.identity: dict[str, Any] = {"files": [_stamp(file) for file in files]}

    @classmethod
    def of_snapshot(cls, snapshot: Snapshot) -> "ParquetSource":
        """The rows of one version of a lake table."""
        if not snapshot.files:
            raise InvalidInput("the table has no rows", where=f"{LAKE}{snapshot.table}")
        made = cls([Path(file) for file in snapshot.files], snapshot.schema)
        made.identity = {"table": snapshot.table, "version": snapshot.version}
        return made

    def parts(self, size: int, first: int) -> Iterator[_ArrowRows]:
        """Parts of `size` rows, from part number `first` on; what lies before it is not read."""
        waiting: list[pa.Table] = []
        held = 0
        for batch in self._batches(min(size, BATCH_ROWS), first * size):
            taken = batch
            while taken.num_rows:
                some = taken.slice(0, size - held)
                waiting.append(pa.Table.from_batches([some]))
                held += some.num_rows
                taken = taken.slice(some.num_rows)
                if held == size:
                    yield _ArrowRows(pa.concat_tables(waiting))
                    waiting, held = [], 0
        if held:
            yield _ArrowRows(pa.concat_tables(waiting))

    def _batches(self, size: int, skip: int) -> Iterator[pa.RecordBatch]:
        """All rows after the first `skip`."""
        for file, about in zip(self._files, self._opened, strict=True):
            if skip < about.num_rows:
                yield from _readable(self._batches_of(file, about, size, skip), file)
            skip = max(0, skip - about.num_rows)

    def _batches_of(self, file: Path, about: pq.FileMetaData, size: int, skip: int) -> Iterator[pa.RecordBatch]:
        """Read one row group after another: of a scan of all, the whole file is in memory by its end."""
        (fragment,) = ds.dataset([str(file)], schema=self._schema, format="parquet").get_fragments()
        for place, group in enumerate(fragment.split_by_row_group()):
            rows = about.row_group(place).num_rows
            if skip < rows:
                for batch in group.to_batches(schema=self._schema, batch_size=size, batch_readahead=2):
                    yield batch.slice(min(skip, batch.num_rows))
                    skip = max(0, skip - batch.num_rows)
            else:
                skip -= rows


def _readable(batches: Iterator[pa.RecordBatch], file: Path) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(
            f"a file of the input cannot be read as the first one is ({type(error).__name__})",
            where=str(file),
            fix="Files of one input have the same columns, of the same types.",
        ) from None


class _TextRows:
    def __init__(self, names: list[str], rows: list[list[str]]) -> None:
        self._names = names
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def slice(self, start: int, length: int) -> "_TextRows":
        return _TextRows(self._names, self._rows[start : start + length])

    def inputs(self, forms: Forms, names: list[str]) -> Inputs:
        """As the online door reads CSV: an empty value is null."""
        for row in self._rows:
            if len(row) != len(self._names):
                raise SchemaMismatch(f"the row has {len(row)} values, not {len(self._names)}", where="csv")
        if sorted(names) == sorted(forms.signature.names):
            matrix = from_texts(forms.signature, dict(zip(self._names, zip(*self._rows, strict=True), strict=True)))
            if matrix is not None:
                return matrix
        known = {column.name for column in forms.signature.columns}
        nothing = {name: None for name in names if name in known}
        places = [(name, self._names.index(name)) for name in names]
        return forms.records(
            [nothing | {name: row[place] for name, place in places if row[place] != ""} for row in self._rows],
            "csv",
        )

    def table(self, names: list[str]) -> pa.Table:
        places = [self._names.index(name) for name in names]
        columns = [[row[place] if place < len(row) else None for row in self._rows] for place in places]
        return pa.table(dict(zip(names, (pa.array(column, pa.string()) for column in columns), strict=True)))


class CsvSource:
    """A CSV file in UTF-8 under a line of names."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: int | None = None
        self.identity: dict[str, Any] = {"files": [_stamp(path)]}
        self.names = next(self._lines(), [])
        if len(set(self.names)) != len(self.names) or not self.names:
            raise InvalidInput("the columns have no names, or one twice", where=str(path))

    def parts(self, size: int, first: int) -> Iterator[_TextRows]:
        """Parts of `size` rows, from part number `first` on."""
        lines = islice(self._lines(), 1 + first * size, None)
        while rows := list(islice(lines, size)):
            yield _TextRows(self.names, rows)

    def _lines(self) -> Iterator[list[str]]:
        try:
            with self._path.open(encoding="utf-8", newline="") as file:
                yield from (line for line in csv.reader(file, strict=True) if line)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidInput(
                f"the input is not CSV in UTF-8 ({type(error).__name__})", where=str(self._path)
            ) from None
