"""What keys, values, pages and cursors may look like."""

from datetime import UTC, datetime

import msgspec
import pytest

from headrace.errors import InvalidInput
from headrace.tracking import keys


class TimeAndNumber(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where some page ended."""

    at: datetime
    number: int


@pytest.mark.parametrize("key", ["loss", "val/loss", "größe", "損失", "a.b-c_d e:f", "system/cpu", "x" * 250])
def test_keys_of_any_alphabet_pass(key: str) -> None:
    keys.check_key(key, what="metric")


@pytest.mark.parametrize(
    "key", ["", "x" * 251, "/a", "a/", "a//b", "../a", "a/../b", ".", "..", "a\x00", "a;b", "a\n"]
)
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidInput):
        keys.check_key(key, what="metric")


@pytest.mark.parametrize("value", ["x" * (keys.VALUE_LIMIT + 1), "\x00", "\udc80"])
def test_texts_that_no_database_holds_are_refused(value: str) -> None:
    with pytest.raises(InvalidInput):
        keys.check_text(value, where="param 'a'")


def test_cursors_come_back() -> None:
    position = TimeAndNumber(at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), number=7)
    cursor = keys.write_cursor(position)
    assert keys.read_cursor(cursor, TimeAndNumber) == position
    assert "=" not in cursor


@pytest.mark.parametrize("cursor", ["x", "!!", "WzFd", "WyJhIiwxXQ", "ö"])
def test_foreign_cursors_are_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        keys.read_cursor(cursor, TimeAndNumber)
