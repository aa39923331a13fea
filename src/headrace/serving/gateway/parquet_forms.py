"""Rows that come as a Parquet file. It is read beside the gateway, see `reading`.

A file may lie about its sizes, or be damaged so that it ends the process that reads it. What can be seen in time is
refused here, with its reason.
"""

from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.errors import InvalidInput, SchemaMismatch, TooLarge
from headrace.serving.forms.arrow_forms import matrix_of
from headrace.serving.forms.inputs import Columns
from headrace.serving.forms.json_forms import NAME_LENGTH, ROW_LIMIT, Asked, Forms, described_forms
from headrace.serving.gateway.body_forms import packed

BATCH_ROWS = 4_096
UNPACKED_LIMIT_BYTES = 256 << 20
"""What the columns of a file may take when unpacked: a small file may hold a large one."""


def read(about: Any, body: bytes) -> tuple[dict[str, Any], Columns | None]:
    """Read a file, beside the gateway: the other end of `body_forms.read_aside`.

    Raises:
        HeadraceError: what is wrong with it.
    """
    return packed(from_parquet(described_forms(about["forms"]), body).rows, None)


def from_parquet(forms: Forms, body: bytes) -> Asked:
    """The columns of a Parquet file; an index that pandas wrote is left out.

    Raises:
        InvalidInput: it is not a Parquet file.
        SchemaMismatch: a column is missing, unknown or of another type.
        TooLarge: it has more rows, or unpacks to more bytes, than a request may have.
        MemoryError: there is no room for what it unpacks to.
    """
    try:
        names, table = _table(forms, body)
    except MemoryError:  # which Arrow's own is, too
        raise
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        RecursionError,
    ) as error:  # a name that is no text is a ValueError
        raise InvalidInput(f"the body is not a Parquet file ({type(error).__name__})", where="body") from None
    matrix = matrix_of(forms.signature, table) if len(names) == table.num_columns else None
    if matrix is not None:
        matrix[np.isnan(matrix)] = np.nan  # a file may hold NaN of any bits, and those of `filled` are ours
        return Asked(matrix)
    # What the model does not know is not read: by its name alone it is refused, or left out.
    values: dict[str, list[Any]] = {name: [] for name in names}
    for name in table.schema.names:
        try:
            values[name] = _values(table.column(name))
        except MemoryError:
            raise
        except (
            pa.ArrowException,
            ValueError,
            OverflowError,
        ) as error:  # a time outside of Python's, text that is none
            reason = f"the column cannot be read ({type(error).__name__})"
            raise SchemaMismatch(reason, where=f"parquet.{name}"[:NAME_LENGTH]) from None
    return Asked(forms.columns(values, "parquet"))


def _table(forms: Forms, body: bytes) -> tuple[dict[str, int | None], pa.Table]:
    """The file's columns, with the places of those that the model takes, and what these hold.

    Texts are read as their dictionaries: a text that every row has takes the room of one. There are encodings that
    know no dictionaries; of those texts each takes its own.
    """
    file, places, texts = _opened(forms, body)
    if texts:
        with suppress(OSError):
            options = {"metadata": file.metadata, "read_dictionary": texts}
            return places, _read(pq.ParquetFile(pa.BufferReader(body), **options), places)
    return places, _read(file, places)


