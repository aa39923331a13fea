"""Arrow tables as a model takes them: columns of fitting types without a detour over Python's values.

Whatever is not plainly what the signature says goes the way of `Forms`, so that both accept and refuse the same.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from headrace.serving.forms import Forms
from headrace.serving.inputs import Array, Inputs
from headrace.serving.signature import Column, Kind, Signature


def from_arrow(forms: Forms, table: pa.Table, where: str) -> Inputs:
    """The rows of a table.

    Raises:
        SchemaMismatch: a column is missing, unknown or of another type.
        InvalidInput: there are no rows.
        TooLarge: there are more than a request may have.
    """
    matrix = _matrix(forms.signature, table)
    if matrix is not None:
        return matrix
    return forms.columns({name: values(table.column(name)) for name in table.schema.names}, where)


def values(column: Any) -> list[Any]:
    """Python's values; whole numbers in a float column stay floats, NaN is null."""
    return [None if value != value else value for value in column.to_pylist()]


def _matrix(signature: Signature, table: pa.Table) -> Array | None:
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
    return matrix


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
