"""Tensors as JSON: nested lists, checked against the shapes and types of a signature."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.errors import SchemaMismatch
from headrace.serving.forms.inputs import Columns
from headrace.serving.forms.signature import Tensor

_TAKES = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}
"""Kinds of JSON's values, as numpy reads them, by the kind of the tensor."""
DEPTH_LIMIT = 32
"""No tensor has more axes than this; numpy itself ends at 64."""
_FIX = "Send nested lists of the shape and the type of the signature, the rows first."


def from_named(tensors: Sequence[Tensor], given: Any, where: str) -> Columns:
    """Tensors by name; the only tensor of a model may come without its name.

    Raises:
        SchemaMismatch: a tensor is missing, unknown, of another shape or type, or has other rows than the first.
    """
    if not isinstance(given, dict):
        if len(tensors) != 1:
            raise SchemaMismatch("the model takes several tensors", where=where, fix=_names(tensors))
        given = {tensors[0].name: given}
    known = {tensor.name for tensor in tensors}
    for name in given:
        if name not in known:
            raise SchemaMismatch("the model has no such input", where=f"{where}.{name}"[:200], fix=_names(tensors))
    found: Columns = {}
    for tensor in tensors:
        if tensor.name not in given:
            raise SchemaMismatch("an input is missing", where=f"{where}.{tensor.name}"[:200], fix=_names(tensors))
        found[tensor.name] = to_tensor(tensor, given[tensor.name], f"{where}.{tensor.name}".rstrip("."))
    if len({len(values) for values in found.values()}) > 1:
        raise SchemaMismatch("the inputs have not the same number of rows", where=where, fix=_FIX)
    return found


def from_instances(tensors: Sequence[Tensor], given: Any) -> Columns:
    """Rows, each an object of the tensors' names, or what the only tensor holds.

    Raises:
        SchemaMismatch: see `from_named`.
    """
    if isinstance(given, list) and given and all(isinstance(row, dict) for row in given):
        names = given[0].keys()
        if any(row.keys() != names for row in given):
            raise SchemaMismatch("the rows have not the same inputs", where="instances", fix=_names(tensors))
        given = {name: [row[name] for row in given] for name in names}
    return from_named(tensors, given, "instances")


def to_tensor(tensor: Tensor, values: Any, where: str) -> npt.NDArray[Any]:
    """One tensor.

    Raises:
        SchemaMismatch: it is of another shape, or its values are of another type.
    """
    dtype = np.dtype(tensor.dtype)
    _require_numbers(values, where)
    try:
        found = np.asarray(values)
        if found.dtype.kind not in _TAKES.get(dtype.kind, ""):
            raise SchemaMismatch(f"the values are not of type {tensor.dtype}", where=where[:200], fix=_FIX)
        given = cast(found, dtype, where)
    except (ValueError, TypeError):
        raise SchemaMismatch("this is no tensor of numbers", where=where[:200], fix=_FIX) from None
    wanted = tensor.shape
    if found.ndim != len(wanted) or any(
        size not in {-1, length} for size, length in zip(wanted, found.shape, strict=True)
    ):
        raise SchemaMismatch(
            f"the shape is {found.shape}, not {tuple(wanted)}".replace("-1", "any"), where=where[:200], fix=_FIX
        )
    return given


def cast(values: npt.NDArray[Any], dtype: np.dtype[Any], where: str) -> npt.NDArray[Any]:
    """Numbers as another type, where it holds them.

    Raises:
        SchemaMismatch: it does not: numpy itself would wrap them in silence.
    """
    try:
        with np.errstate(over="raise"):
            found = values.astype(dtype)
    except (OverflowError, FloatingPointError):
        found = None
    if found is None or (dtype.kind in "iu" and not np.array_equal(found, values)):
        raise SchemaMismatch("a number is too large", where=where[:200], fix=f"Send what {dtype} holds.")
    return found


def _require_numbers(values: Any, where: str) -> None:
    """Refuse what is no nested list of numbers, before numpy reads it.

    An array of texts has room for the longest at every place: a small body of one long text and many short ones
    would take all memory.
    """
    depth, inner = 0, values
    while isinstance(inner, list) and inner and depth < DEPTH_LIMIT:
        depth, inner = depth + 1, inner[0]
    kind: Any = bool | int | float
    for _ in range(depth + isinstance(inner, list)):
        kind = list[kind]
    try:
        msgspec.convert(values, kind)
    except msgspec.ValidationError:
        raise SchemaMismatch("this is no tensor of numbers", where=where[:200], fix=_FIX) from None


def _names(tensors: Sequence[Tensor]) -> str:
    return f"The inputs are: {', '.join(tensor.name or '(one without a name)' for tensor in tensors)[:300]}."