def _opened(forms: Forms, body: bytes) -> tuple[pq.ParquetFile, dict[str, int | None], list[str]]:
    """The file; its columns, with the places of those that the model takes; and which are texts."""
    file = pq.ParquetFile(pa.BufferReader(body))
    rows, known = file.metadata.num_rows, set(forms.signature.names)
    if rows > ROW_LIMIT:
        raise TooLarge(f"a request has at most {ROW_LIMIT} rows", where="body", fix="Send them in parts.")
    places: dict[str, int | None] = {}
    texts, unpacked, place = [], 0, 0
    for field in file.schema_arrow:
        here, place = place, place + _leaves(field.type)
        if field.name in places:
            raise SchemaMismatch("a column is named twice", where="parquet")
        if field.name.startswith("__index_level_"):
            continue
        places[field.name] = here if field.name in known else None
        if field.name not in known:
            continue
        width_bits = _width_bits(field.type)
        if width_bits is None:
            reason = f"a column of type {str(field.type)[:40]} is not read"
            raise SchemaMismatch(reason, where=f"parquet.{field.name}"[:NAME_LENGTH])
        if not width_bits:
            texts.append(field.name)
        unpacked += rows * width_bits // 8
    paths = [file.schema.column(place).path for place in range(len(file.schema))]
    if len(set(paths)) != len(paths):  # a dot in a name may make a part of another column of it
        raise SchemaMismatch("a column is named twice", where="parquet")
    if unpacked + _claimed_bytes(file.metadata) > UNPACKED_LIMIT_BYTES:
        raise _unpacks_to_too_much()
    return file, places, texts


def _read(file: Any, places: dict[str, int | None]) -> Any:
    """The columns that the model takes, in batches: a whole column gets the room that the file says it needs."""
    wanted = [place for place in places.values() if place is not None]
    groups = list(range(file.metadata.num_row_groups))
    batches, rows = [], 0
    for batch in file.reader.iter_batches(BATCH_ROWS, groups, column_indices=wanted, use_threads=False):
        batches.append(batch)
        rows += batch.num_rows
        if rows > file.metadata.num_rows:
            break
    if wanted and rows != file.metadata.num_rows:
        raise InvalidInput("the body is not a Parquet file (its counts do not agree)", where="body")
    if not batches:
        names = [name for name, place in places.items() if place is not None]
        return pa.table({name: [] for name in names})
    table = pa.Table.from_batches(batches)
    unpacked = 0
    for column in table.columns:
        for chunk in column.chunks:
            if _is_text(column.type):
                unpacked += pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0
            elif _is_variable(column.type):
                unpacked += chunk.nbytes
    if unpacked > UNPACKED_LIMIT_BYTES:
        raise _unpacks_to_too_much()
    return table


def _claimed_bytes(about: Any) -> int:
    """What the file says of its size before it was compressed.

    By row groups: what pyarrow says of a column ends the process where the file is damaged.
    """
    return sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))


def _leaves(kind: Any) -> int:
    """Columns of the file that hold one of the table: more than one where it is nested."""
    kind = getattr(kind, "storage_type", kind)
    return sum(_leaves(kind.field(place).type) for place in range(kind.num_fields)) or 1


def _width_bits(kind: Any) -> int | None:
    """What a value takes, 0 for a text; None for what no model takes."""
    kinds = pa.types
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    if kinds.is_null(kind):
        return 1
    if kinds.is_primitive(kind) or kinds.is_decimal(kind) or kinds.is_fixed_size_binary(kind):
        return int(kind.bit_width)
    return 0 if _is_variable(kind) else None


def _is_text(kind: Any) -> bool:
    return pa.types.is_dictionary(kind) and _is_variable(kind.value_type)


def _is_variable(kind: Any) -> bool:
    kinds = pa.types
    texts = (kinds.is_string, kinds.is_large_string, kinds.is_string_view)
    return any(test(kind) for test in (*texts, kinds.is_binary, kinds.is_large_binary, kinds.is_binary_view))


def _values(column: Any) -> list[Any]:
    """Python's values; whole numbers in a float column stay floats, NaN is null. Rows of one text share it."""
    if not _is_text(column.type):
        return [None if value != value else value for value in column.to_pylist()]
    found: list[Any] = []
    for chunk in column.chunks:
        texts = chunk.dictionary.to_pylist()
        found += [None if place is None else texts[place] for place in chunk.indices.to_pylist()]
    return found


def _unpacks_to_too_much() -> TooLarge:
    return TooLarge(
        f"the columns take more than {UNPACKED_LIMIT_BYTES} bytes when unpacked",
        where="body",
        fix="Send them in parts.",
    )
