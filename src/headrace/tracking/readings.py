"""Metric values as integers that sort like the numbers, so that every double is kept exactly on both databases.

SQLite has no NaN (it becomes NULL) and the two databases order NaN differently; an integer has neither trouble,
and may stand in a primary key, which makes a repeated write of the same point one row.
"""

import struct
from collections.abc import Sequence

import sqlalchemy as sa

_DOUBLE = struct.Struct(">d")
_INTEGER = struct.Struct(">q")
_MAGNITUDE = (1 << 63) - 1
_INFINITY = 0x7FF0 << 48  # the exponent of the infinities and of NaN

NAN = 0x7FF8 << 48
"""The code of NaN, the greatest of all."""


def to_sortable(number: float) -> int:
    """The signed 64-bit integer of a double: same order, NaN above infinity, -0.0 just below 0.0.

    The IEEE 754 bits of a positive double sort as they are; those of a negative one sort backwards, so their
    magnitude is inverted.
    """
    bits: int = _INTEGER.unpack(_DOUBLE.pack(number))[0]
    if number != number:  # one NaN for all of them, whatever their sign and payload
        return NAN
    return bits if bits >= 0 else bits ^ _MAGNITUDE


def to_sortables(numbers: Sequence[float]) -> list[int]:
    """`to_sortable` of many numbers at once, which is several times as fast."""
    count = len(numbers)
    found = struct.unpack(f">{count}q", struct.pack(f">{count}d", *numbers))
    return [
        (bits if bits >= 0 else bits ^ _MAGNITUDE) if bits & _INFINITY != _INFINITY else to_sortable(number)
        for bits, number in zip(found, numbers, strict=True)
    ]


def from_sortable(code: int) -> float:
    """The double of such an integer."""
    number: float = _DOUBLE.unpack(_INTEGER.pack(code if code >= 0 else code ^ _MAGNITUDE))[0]
    return number


def from_sortables(codes: Sequence[int]) -> list[float]:
    """`from_sortable` of many codes at once."""
    bits = [code if code >= 0 else code ^ _MAGNITUDE for code in codes]
    return list(struct.unpack(f">{len(bits)}d", struct.pack(f">{len(bits)}q", *bits)))


class SortableFloat(sa.types.TypeDecorator[float]):
    """A column of doubles, stored by `to_sortable`."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002
        """Encode a float."""
        return None if value is None else to_sortable(value)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> float | None:  # noqa: ARG002
        """Decode to a float."""
        return None if value is None else from_sortable(value)
