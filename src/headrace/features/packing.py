"""What the online store holds of one entity, as bytes that are read without being decoded.

Little-endian: first event (int64, microseconds since 1970), newest dropped event (int64, the smallest
number for none), count of events (uint32), count of columns (uint32); then the times (int64 each) and
column by column the values (float64 each, NaN for null).
"""

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.features.windows import Events

HEADER = struct.Struct("<qqII")
NONE_DROPPED = -(2**63)


def unpack(packed: bytes) -> Events:
    """The events of an entity, as views on the bytes."""
    first_us, dropped_us, count, columns = HEADER.unpack_from(packed)
    body = memoryview(packed)[HEADER.size :]
    width = 8 * count
    return Events(
        times=body[:width].cast("q"),
        columns=tuple(body[width * (1 + place) : width * (2 + place)].cast("d") for place in range(columns)),
        first_us=first_us,
        dropped_us=None if dropped_us == NONE_DROPPED else dropped_us,
    )


def merged(
    packed: bytes | None, times: NDArray[np.int64], columns: Sequence[NDArray[np.float64]], drop_through_us: int
) -> bytes:
    """An entity's bytes with new events added and old ones dropped.

    Args:
        packed: what is known so far; None for a new entity.
        times: shape (events,), ascending, at least one.
        columns: one array of shape (events,) for each of the view's columns, NaN for null.
        drop_through_us: events at or before this moment are dropped; of their times the first and the
            newest stay.
    """
    first_us, dropped_us = int(times[0]), NONE_DROPPED
    if packed is not None:
        old = unpack(packed)
        first_us = min(first_us, old.first_us)
        dropped_us = NONE_DROPPED if old.dropped_us is None else old.dropped_us
        times = np.concatenate([np.asarray(old.times, np.int64), times])
        columns = [
            np.concatenate([np.asarray(before, np.float64), after])
            for before, after in zip(old.columns, columns, strict=True)
        ]
        if len(old.times) and old.times[-1] > times[len(old.times)]:
            order = np.argsort(times, kind="stable")
            times, columns = times[order], [column[order] for column in columns]
    dropped = int(np.searchsorted(times, drop_through_us, side="right"))
    if dropped:
        dropped_us = max(dropped_us, int(times[dropped - 1]))
    kept = [times[dropped:], *(column[dropped:] for column in columns)]
    header = HEADER.pack(first_us, dropped_us, len(kept[0]), len(columns))
    return header + b"".join(part.astype(part.dtype.newbyteorder("<")).tobytes() for part in kept)
