"""The JSON forms in which rows are sent, compiled once for each signature, so that a body is checked in C.

The forms are those of MLflow's scoring protocol, and `entities`, whose features are looked up. What is missing,
unknown or of another type is refused with the name of the field and without quoting the input.
"""

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from headrace.errors import HeadraceError, InvalidInput, SchemaMismatch, TooLarge
from headrace.serving.forms.filled import FILLED
from headrace.serving.forms.inputs import Inputs, rows_of
from headrace.serving.forms.signature import NUMBERS, Column, Kind, Param, Signature, Tensor
from headrace.serving.forms.tensors import from_instances, from_named
from headrace.serving.nouns import FieldPolicy

ROW_LIMIT = 10_000
NAME_LENGTH = 200
SHORT_ROWS = 100
"""So many are quickest turned into a matrix all at once."""
ORDERS_LIMIT = 64
"""Orders of columns that are kept compiled for one signature."""

EntityValue = str | int

FORMS = ("dataframe_records", "dataframe_split", "instances", "inputs", "entities")
_FORMS = f"Send exactly one of {', '.join(FORMS)}, and params if the model takes them."
_WHOLE = "Send every column of the model's signature, with its type, and nothing else."
_PATH = re.compile(r" - at `\$\.?(?P<path>.*)`$", re.DOTALL)
_CELL = re.compile(r"^\[(?P<row>[0-9]+)\]\[(?P<place>[0-9]+)\]$")
_FIELD = re.compile(r"field `(?P<name>.*?)`", re.DOTALL)


STRICT = FieldPolicy()


class Entities(msgspec.Struct, frozen=True):
    """Entities whose features are looked up."""

    key: str
    values: list[EntityValue]


class Asked(msgspec.Struct, frozen=True):
    """What a body asks for: answers to rows, or to entities."""

    rows: Inputs | Entities
    params: dict[str, Any] | None = None


class _Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    columns: tuple[str, ...]
    data: msgspec.Raw
    index: Any = None


class _Described(msgspec.Struct, frozen=True):
    columns: tuple[Column, ...]
    tensors: tuple[Tensor, ...]
    params: tuple[Param, ...]
    policy: FieldPolicy


@lru_cache(maxsize=64)
def described_forms(description: str) -> "Forms":
    """Forms by their description; those of a version are compiled once."""
    found = msgspec.json.decode(description, type=_Described)
    return Forms(Signature(found.columns or found.tensors, found.params), found.policy)


