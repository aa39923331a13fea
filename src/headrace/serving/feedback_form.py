"""Decodes what callers say of predictions: one item, or a list of them, all checked before any is kept."""

import math
import re
from typing import Any

import msgspec

from headrace.errors import HeadraceError, InvalidInput, TooLarge
from headrace.kernel.schema import to_microseconds
from headrace.serving.feedback_nouns import ITEMS_LIMIT, METADATA_LIMIT_BYTES, Feedback

TEXT_LENGTH = 1_000
EXACT = 2**53
"""Whole numbers above are not kept exactly by a float."""
LARGEST = 1e100
"""Of a number: its square is added up, and beyond the range of floats one database fails, another loses the sum."""
_FORM = 'Send {"prediction_id": ..., "value": ...}, or a list of them.'
_PATH = re.compile(r" - at `\$(?P<path>.*)`$", re.DOTALL)
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Feedback | list[Feedback])


def decode_feedback(body: bytes) -> list[Feedback]:
    """The items of a body.

    Raises:
        InvalidInput: it is not JSON, or an item is not one; `where` names the field, and no value is quoted.
        TooLarge: it has more than `ITEMS_LIMIT` items.
    """
    try:
        found = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(error) from None
    return checked(found)


def checked(found: Feedback | list[Feedback]) -> list[Feedback]:
    """The items of a body that was decoded.

    Raises:
        InvalidInput: there is none, or one has a field without a usable value.
        TooLarge: it has more than `ITEMS_LIMIT` items.
    """
    items = found if isinstance(found, list) else [found]
    if not items:
        raise InvalidInput("there is no feedback in the body", where="body", fix=_FORM)
    if len(items) > ITEMS_LIMIT:
        raise TooLarge(f"a request has at most {ITEMS_LIMIT} items", where="body", fix="Send them in parts.")
    for place, item in enumerate(items):
        check(item, f"[{place}]." if isinstance(found, list) else "")
    return items


def check(item: Feedback, where: str = "") -> None:
    """Refuse what cannot be kept as it was said.

    Raises:
        InvalidInput: a field has no usable value.
    """
    _check_value(item.value, f"{where}value")
    if isinstance(item.value, float) and abs(item.value) > LARGEST:
        raise InvalidInput("a number is at most 1e100, and at least -1e100", where=f"{where}value")
    if len(msgspec.json.encode(item.metadata)) > METADATA_LIMIT_BYTES:
        raise InvalidInput(
            f"the metadata of one item take at most {METADATA_LIMIT_BYTES} bytes", where=f"{where}metadata"
        )
    for name, value in item.metadata.items():
        _check_value(name, f"{where}metadata")
        if value is not None:
            _check_value(value, f"{where}metadata")
    if item.at is not None:
        try:
            to_microseconds(item.at)
        except HeadraceError as problem:
            raise InvalidInput(problem.message, where=f"{where}at", fix=problem.fix) from None


def _check_value(value: bool | float | str, where: str) -> None:
    if isinstance(value, str):
        if len(value) > TEXT_LENGTH or "\x00" in value:
            raise InvalidInput(f"a text has at most {TEXT_LENGTH} characters, none of them NUL", where=where)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInput("a number is finite", where=where)
    elif abs(value) > EXACT:
        raise InvalidInput("a whole number is at most 2^53", where=where)


def _refused(error: Exception) -> InvalidInput:
    """Say what is wrong without quoting the input."""
    if not isinstance(error, msgspec.ValidationError):
        return InvalidInput("the body is not JSON", where="body", fix=_FORM)
    text = str(error)
    path = _PATH.search(text)
    message = text[: path.start()] if path else text
    at = path["path"].lstrip(".")[:200] if path else "body"
    return InvalidInput(message[:1].lower() + message[1:], where=at or "body", fix=_FORM)
