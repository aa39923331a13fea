"""Arrow tables as a model takes them: columns of fitting types without a detour over Python's values.

Whatever is not plainly what the signature says goes the way of `Forms`, so that both accept and refuse the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.serving.forms.filled import sent
from headrace.serving.forms.inputs import Array, Inputs
from headrace.serving.forms.json_forms import Forms
from headrace.serving.forms.signature import Column, Kind, Signature

_FRACTION = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$"
_PLAIN_TEXTS = {
    "double": _FRACTION,
    "float": _FRACTION,
    "long": r"^-?(0|[1-9][0-9]{0,14})$",
    "integer": r"^-?(0|[1-9][0-9]{0,8})$",
}
"""What JSON calls a number, and whole ones that both a column of their type and a float hold exactly."""


def from_arrow(forms: Forms, table: pa.Table, where: str) -> Inputs:
    """The rows of a table.

    Raises:
        SchemaMismatch: a column is missing, unknown or of another type.
        InvalidInput: there are no rows.
        TooLarge: there are more than a request may have.
    """
    matrix = matrix_of(forms.signature, table)
    if matrix is not None:
        return matrix
    return forms.columns({name: values(table.column(name)) for name in table.schema.names}, where)


def from_texts(signature: Signature, columns: Mapping[str, Sequence[str]]) -> Array | None:
    """Columns of texts, as CSV has them, read in C; an empty one is null.

    Returns:
        None where a text is not plainly a number of its column's type: then `Forms` decides.
    """
    if signature.kind is not Kind.MATRIX:
        return None
    read = []
    for column in signature.columns:
        texts = pa.array(columns[column.name], pa.string())
        blank = pc.equal(texts, "")
        plain = _PLAIN_TEXTS.get(column.type)
        fractional = column.type in {"double", "float"}
        if plain is None or (not fractional and pc.any(blank).as_py()):
            return None
        if not pc.all(pc.or_(blank, pc.match_substring_regex(texts, plain))).as_py():
            return None
        numbers = pc.if_else(blank, None, texts).cast(pa.float64()).to_numpy(zero_copy_only=False)
        if np.isinf(numbers).any():
            return None
        read.append(numbers)
    return np.column_stack(read)


def values(column: Any) -> list[Any]:
    """Python's values; whole numbers in a float column stay floats, NaN is null."""
    return [None if value != value else value for value in column.to_pylist()]


def matrix_of(signature: Signature, table: pa.Table) -> Array | None:
    """The rows of a table whose columns plainly are the numbers that the signature says; None if they are not."""
    names = table.schema.names
    if signature.kind is not Kind.MATRIX or not table.num_rows or len(names) != len(signature.names):
        return None
    if set(names) != set(signature.names) or not all(_fits(column, table) for column in signature.columns):
        return None
    matrix = np.empty((table.num_rows, len(names)))
    for place, column in enumerate(signature.columns):
        found = table.column(column.name)
        plain = (
            found.cast(pa.float64(), safe=False) if not pa.types.is_boolean(found.type) else found.cast(pa.int8())
        )
        matrix[:, place] = plain.to_numpy()  # null is NaN
    return sent(matrix)


def _fits(column: Column, table: pa.Table) -> bool:
    found = table.column(column.name)
    if column.type in {"double", "float"}:
        return bool(
            pa.types.is_float32(found.type) or pa.types.is_float64(found.type) or pa.types.is_integer(found.type)
        )
    if found.null_count:
        return False
    if column.type == "boolean":
        return bool(pa.types.is_boolean(found.type))
    return bool(pa.types.is_integer(found.type))
