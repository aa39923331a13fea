"""What keys, values and pages of tracking may look like, checked in one place."""

import base64
import posixpath
import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from headrace.errors import InvalidInput

KEY_LIMIT = 250
VALUE_LIMIT = 65_536
TAG_LIMIT = 100_000

# MLflow allows \w - . space : and /; \w is any letter of any alphabet.
_KEY = re.compile(r"[/\w.\- :]*")

C = TypeVar("C", bound=msgspec.Struct)


def check_key(key: str, *, what: str) -> None:
    """Refuse a key that is empty, too long, or would not be a plain relative path.

    Raises:
        InvalidInput: with the rule that it breaks.
    """
    if not key or len(key) > KEY_LIMIT:
        raise InvalidInput(f"a {what}'s key has 1 to {KEY_LIMIT} characters", where=f"{what} {key[:50]!r}")
    if not _KEY.fullmatch(key):
        raise InvalidInput(
            f"Invalid {what} name: '{key}'. Names may only contain alphanumerics, underscores (_), dashes (-),"
            " periods (.), spaces ( ), colons(:) and slashes (/).",
            where=f"{what} {key[:50]!r}",
        )
    if ("/" in key or key.startswith(".")) and (
        posixpath.normpath(key) != key or key.startswith(("/", "..")) or key == "."
    ):
        raise InvalidInput(
            f"a {what}'s key reads like a relative path without detours", where=f"{what} {key[:50]!r}"
        )


def check_tags(tags: dict[str, str]) -> None:
    """Refuse tags whose keys are not keys or whose values are too long."""
    for key, value in tags.items():
        check_key(key, what="tag")
        check_text(value, where=f"tag {key!r}", limit=TAG_LIMIT)


def check_text(value: str, *, where: str, limit: int = VALUE_LIMIT) -> None:
    """Refuse a text that is too long or that no database can hold."""
    if len(value) > limit:
        raise InvalidInput(f"a value has at most {limit} characters", where=where)
    if "\x00" in value or (not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value)):
        raise InvalidInput("a value is valid Unicode without NUL", where=where)


def check_limit(limit: int, most: int) -> None:
    """Refuse a page size that is not 1 to `most`."""
    if not 1 <= limit <= most:
        raise InvalidInput(f"a page has 1 to {most} entries", where=f"max_results {limit}")


def check_count(found: Iterable[object], *, most: int, message: str) -> None:
    """Refuse more entries than a request may carry; `{}` in the message stands for how many there are."""
    count = sum(1 for _ in found)
    if count > most:
        raise InvalidInput(message.format(count), where="batch")


def write_cursor(position: msgspec.Struct) -> str:
    """Where a page ended, as text that goes into a URL; what it holds is no promise."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def read_cursor(cursor: str, kind: type[C]) -> C:
    """What `write_cursor` wrote.

    Raises:
        InvalidInput: it was not written here, or for another kind of page.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, msgspec.MsgspecError) as error:
        raise InvalidInput(
            "this is not the cursor of a page",
            where="page_token",
            fix="Send back the token of the page before, unchanged.",
        ) from error
