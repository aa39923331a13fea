"""Latencies as counts in buckets that are the same everywhere, so that those of many gateways add up.

A bucket is an eighth of a doubling wide, so a quantile told from counts is at most nine percent above the true one.
"""

import math
from collections.abc import Mapping

BUCKETS_EACH_DOUBLING = 8
LAST_BUCKET = 30 * BUCKETS_EACH_DOUBLING
"""About 18 minutes; what takes longer is counted there."""


def bucket(latency_us: int) -> int:
    """The bucket of a latency in microseconds, 0 to `LAST_BUCKET`."""
    if latency_us <= 1:
        return 0
    return min(LAST_BUCKET, math.ceil(math.log2(latency_us) * BUCKETS_EACH_DOUBLING))


def longest_us(place: int) -> int:
    """The longest latency of a bucket, in microseconds."""
    return math.floor(2 ** (place / BUCKETS_EACH_DOUBLING))


def quantile_us(counts: Mapping[int, int], quantile: float) -> int | None:
    """A latency that a share `quantile` of the counted ones does not exceed; None when none was counted.

    Args:
        counts: how many there are in each bucket.
        quantile: in (0, 1].
    """
    wanted = quantile * sum(counts.values())
    reached = 0
    for place in sorted(counts):
        reached += counts[place]
        if reached >= wanted and reached:
            return longest_us(place)
    return None
