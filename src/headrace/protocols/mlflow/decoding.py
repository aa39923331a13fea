"""Requests as MLflow's clients send them: a query or a JSON body, read leniently, refused in MLflow's words."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Generic, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec
from litestar import Request

from headrace.errors import InvalidInput

R = TypeVar("R", bound=msgspec.Struct)

_MISSING = re.compile(r"Object missing required field `(?P<field>\w+)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_WRONG = re.compile(r"(?P<problem>.*) - at `\$\.?(?P<path>[^`]*)`")
_STEP = re.compile(r"(\w+)|\[(\d+)\]")
_SEE = "See the API docs for more information about request parameters."


async def decode(request: Request[Any, Any, Any], kind: type[R]) -> R:
    """The request of an endpoint; see `decode_call`."""
    body = b"" if request.method == "GET" else await request.body()
    return decode_call(request.method, request.scope["query_string"], body, request.path_params, kind)


def decode_call(method: str, query: bytes, body: bytes, parameters: Mapping[str, Any], kind: type[R]) -> R:
    """The request of an endpoint, from the parts of an HTTP request; `parameters` are those in the path.

    GET carries its fields in the query, repeated ones as repeated parameters; every other method in a JSON object.
    Fields that are not known are ignored, null is the same as absent, `"5"` passes for a number, and a field may be
    called `runId` for `run_id`, as in MLflow.

    Raises:
        InvalidInput: with MLflow's message about the field.
    """
    if method == "GET":
        fields = _from_query(query, kind)
    else:
        plain = _plain(kind)
        found = None if parameters else plain.decode(body)
        if found is not None:
            return found
        fields = _spelled(_from_body(body), plain.names)
    fields.update(parameters)
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _refused(str(error), fields) from error


class _Plain(Generic[R]):
    """Reads the bodies that clients really send in one pass; says None to whatever needs a second look.

    Attributes:
        names: protobuf's other spelling of each field, with the field's own name.
    """

    def __init__(self, kind: type[R]) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self.names = {_camel(name): name for name in _names(kind) if "_" in name}
        self._camel = [f'"{name}"'.encode() for name in self.names]

    def decode(self, body: bytes) -> R | None:
        if any(name in body for name in self._camel):
            return None
        try:
            return self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


@cache
def _plain(kind: type[R]) -> _Plain[R]:
    return _Plain(kind)


def _names(kind: Any) -> set[str]:
    """The names of a request's fields and of the fields of what it carries."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        return {field.encode_name for field in fields}.union(*(_names(field.type) for field in fields))
    return set().union(*(_names(part) for part in get_args(kind)))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _from_query(query: bytes, kind: type[msgspec.Struct]) -> dict[str, Any]:
    repeated = {field.encode_name for field in msgspec.structs.fields(kind) if get_origin(field.type) is tuple}
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in repeated:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def _from_body(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        found = _loads(body)
    except ValueError as error:
        raise InvalidInput("Bad Request. The body is not valid JSON.", where="body") from error
    if not isinstance(found, dict):
        raise InvalidInput("Bad Request. The body is not a JSON object.", where="body")
    return found


def _spelled(found: Any, names: Mapping[str, str]) -> Any:
    """The same with each field under its own name, and without those that are null."""
    if isinstance(found, list):
        return [_spelled(each, names) for each in found]
    if not isinstance(found, dict):
        return found
    fields: dict[str, Any] = {}
    for name, value in found.items():
        if value is None:
            continue
        own = names.get(name, name)
        if own in fields:
            raise InvalidInput(f"Bad Request. '{own}' is given twice, once as '{_camel(own)}'.", where=own)
        fields[own] = _spelled(value, names)
    return fields


def _loads(body: bytes) -> Any:
    """JSON, or what Python's `json.dumps` writes: it leaves NaN and the infinities bare, and MLflow reads them.

    Raises:
        ValueError: it is neither, or holds half of a character.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = json.loads(body.decode())
        msgspec.json.encode(found)  # refuses lone surrogates
        return found


def _refused(text: str, fields: dict[str, Any]) -> InvalidInput:
    if missing := _MISSING.match(text):
        path = ".".join(part for part in (missing["path"], missing["field"]) if part)
        return InvalidInput(f"Missing value for required parameter '{path}'. {_SEE}", where=path)
    if wrong := _WRONG.match(text):
        value = _at(fields, wrong["path"])
        shown = msgspec.json.encode(value).decode()[:200]
        return InvalidInput(
            f"Invalid value {shown} for parameter '{wrong['path']}' supplied: {wrong['problem']}. {_SEE}",
            where=wrong["path"],
        )
    return InvalidInput(f"Invalid value supplied: {text}. {_SEE}", where="body")


def _at(value: Any, path: str) -> Any:
    """What stands at a path such as `metrics[0].value`; None when the path leads nowhere."""
    for name, index in _STEP.findall(path):
        if name and isinstance(value, dict):
            value = value.get(name)
        elif index and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        else:
            return None
    return value
