"""The contract of the OnlineStore seam, as tests that every back end passes.

class TestMyStore(OnlineStoreContract):
    @pytest.fixture
    def store(self): return MyStore(...)
"""

from collections.abc import Iterator
from typing import Any

import pytest

from headrace.errors import Conflict, InvalidInput
from headrace.features.online import Key, OnlineStore, Position

FIRST = Position(lake_version=1, through_us=10, key_kind="integer")
SECOND = Position(lake_version=2, through_us=20, key_kind="integer")


class OnlineStoreContract:
    """What `OnlineStore` promises; a back end's test gives the fixture `store`."""

    @pytest.fixture
    def store(self) -> OnlineStore:
        """An empty store."""
        raise NotImplementedError

    def test_values_come_back_in_the_order_of_the_keys(self, store: OnlineStore) -> None:
        """Unknown and null keys are None, repeated keys repeat."""
        store.write("v", None, FIRST, [(1, b"one"), (2, b""), (3, bytes(range(256)) * 100)])
        reading = store.read("v", [3, 1, None, 9, 1, 2])
        assert reading.values == [bytes(range(256)) * 100, b"one", None, None, b"one", b""]
        assert reading.position == FIRST

    def test_an_unwritten_view_has_no_position(self, store: OnlineStore) -> None:
        """And a written one has it without any key being asked for."""
        assert store.read("v", [1]) == (None, [None])
        store.write("v", None, FIRST, [])
        assert store.read("v", []) == (FIRST, [])

    def test_a_batch_that_was_taken_is_not_taken_again(self, store: OnlineStore) -> None:
        """The position is compared and set with the values."""
        store.write("v", None, FIRST, [(1, b"one")])
        with pytest.raises(Conflict):
            store.write("v", None, FIRST, [(1, b"twice")])
        store.write("v", FIRST, SECOND, [(2, b"two")])
        with pytest.raises(Conflict):
            store.write("v", FIRST, SECOND, [(1, b"twice"), (3, b"three")])
        assert store.read("v", [1, 2, 3]) == (SECOND, [b"one", b"two", None])

    def test_a_batch_that_breaks_leaves_nothing(self, store: OnlineStore) -> None:
        """Neither its values nor its position."""

        def broken() -> Iterator[tuple[Key, bytes]]:
            yield 1, b"changed"
            raise ConnectionError

        store.write("v", None, FIRST, [(1, b"one")])
        with pytest.raises(ConnectionError):
            store.write("v", FIRST, SECOND, broken())
        assert store.read("v", [1]) == (FIRST, [b"one"])

    def test_views_and_types_of_keys_do_not_meet(self, store: OnlineStore) -> None:
        """Not even where one name begins with another, or a number reads like a text."""
        store.write("v", None, FIRST, [(1, b"number"), ("1", b"text"), ("", b"empty")])
        store.write("v1", None, SECOND, [(1, b"other")])
        assert store.read("v", [1, "1", "", "v"]).values == [b"number", b"text", b"empty", None]
        store.forget("v")
        assert store.read("v", [1, "1"]) == (None, [None, None])
        assert store.read("v1", [1]) == (SECOND, [b"other"])
        store.forget("v")

    def test_long_and_extreme_keys(self, store: OnlineStore) -> None:
        """Every 64-bit number and every text is a key of its own."""
        keys: list[Key] = [-(2**63), -1, 0, 2**63 - 1, "é", "\x00", "x" * 5_000, "x" * 4_999 + "y"]
        store.write("v", None, FIRST, [(key, str(place).encode()) for place, key in enumerate(keys)])
        assert store.read("v", keys).values == [str(place).encode() for place in range(len(keys))]

    @pytest.mark.parametrize("key", [2**63, 1.0, True, b"bytes", [1]])
    def test_other_keys_are_refused(self, store: OnlineStore, key: Any) -> None:
        """Rather than converted to something that might match."""
        with pytest.raises(InvalidInput):
            store.read("v", [key])
