"""Rows that come as a file: CSV and Parquet, as MLflow's scoring protocol takes them beside JSON."""

import csv
import io
from typing import Any

from headrace.errors import InvalidInput, SchemaMismatch, TooLarge
from headrace.serving.forms import NAME_LENGTH, ROW_LIMIT, Asked, Forms

CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
UNPACKED_LIMIT_BYTES = 256 << 20
"""What the columns of a Parquet file may take when unpacked: a small file may hold a large one."""


def from_csv(forms: Forms, body: bytes) -> Asked:
    """Rows under a line of names; an empty value is null.

    Raises:
        InvalidInput: it is not CSV in UTF-8.
        SchemaMismatch: a field is missing, unknown or of another type; `where` names it.
        TooLarge: it has more rows than a request may have.
    """
    try:
        lines = csv.reader(io.StringIO(body.decode()), strict=True)
        names = next(lines, [])
        rows: list[dict[str, Any]] = []
        for values in lines:
            if not values:
                continue
            if len(values) != len(names):
                raise SchemaMismatch(
                    f"the row has {len(values)} values, not {len(names)}", where=f"csv[{len(rows)}]"
                )
            rows.append({name: value for name, value in zip(names, values, strict=True) if value != ""})
            if len(rows) > ROW_LIMIT:
                raise TooLarge(f"a request has at most {ROW_LIMIT} rows", where="body", fix="Send them in parts.")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"the body is not CSV in UTF-8 ({type(error).__name__})", where="body") from None
    if len(set(names)) != len(names):
        raise SchemaMismatch("a column is named twice", where="csv")
    known = {column.name for column in forms.signature.columns}
    nothing = {name: None for name in names if name in known}
    return Asked(forms.records([nothing | row for row in rows], "csv"))


def from_parquet(forms: Forms, body: bytes) -> Asked:
    """The columns of a Parquet file; an index that pandas wrote is left out.

    Raises:
        InvalidInput: it is not a Parquet file.
        SchemaMismatch: a column is missing, unknown or of another type.
        TooLarge: it has more rows, or unpacks to more bytes, than a request may have.
    """
    # Only callers who send such files pay for the library.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(body))
        about = file.metadata
        unpacked = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        if about.num_rows > ROW_LIMIT or unpacked > UNPACKED_LIMIT_BYTES:
            raise TooLarge(f"a request has at most {ROW_LIMIT} rows", where="body", fix="Send them in parts.")
        table = file.read()
        names = [name for name in table.schema.names if not name.startswith("__index_level_")]
    except (pa.ArrowException, OSError, ValueError) as error:  # a name that is no text is a ValueError
        raise InvalidInput(f"the body is not a Parquet file ({type(error).__name__})", where="body") from None
    if len(set(names)) != len(names):
        raise SchemaMismatch("a column is named twice", where="parquet")
    values = {}
    for name in names:
        try:
            values[name] = _values(table.column(name))
        except (
            pa.ArrowException,
            ValueError,
            OverflowError,
        ) as error:  # a time outside of Python's, text that is none
            reason = f"the column cannot be read ({type(error).__name__})"
            raise SchemaMismatch(reason, where=f"parquet.{name}"[:NAME_LENGTH]) from None
    return Asked(forms.columns(values, "parquet"))


def _values(column: Any) -> list[Any]:
    """Python's values; whole numbers in a float column stay floats, NaN is null."""
    return [None if value != value else value for value in column.to_pylist()]