class Forms:
    """Decodes bodies for one signature.

    Args:
        signature: of the model.
        policy: for unknown and missing fields.
    """

    def __init__(self, signature: Signature, policy: FieldPolicy = STRICT) -> None:
        self.signature = signature
        self._policy = policy
        self._columns = signature.columns
        self._absent = FILLED if signature.kind is Kind.MATRIX else None
        """The null of a field that was not sent."""
        required = [(place, column) for place, column in enumerate(self._columns) if self._must(column)]
        optional = [(place, column) for place, column in enumerate(self._columns) if not self._must(column)]
        fields: list[Any] = [(f"f{place}", column.json_type) for place, column in required]
        fields += [(f"f{place}", column.json_type | None, self._absent) for place, column in optional]
        row = msgspec.defstruct(
            "Row",
            fields,
            rename={f"f{place}": column.name for place, column in enumerate(self._columns)},
            forbid_unknown_fields=policy.unknown == "refuse",
            frozen=True,
            gc=False,
        )
        self.optional = len(optional)
        """How many columns a row need not have: it may be far shorter than what it is read into."""
        self._given = tuple(column for _, column in (*required, *optional))
        """The columns in the order of the struct's fields."""
        body = msgspec.defstruct(
            "Body",
            [
                ("dataframe_records", list[row] | UnsetType, UNSET),  # type: ignore[valid-type]
                ("dataframe_split", _Split | UnsetType, UNSET),
                ("instances", msgspec.Raw | UnsetType, UNSET),
                ("inputs", msgspec.Raw | UnsetType, UNSET),
                ("entities", dict[str, list[EntityValue]] | UnsetType, UNSET),
                ("params", dict[str, Any] | UnsetType | None, UNSET),
            ],
            forbid_unknown_fields=True,
            frozen=True,
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(body)
        self._row = row
        self._records: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
        self._lists: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self._columns_struct())
        self._orders: dict[tuple[str, ...], _Order] = {}

    @cached_property
    def description(self) -> str:
        """All that it takes to make these forms in another process, see `described_forms`."""
        signature = self.signature
        described = _Described(
            signature.columns, signature.tensors, tuple(signature.params.values()), policy=self._policy
        )
        return msgspec.json.encode(described).decode()

    def decode(self, body: bytes) -> Asked:
        """What the body of a request asks for.

        Raises:
            InvalidInput: it is not JSON, or none of the forms.
            SchemaMismatch: a field is missing, unknown or of another type; `where` names it.
            TooLarge: it has more than `ROW_LIMIT` rows.
        """
        rows, params = self.read(body)
        return Asked(rows, self.checked_params(params))

    def read(self, body: bytes) -> tuple[Inputs | Entities, dict[str, Any] | None]:
        """The rows or the entities of a body, and its parameters as they were sent.

        Raises:
            HeadraceError: what `decode` says of the rows.
        """
        try:
            found = self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _not_a_body(error) from None
        if found.dataframe_records is not UNSET:
            _only(found)
            rows: Inputs | Entities = self._from_records(found.dataframe_records)
        elif found.entities is not UNSET:
            _only(found)
            rows = _entities(found.entities)
        elif found.dataframe_split is not UNSET:
            _only(found)
            rows = self._from_split(found.dataframe_split)
        elif found.instances is not UNSET:
            _only(found)
            rows = self._from_json(found.instances, "instances")
        elif found.inputs is not UNSET:
            rows = self._from_json(found.inputs, "inputs")
        else:
            raise InvalidInput("the body needs exactly one of its forms", where="body", fix=_FORMS)
        return rows, None if found.params is UNSET else found.params

    def records(self, rows: list[dict[str, Any]], where: str) -> Inputs:
        """Rows whose values are texts, as CSV has them; an empty one is null.

        Raises:
            SchemaMismatch: a field is missing, unknown or of another type.
        """
        self._require_columns()
        require_rows(len(rows))
        try:
            found = msgspec.convert(rows, list[self._row], strict=False)  # type: ignore[name-defined]
        except msgspec.ValidationError as error:
            raise _mismatch(error, where) from None
        return self._from_records(found, where)

    def columns(self, values: dict[str, list[Any]], where: str) -> Inputs:
        """Columns of values, as a Parquet file has them.

        Raises:
            SchemaMismatch: a column is missing, unknown or of another type.
        """
        self._require_columns()
        try:
            found = msgspec.convert(values, self._lists.type)
        except msgspec.ValidationError as error:
            raise _mismatch(error, where) from None
        return self._from_lists(found, where)

    def _must(self, column: Column) -> bool:
        return column.required and self._policy.missing == "refuse"

    def _columns_struct(self) -> type[msgspec.Struct]:
        """All columns at once, each a list of values."""
        required = [column for column in self._given if self._must(column)]
        optional = [column for column in self._given if not self._must(column)]
        fields: list[Any] = [(f"f{place}", _list_of(column.json_type)) for place, column in enumerate(required)]
        fields += [
            (f"f{len(required) + place}", _list_of(column.json_type | None) | None, None)
            for place, column in enumerate(optional)
        ]
        return msgspec.defstruct(
            "Columns",
            fields,
            rename={f"f{place}": column.name for place, column in enumerate(self._given)},
            forbid_unknown_fields=self._policy.unknown == "refuse",
            frozen=True,
        )

    def _from_records(self, records: list[Any], where: str = "dataframe_records") -> Inputs:
        self._require_columns()
        require_rows(len(records))
        astuple = msgspec.structs.astuple
        return to_inputs(self.signature, self._given, [astuple(record) for record in records], where)

    def _from_json(self, given: msgspec.Raw, form: str) -> Inputs:
        """Rows as objects, columns as lists, or tensors."""
        text = bytes(given)
        if self.signature.kind is Kind.TENSORS:
            found = _from_tensors(self.signature, text, form)
            require_rows(rows_of(found))
            return found
        decoder = self._lists if text.startswith(b"{") else self._records
        try:
            values = decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _mismatch(error, form) from None
        return self._from_records(values, form) if isinstance(values, list) else self._from_lists(values, form)

    def _from_lists(self, values: Any, where: str) -> Inputs:
        columns = msgspec.structs.astuple(values)
        rows = max((len(column) for column in columns if column is not None), default=0)
        require_rows(rows)
        if any(column is not None and len(column) != rows for column in columns):
            raise SchemaMismatch("the columns are not of one length", where=where, fix=_WHOLE)
        if rows > SHORT_ROWS and self.signature.kind is Kind.MATRIX:
            return self._by_columns(columns, rows, where)
        filled = [[self._absent] * rows if column is None else column for column in columns]
        return to_inputs(self.signature, self._given, list(zip(*filled, strict=True)), where)

    def _by_columns(self, columns: Sequence[list[Any] | None], rows: int, where: str) -> Inputs:
        """A matrix column by column: all at once would have other threads wait until it is done."""
        matrix = np.empty((rows, len(columns)))
        places = {name: place for place, name in enumerate(self.signature.names)}
        try:
            for column, values in zip(self._given, columns, strict=True):
                matrix[:, places[column.name]] = self._absent if values is None else values
        except OverflowError:
            raise SchemaMismatch("a number is too large", where=where) from None
        return matrix

    def checked_params(self, params: dict[str, Any] | None) -> dict[str, Any] | None:
        """Parameters as the model takes them, see `Signature.check_params`; None for none."""
        return self.signature.check_params(params) if params else None

    def _from_split(self, split: _Split) -> Inputs:
        self._require_columns()
        order = self._orders.get(split.columns)
        if order is None:
            order = self._order(split.columns)
            if len(self._orders) < ORDERS_LIMIT:
                self._orders[split.columns] = order
        where = "dataframe_split.data"
        try:
            rows = order.decoder.decode(split.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _mismatch(error, where, split.columns) from None
        require_rows(len(rows))
        if order.places is not None:
            absent = self._absent
            rows = [[row[place] if place is not None else absent for place in order.places] for row in rows]
        return to_inputs(self.signature, order.columns, rows, where)

    def _order(self, names: tuple[str, ...]) -> "_Order":
        """How rows with these columns are read."""
        known = {column.name: column for column in self._columns}
        given = {name: place for place, name in enumerate(names)}
        if len(given) != len(names):
            raise SchemaMismatch("a column is named twice", where="dataframe_split.columns", fix=_WHOLE)
        for name in names:
            if name not in known and self._policy.unknown == "refuse":
                raise _no_such_field(f"dataframe_split.columns.{name}")
        for column in self._columns:
            if column.name not in given and self._must(column):
                raise _missing_field(f"dataframe_split.columns.{column.name}")
        types = [self._type_in_split(known.get(name)) for name in names]
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[tuple[tuple(types)]])  # type: ignore[misc]
        if set(given) == set(known):
            return _Order(decoder, tuple(known[name] for name in names), None)
        return _Order(decoder, self._columns, [given.get(column.name) for column in self._columns])

    def _type_in_split(self, column: Column | None) -> Any:
        if column is None:
            return Any
        return column.json_type if self._must(column) else column.json_type | None

    def _require_columns(self) -> None:
        if self.signature.kind is Kind.TENSORS:
            raise SchemaMismatch("the model takes tensors", where="body", fix='Send {"inputs": [...]}.')


