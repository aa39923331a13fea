"""The tensors of a request as a model takes them: a tensor for each column, one for all, or tensors as they are."""

from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import SchemaMismatch
from headrace.protocols.openinference import wire
from headrace.serving.forms.filled import sent
from headrace.serving.forms.inputs import Inputs, Outputs
from headrace.serving.forms.json_forms import require_rows
from headrace.serving.forms.signature import Column, Kind, Signature
from headrace.serving.forms.tensors import cast
from headrace.serving.loading.predictor import Predictor

UNNAMED = "input-0"
"""What the only tensor of a model is called when its signature gives it no name."""

OUTPUT = "output-0"

_DATATYPES = {
    "double": "FP64",
    "float": "FP32",
    "long": "INT64",
    "integer": "INT32",
    "boolean": "BOOL",
    "string": "BYTES",
    "datetime": "BYTES",
    "binary": "BYTES",
}
_KINDS = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}
_TAKES = {"double": "fiu", "float": "fiu", "long": "iu", "integer": "iu", "boolean": "b"}

Tensors = dict[str, npt.NDArray[Any]]


def describe(signature: Signature) -> list[dict[str, Any]]:
    """The inputs of a model as its metadata say them."""
    if signature.kind is Kind.TENSORS:
        return [
            {
                "name": tensor.name or UNNAMED,
                "datatype": wire.datatype_of(tensor.dtype),
                "shape": list(tensor.shape),
            }
            for tensor in signature.tensors
        ]
    return [
        {"name": column.name, "datatype": _DATATYPES[column.type], "shape": [-1, 1]} for column in signature.columns
    ]


def describe_outputs(sample: Outputs | None) -> list[dict[str, Any]]:
    """The outputs of a model, as its answer to one row shows them."""
    if sample is None:
        return [{"name": OUTPUT, "datatype": "FP64", "shape": [-1]}]
    named = sample if isinstance(sample, dict) else {OUTPUT: sample}
    return [
        {
            "name": name,
            "datatype": "BYTES" if values.dtype.kind in "OU" else wire.datatype_of(values.dtype),
            "shape": [-1, *values.shape[1:]],
        }
        for name, values in named.items()
    ]


def to_inputs(predictor: Predictor, tensors: Tensors) -> Inputs:
    """The rows that a request asks for.

    Raises:
        SchemaMismatch: a tensor is missing, unknown, or of another type or shape than the model takes.
    """
    signature = predictor.signature
    if signature.kind is Kind.TENSORS:
        return _tensors(signature, tensors)
    if len(tensors) == 1 and signature.kind is Kind.MATRIX:
        ((name, only),) = tensors.items()
        if only.ndim == 2 and name not in signature.names:
            return _matrix(signature, name, only)
    columns = {name: _column(name, values) for name, values in tensors.items()}
    if signature.kind is Kind.MATRIX and set(columns) == set(signature.names):
        return _joined(signature, columns)
    return predictor.forms.columns({name: _plain(values) for name, values in columns.items()}, "inputs")


def _tensors(signature: Signature, tensors: Tensors) -> Inputs:
    known = {tensor.name or UNNAMED: tensor for tensor in signature.tensors}
    if len(known) == 1 and len(tensors) == 1 and "" in signature.names:
        tensors = {UNNAMED: next(iter(tensors.values()))}
    for name in tensors:
        if name not in known:
            raise SchemaMismatch("the model has no such input", where=f"inputs.{name}"[:200], fix=_fix(known))
    found = {}
    for name, tensor in known.items():
        where = f"inputs.{name}"[:200]
        if name not in tensors:
            raise SchemaMismatch("an input is missing", where=where, fix=_fix(known))
        values = tensors[name]
        if values.dtype.kind not in _KINDS.get(np.dtype(tensor.dtype).kind, ""):
            raise SchemaMismatch(f"the model takes {wire.datatype_of(tensor.dtype)} here", where=where)
        if values.ndim != len(tensor.shape) or any(
            size not in {-1, given} for size, given in zip(tensor.shape, values.shape, strict=True)
        ):
            raise SchemaMismatch(f"the model takes the shape {list(tensor.shape)} here", where=where)
        require_rows(len(values))
        found[tensor.name] = cast(values, np.dtype(tensor.dtype), where)
    if len({len(values) for values in found.values()}) > 1:
        raise SchemaMismatch("the inputs have not the same number of rows", where="inputs")
    return found


def _matrix(signature: Signature, name: str, values: npt.NDArray[Any]) -> Inputs:
    where = f"inputs.{name}"[:200]
    if values.shape[1] != len(signature.names):
        raise SchemaMismatch(
            f"there are {values.shape[1]} columns, not {len(signature.names)}",
            where=where,
            fix="Send one value for each column, in the order of the model's metadata.",
        )
    for place, column in enumerate(signature.columns):
        _check(column, values[:, place], where)
    require_rows(len(values))
    return sent(values.astype(np.float64))


def _joined(signature: Signature, columns: Tensors) -> Inputs:
    for column in signature.columns:
        _check(column, columns[column.name], f"inputs.{column.name}"[:200])
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise SchemaMismatch("the inputs have not the same number of rows", where="inputs")
    require_rows(lengths.pop())
    return sent(np.column_stack([columns[name].astype(np.float64) for name in signature.names]))


def _column(name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim != 1:
        raise SchemaMismatch("a column has the shape [rows] or [rows, 1]", where=f"inputs.{name}"[:200])
    return values


def _check(column: Column, values: npt.NDArray[Any], where: str) -> None:
    whole = (
        values.dtype.kind == "f" and column.type in {"long", "integer"} and bool((values == values.round()).all())
    )
    truth = column.type == "boolean" and values.dtype.kind in "fiu" and bool(np.isin(values, (0, 1)).all())
    if values.dtype.kind not in _TAKES[column.type] and not whole and not truth:
        raise SchemaMismatch(
            f"column {column.name} takes {_DATATYPES[column.type]}", where=where, fix="See the model's metadata."
        )


def _plain(values: npt.NDArray[Any]) -> list[Any]:
    if values.dtype.kind == "f":
        return [None if value != value else value for value in values.tolist()]
    found: list[Any] = values.tolist()
    return found


def _fix(known: dict[str, Any]) -> str:
    return f"The inputs are: {', '.join(known)[:300]}."
