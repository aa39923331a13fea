"""Where a page of a search ended, as text that goes into a URL and back; what it holds is no promise."""

import hashlib
from typing import Any

import msgspec

from headrace.errors import InvalidInput
from headrace.tracking import keys

Position = tuple[int | str, ...]
"""The values that the last thing of a page was sorted by."""


class _Cursor(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where a page ended, and of which search."""

    search: str
    position: Position


def signature(*asked: Any) -> str:
    """Tells searches apart whose pages do not join up."""
    return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()[:12]


def write(search: str, position: Position | None) -> str:
    """The cursor of the page that follows `position`; empty when none follows."""
    return "" if position is None else keys.write_cursor(_Cursor(search=search, position=position))


def read(search: str, cursor: str) -> Position | None:
    """What `write` was given; None for the first page.

    Raises:
        InvalidInput: it is no cursor, or that of another search.
    """
    if not cursor:
        return None
    found = keys.read_cursor(cursor, _Cursor)
    if found.search != search:
        raise InvalidInput(
            "the cursor is of another search",
            where="page_token",
            fix="Ask for the first page again when the filter or the order changes.",
        )
    return found.position