class _Order(msgspec.Struct, frozen=True):
    """How rows that list their columns in one order are read."""

    decoder: msgspec.json.Decoder[Any]
    columns: tuple[Column, ...]
    """Of the values of a row, after `places` was applied."""
    places: list[int | None] | None


def to_inputs(signature: Signature, given: Sequence[Column], rows: Sequence[Sequence[Any]], where: str) -> Inputs:
    """Rows of checked values as a model takes them.

    Args:
        signature: of the model.
        given: the columns of the values, in their order.
        rows: the values; None for null.
        where: the form, for an error.

    Raises:
        SchemaMismatch: a number is too large.
    """
    try:
        if signature.kind is Kind.MATRIX:
            matrix = np.array(rows, dtype=np.float64)
            if given == signature.columns:
                return matrix
            places = {column.name: place for place, column in enumerate(given)}
            return matrix[:, [places[name] for name in signature.names]]
        values = dict(zip((column.name for column in given), zip(*rows, strict=True), strict=True))
        return {column.name: _array(column, values[column.name]) for column in signature.columns}
    except (OverflowError, FloatingPointError):
        raise SchemaMismatch("a number is too large", where=where) from None


def require_rows(count: int) -> None:
    """Refuse no rows, and too many.

    Raises:
        InvalidInput: there are none.
        TooLarge: there are more than `ROW_LIMIT`.
    """
    if not count:
        raise InvalidInput("a request has at least one row", where="body")
    if count > ROW_LIMIT:
        raise TooLarge(f"a request has at most {ROW_LIMIT} rows", where="body", fix="Send them in parts.")


