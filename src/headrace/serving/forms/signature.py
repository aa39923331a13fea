"""A model's input schema: MLflow's signature, as far as what it describes is served.

Columns of numbers become a matrix, columns of other types arrays by name, tensors arrays by input.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Any

import msgspec
import numpy as np

from headrace.errors import NotServed, SchemaMismatch

TYPES: dict[str, Any] = {
    "double": float | None,
    "float": float | None,
    "long": int,
    "integer": int,
    "boolean": bool,
    "string": str,
    "datetime": datetime,
    "binary": bytes,
}
"""JSON types by MLflow's column type. null is a missing value, which only floats can hold (as NaN)."""

NUMBERS = frozenset({"double", "float", "long", "integer", "boolean"})


class Kind(Enum):
    """In which form a model takes its input."""

    MATRIX = "matrix"
    COLUMNS = "columns"
    TENSORS = "tensors"


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One input column: its name, MLflow's type, and whether a row must have it.

    A column that is not required may be left out or null, and a version that fails on that is at fault. MLflow and
    our training set `required` where the training data had no null. A float column takes null all the same, since
    many models can; but a failure on it is then the caller's, see `answering`.
    """

    name: str
    type: str
    required: bool = True

    @property
    def json_type(self) -> Any:
        """What its values are in JSON."""
        known = TYPES[self.type]
        return known if self.required else known | None


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One input tensor."""

    name: str
    """Empty for the only one without a name."""
    dtype: str
    """Numpy's name, such as `float32`."""
    shape: tuple[int, ...]
    """-1 for an axis of any length; the first is that of the rows."""


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter that a caller may give beside the rows."""

    name: str
    type: str
    default: Any = None
    shape: tuple[int, ...] | None = None
    """`(-1,)` for a list; None for one value."""


class Signature:
    """The inputs of a model, columns or tensors.

    Args:
        inputs: in the order in which the model takes them.
        params: what may be given beside them.

    Raises:
        NotServed: a column has a type that is not served.
    """

    def __init__(self, inputs: Sequence[Column] | Sequence[Tensor], params: Sequence[Param] = ()) -> None:
        self.params = {param.name: param for param in params}
        self.columns = tuple(part for part in inputs if isinstance(part, Column))
        self.tensors = tuple(part for part in inputs if isinstance(part, Tensor))
        self.names = tuple(part.name for part in inputs)
        for column in self.columns:
            if column.type not in TYPES:
                raise NotServed(
                    f"column {column.name!r} has type {column.type!r}, which is not served",
                    where="MLmodel.signature.inputs",
                    fix=f"Encode it as one of: {', '.join(TYPES)}.",
                )
        self.kind = Kind.COLUMNS
        if self.tensors:
            self.kind = Kind.TENSORS
        elif all(column.type in NUMBERS for column in self.columns):
            self.kind = Kind.MATRIX

    def check_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """Parameters as a model takes them: those that are given, the defaults of the others.

        Raises:
            SchemaMismatch: the model has no such parameter, or it is of another type.
        """
        for name in params:
            if name not in self.params:
                raise SchemaMismatch(
                    "the model has no such parameter",
                    where=f"params.{name}"[:200],
                    fix=f"It has: {', '.join(self.params)[:200] or 'none'}.",
                )
        found = {name: param.default for name, param in self.params.items()}
        for name, value in params.items():
            param = self.params[name]
            kind: Any = TYPES[param.type]
            if param.shape:
                kind = list[kind]
            try:
                found[name] = msgspec.convert(value, kind)
            except msgspec.ValidationError as error:
                text = str(error)
                raise SchemaMismatch(text[:1].lower() + text[1:], where=f"params.{name}"[:200]) from None
        return found


class _TensorSpec(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]


class _Part(msgspec.Struct):
    """One line of MLflow's `inputs`: a column or a tensor."""

    type: str
    name: str | None = None
    required: bool = True
    spec: _TensorSpec | None = msgspec.field(name="tensor-spec", default=None)


def read_signature(stored: Any) -> Signature:
    """MLflow's stored signature: `{"inputs": [...] or its JSON text, ...}`.

    Raises:
        NotServed: there is none, or it describes what is not served.
    """
    inputs = stored.get("inputs") if isinstance(stored, dict) else None
    if inputs is None:
        raise NotServed(
            "the model has no input signature",
            where="MLmodel.signature",
            fix="Log the model with a signature, or with an input example so that MLflow infers one.",
        )
    try:
        listed = msgspec.json.decode(inputs) if isinstance(inputs, str) else inputs
        parts = msgspec.convert(listed, tuple[_Part, ...])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise NotServed(
            "the input signature names neither columns nor tensors",
            where="MLmodel.signature.inputs",
            fix="Log the model with named columns of plain types.",
        ) from error
    if not parts or len({part.name for part in parts}) != len(parts):
        raise NotServed("the input signature has no inputs, or repeats one", where="MLmodel.signature.inputs")
    params = _params(stored.get("params"))
    if all(part.spec is not None for part in parts):
        return Signature([_tensor(part) for part in parts], params)
    return Signature([_column(part) for part in parts], params)


def _params(stored: Any) -> tuple[Param, ...]:
    """The parameters; those of a kind that is not served cannot be given, and keep their defaults."""
    try:
        listed = msgspec.json.decode(stored) if isinstance(stored, str) else stored or ()
        found = msgspec.convert(listed, tuple[Param, ...])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return ()
    return tuple(param for param in found if param.type in TYPES)


def _column(part: _Part) -> Column:
    if part.name is None or part.spec is not None:
        raise NotServed(
            "an input column has no name",
            where="MLmodel.signature.inputs",
            fix="Log the model with named columns, such as those of a frame.",
        )
    return Column(name=part.name, type=part.type, required=part.required)


def _tensor(part: _Part) -> Tensor:
    assert part.spec is not None
    try:
        np.dtype(part.spec.dtype)
    except TypeError:
        raise NotServed(
            f"a tensor has type {part.spec.dtype[:40]!r}, which is not served", where="MLmodel.signature.inputs"
        ) from None
    if not part.spec.shape or part.spec.shape[0] != -1:
        raise NotServed(
            "a tensor whose first axis is not the rows is not served",
            where="MLmodel.signature.inputs",
            fix="Log the model with an input example whose first axis has any length.",
        )
    return Tensor(name=part.name or "", dtype=part.spec.dtype, shape=part.spec.shape)
