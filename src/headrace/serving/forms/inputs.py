"""What models take and answer: one matrix where all is numbers, columns by name where not.

A matrix is what fast models take as it is; a frame is built only by those that want one.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
"""Shape (rows, columns) in the order of the signature, NaN for null."""

Columns = dict[str, npt.NDArray[Any]]
"""Arrays by name, each with the rows as its first axis; None or NaT for null. A tensor's name is its input's."""

Inputs = Array | Columns
Outputs = npt.NDArray[Any] | Columns


def rows_of(table: Inputs | Outputs) -> int:
    """How many rows."""
    return len(next(iter(table.values()))) if isinstance(table, dict) else len(table)


def take(inputs: Inputs, places: Sequence[int] | npt.NDArray[np.intp]) -> Inputs:
    """Some of the rows."""
    if isinstance(inputs, dict):
        return {name: values[places] for name, values in inputs.items()}
    return inputs[places]


def kinds(inputs: Inputs) -> tuple[Any, ...]:
    """What tables must have in common to be joined as they are: the same types, and sizes but for the rows.

    A whole number beside another table's null would become a float, and a text may find no place at all.
    """
    if not isinstance(inputs, dict):
        return (inputs.dtype, inputs.shape[1:])
    return tuple((name, values.dtype, values.shape[1:]) for name, values in inputs.items())


def join(parts: Sequence[Inputs]) -> Inputs:
    """The rows of several tables of the same columns and `kinds`, one after another."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in first}  # type: ignore[call-overload]
    return np.concatenate(parts)  # type: ignore[arg-type]


def split(outputs: Outputs, sizes: Sequence[int]) -> list[Outputs]:
    """The opposite of `join`, for answers."""
    ends = list(accumulate(sizes))
    places = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    if isinstance(outputs, dict):
        return [{name: values[place] for name, values in outputs.items()} for place in places]
    return [outputs[place] for place in places]


def nulls(inputs: Inputs, names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Where a value is missing, shape (rows, names)."""
    if not isinstance(inputs, dict):
        return np.isnan(inputs)
    return np.stack([_missing(inputs[name]) for name in names], axis=1)


def infinite(inputs: Inputs, names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Where a number has no end, shape (rows, names)."""
    if not isinstance(inputs, dict):
        return np.isinf(inputs)
    return np.stack([_endless(inputs[name]) for name in names], axis=1)


def row_values(inputs: Inputs, names: Sequence[str]) -> list[list[Any]]:
    """The values of each row, in the order of the names."""
    if not isinstance(inputs, dict):
        return inputs.tolist()
    return [list(values) for values in zip(*(inputs[name].tolist() for name in names), strict=True)]


def row_answers(outputs: Outputs) -> list[Any]:
    """One answer a row: a value, a list, or an object for a model that answers with named columns."""
    if not isinstance(outputs, dict):
        return outputs.tolist()
    return [
        dict(zip(outputs, values, strict=True))
        for values in zip(*(column.tolist() for column in outputs.values()), strict=True)
    ]


def _missing(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if values.dtype.kind == "f":
        found: npt.NDArray[np.bool_] = np.isnan(values)
    elif values.dtype.kind == "M":
        found = np.isnat(values)
    elif values.dtype == object:
        found = np.array([value is None for value in values.tolist()], dtype=bool)
    else:
        return np.zeros(len(values), dtype=bool)
    return np.asarray(found.reshape(len(found), -1).any(axis=1)) if len(found) else found


def _endless(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if values.dtype.kind != "f":
        return np.zeros(len(values), dtype=bool)
    return np.asarray(np.isinf(values).reshape(len(values), -1).any(axis=1))