def _array(column: Column, values: Sequence[Any]) -> Any:
    if column.type in NUMBERS:
        if None in values or column.type in {"double", "float"}:
            with np.errstate(over="raise"):
                return np.array(values, dtype=np.float32 if column.type == "float" else np.float64)
        return np.array(values, dtype={"long": np.int64, "integer": np.int32, "boolean": np.bool_}[column.type])
    if column.type == "datetime":
        plain = [None if value is None else _utc(value) for value in values]
        return np.array(plain, dtype="datetime64[us]")
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _list_of(kind: Any) -> Any:
    return list[kind]


def _utc(value: Any) -> Any:
    return value if value.tzinfo is None else value.replace(tzinfo=None) - value.utcoffset()


def _entities(entities: dict[str, list[EntityValue]]) -> Entities:
    if len(entities) != 1:
        raise SchemaMismatch("entities are named by exactly one key", where="entities", fix=_FORMS)
    ((key, values),) = entities.items()
    require_rows(len(values))
    return Entities(key, values)


def _from_tensors(signature: Signature, text: bytes, form: str) -> Inputs:
    try:
        values = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _mismatch(error, form) from None
    if form == "instances":
        return from_instances(signature.tensors, values)
    return from_named(signature.tensors, values, form)


def _only(body: Any) -> None:
    given = (body.dataframe_records, body.entities, body.dataframe_split, body.instances, body.inputs)
    if given.count(UNSET) < len(given) - 1:
        raise InvalidInput("the body needs exactly one of its forms", where="body", fix=_FORMS)


def _not_a_body(error: Exception) -> HeadraceError:
    """Say what is wrong with a body without quoting it."""
    if not isinstance(error, msgspec.ValidationError):
        return InvalidInput("the body is not JSON", where="body", fix=_FORMS)
    path = _PATH.search(str(error))
    if path is not None and path["path"].startswith("dataframe_records["):
        return _mismatch(error, "")
    return InvalidInput("the body has not the form of a request", where="body", fix=_FORMS)


def _mismatch(error: Exception, form: str, names: Sequence[str] = ()) -> SchemaMismatch:
    """Name the field that the decoder stumbled over; its message holds types and names, never values."""
    if not isinstance(error, msgspec.ValidationError):
        return SchemaMismatch("the rows are not JSON", where=form)
    text = str(error)
    path = _PATH.search(text)
    inner = _CELL.sub(lambda cell: f"[{cell['row']}].{names[int(cell['place'])]}", path["path"] if path else "")
    at = form + inner if not form or not inner or inner.startswith("[") else f"{form}.{inner}"
    named = _FIELD.search(text)
    if named is not None:
        at = f"{at}.{named['name']}"
        return _missing_field(at) if text.startswith("Object missing") else _no_such_field(at)
    message = text[: path.start()] if path else text
    return SchemaMismatch(message[:1].lower() + message[1:], where=at[:NAME_LENGTH], fix=_WHOLE)


def _missing_field(where: str) -> SchemaMismatch:
    return SchemaMismatch("a required field is missing", where=where[:NAME_LENGTH], fix=_WHOLE)


def _no_such_field(where: str) -> SchemaMismatch:
    return SchemaMismatch("the model has no such field", where=where[:NAME_LENGTH], fix=_WHOLE)
