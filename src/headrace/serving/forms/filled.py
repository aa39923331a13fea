"""Nulls that stand for fields which a request did not have: told apart by their bits, at no cost to the request.

A matrix has NaN for null, wherever it came from. A field that is filled in is a NaN of its own, which models, sums
and comparisons take for any other; the log finds it by its bits when nobody waits.
"""

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_BITS = 0x7FF8_0000_0000_F111
FILLED: float = struct.unpack("<d", struct.pack("<Q", _BITS))[0]
"""What a matrix holds for a field that was not sent."""


def sent(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What a caller sent as bytes, with no null in it that has the bits of one that was filled in."""
    missing = np.isnan(matrix)
    return np.where(missing, np.nan, matrix) if missing.any() else matrix


def filled_fields(matrix: npt.NDArray[np.float64], names: Sequence[str]) -> list[list[str]]:
    """Of each row the fields that were not sent."""
    found = np.ascontiguousarray(matrix, dtype=np.float64).view(np.uint64) == _BITS
    fields: list[list[str]] = [[] for _ in range(len(matrix))]
    for row, place in np.argwhere(found).tolist():
        fields[row].append(names[place])
    return fields
