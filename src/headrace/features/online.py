"""The OnlineStore seam: what is known of each entity right now, read by its key in microseconds.

It keeps opaque bytes by (view, key) and, for each view, the position up to which they were brought. Batches
move the position by compare-and-set in the same transaction as the bytes, so a repeated batch changes
nothing.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import lmdb
import msgspec

from headrace.errors import Conflict, InvalidInput, Unavailable

Key: TypeAlias = int | str
"""An entity's key: a whole number of 64 bits with a sign, or text."""

MAP_BYTES = 64 * 1024**3
"""Address space of the LMDB file, which is as large as what it holds; not memory."""

MOST_READERS = 1024
LONGEST_KEY_BYTES = 300
_POSITION = b"\x00position"


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """How far a view has been brought.

    Attributes:
        lake_version: version of the source's table.
        through_us: business time in microseconds since 1970; earlier moments can no longer be answered
            exactly. key_kind: "integer" or "string".
    """

    lake_version: int
    through_us: int
    key_kind: str


class Reading(NamedTuple):
    """Values by key, and the position that they belong to."""

    position: Position | None
    values: list[bytes | None]


class OnlineStore(Protocol):
    """Bytes by view and key.

    Thread safety: every method may be called from any thread, and stores of several processes may be open
    at once.
    Order: `write` returns after its batch is durable and visible; a `read` sees all of a batch or nothing
    of it, its position included.
    Ownership: values are copied in and out.
    Errors: `write` raises Conflict when the position is not the expected one, and nothing of it is kept; a
    store that cannot be reached or is full raises Unavailable.
    """

    def read(self, view: str, keys: Sequence[Key | None]) -> Reading:
        """The values of keys, None for what is not there; and the position, None for a view never written."""
        ...

    def write(
        self, view: str, expected: Position | None, position: Position, values: Iterable[tuple[Key, bytes]]
    ) -> None:
        """Put values and move the position, if it is still `expected`."""
        ...

    def forget(self, view: str) -> None:
        """Remove a view's values and position."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


def open_online_store(home: Path) -> OnlineStore:
    """The online store of a platform, in `home/online`.

    A process has it open once at a time, and opens it anew after a fork.
    """
    return LmdbOnlineStore(home / "online")


class LmdbOnlineStore:
    """The embedded online store; see `OnlineStore`.

    Any number of processes read while one writes; a writer that is killed leaves the last committed state.
    """

    def __init__(self, directory: Path, *, map_bytes: int = MAP_BYTES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        with _mapped():
            self._environment = lmdb.open(
                str(directory), map_size=map_bytes, max_readers=MOST_READERS, readahead=False, max_spare_txns=8
            )
            self._environment.reader_check()  # frees the slots of readers that were killed

    def read(self, view: str, keys: Sequence[Key | None]) -> Reading:
        """The values of keys, from one snapshot."""
        prefix = _prefix(view)
        with _mapped(), self._environment.begin() as transaction:
            position = _decode(transaction.get(prefix + _POSITION))
            values = [None if key is None else transaction.get(prefix + encode_key(key)) for key in keys]
        return Reading(position, values)

    def write(
        self, view: str, expected: Position | None, position: Position, values: Iterable[tuple[Key, bytes]]
    ) -> None:
        """Put a batch in one transaction."""
        prefix = _prefix(view)
        with _mapped(), self._environment.begin(write=True) as transaction:
            found = _decode(transaction.get(prefix + _POSITION))
            if found != expected:
                raise Conflict("the view has been brought on by somebody else", where=f"online/{view}")
            for key, value in values:
                transaction.put(prefix + encode_key(key), value)
            transaction.put(prefix + _POSITION, msgspec.json.encode(position))

    def forget(self, view: str) -> None:
        """Remove a view, in one transaction."""
        prefix = _prefix(view)
        with _mapped(), self._environment.begin(write=True) as transaction, transaction.cursor() as cursor:
            found = cursor.set_range(prefix)
            while found and cursor.key().startswith(prefix):
                found = cursor.delete()

    def close(self) -> None:
        """Close the file."""
        self._environment.close()


def encode_key(key: Key) -> bytes:
    """A key as bytes, each type apart; text that is too long stands under its digest.

    Raises:
        InvalidInput: the key is neither a 64-bit number nor text.
    """
    if isinstance(key, str):
        encoded = key.encode("utf-8", "surrogatepass")
        if len(encoded) <= LONGEST_KEY_BYTES:
            return b"s" + encoded
        return b"h" + hashlib.sha256(encoded).digest()
    if type(key) is int and -(2**63) <= key < 2**63:
        return b"i" + (key + 2**63).to_bytes(8, "big")
    raise InvalidInput("a key is a whole number of 64 bits or text", where="entities", fix="Send keys as such.")


def _prefix(view: str) -> bytes:
    return view.encode() + b"\x00"


def _decode(position: bytes | None) -> Position | None:
    return None if position is None else msgspec.json.decode(position, type=Position)


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except lmdb.MapFullError as error:
        raise Unavailable("the online store is full", fix="Archive feature views that nothing serves.") from error
    except lmdb.Error as error:
        raise Unavailable("the online store cannot be used", fix=str(error)[:200]) from error
