"""A model's input schema, compiled once into a decoder, so that a request is checked and turned into numbers in C.

The schema is MLflow's column signature. Rows become tuples of floats in the order of the signature; what is
missing, unknown or of another type is refused with the name of the field and without quoting the input.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.errors import NotServed, SchemaMismatch

TYPES: dict[str, Any] = {
    "double": float | None,
    "float": float | None,
    "long": int,
    "integer": int,
    "boolean": bool,
}
"""JSON types by MLflow's column type. null is a missing value, which only floats can hold (as NaN)."""

NAME_LENGTH = 200
_PATH = re.compile(r" - at `\$\.?(?P<path>.*)`$", re.DOTALL)
_FIELD = re.compile(r"field `(?P<name>.*?)`", re.DOTALL)


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One input column: its name, MLflow's type, and whether a row must have it.

    A column that is not required may be left out or null, and a version that fails on that is at fault. MLflow and
    our training set `required` where the training data had no null. A float column takes null all the same, since
    many models can; but a failure on it is then the caller's, see `answering`.
    """

    name: str
    type: str
    required: bool = True


class Signature:
    """The columns of a model and the decoder of its rows.

    Args:
        columns: in the order in which the model takes them.

    Raises:
        NotServed: a column has a type that cannot become a float.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in columns)
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        required = [(place, column) for place, column in enumerate(columns) if column.required]
        optional = [(place, column) for place, column in enumerate(columns) if not column.required]
        for place, column in required:
            fields.append((f"f{place}", _json_type(column)))
        for place, column in optional:
            fields.append((f"f{place}", _json_type(column) | None, None))
        self._row = msgspec.defstruct(
            "Row",
            fields,
            rename={f"f{place}": column.name for place, column in enumerate(columns)},
            forbid_unknown_fields=True,
            frozen=True,
            gc=False,
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self._row)
        given = [place for place, _ in (*required, *optional)]
        in_order = given == sorted(given)
        self._order = None if in_order else [given.index(place) for place in range(len(given))]

    def decode_row(self, row: bytes | msgspec.Raw, place: int) -> Sequence[float | None]:
        """One record's values in the order of the signature; None stands for null.

        Args:
            row: the record, a JSON object.
            place: its position in the request, for the error.

        Raises:
            SchemaMismatch: a field is missing, unknown or of another type.
        """
        try:
            values = msgspec.structs.astuple(self._decoder.decode(row))
        except msgspec.ValidationError as error:
            raise _mismatch(error, f"dataframe_records[{place}]") from None
        return values if self._order is None else [values[index] for index in self._order]


def read_signature(stored: Any) -> Signature:
    """Compile MLflow's stored signature: `{"inputs": [...] or its JSON text, ...}`.

    Raises:
        NotServed: there is none, or it describes tensors.
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
        columns = msgspec.convert(listed, tuple[Column, ...])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise NotServed(
            "the input signature does not name its columns",
            where="MLmodel.signature.inputs",
            fix="Log the model with named columns; tensors are not served.",
        ) from error
    if not columns or len({column.name for column in columns}) != len(columns):
        raise NotServed("the input signature has no columns, or repeats one", where="MLmodel.signature.inputs")
    return Signature(columns)


def _json_type(column: Column) -> Any:
    try:
        return TYPES[column.type]
    except KeyError:
        raise NotServed(
            f"column {column.name!r} has type {column.type!r}, which is not served",
            where="MLmodel.signature.inputs",
            fix=f"Encode it as one of: {', '.join(TYPES)}.",
        ) from None


def _mismatch(error: msgspec.ValidationError, row: str) -> SchemaMismatch:
    """Name the field that the decoder stumbled over; its message holds types and names, never values."""
    text = str(error)
    path = _PATH.search(text)
    named = _FIELD.search(text)
    if named is not None:
        field = named["name"]
        missing = text.startswith("Object missing")
        message = "a required field is missing" if missing else "the model has no such field"
    else:
        field = path["path"] if path else ""
        message = text[: path.start()] if path else text
        message = message[:1].lower() + message[1:]
    return SchemaMismatch(
        message,
        where=(f"{row}.{field}" if field else row)[:NAME_LENGTH],
        fix="Send every column of the model's signature, with its type, and nothing else.",
    )
