"""Buckets hold what they say, and a quantile told from counts is hardly above the true one."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from headrace.serving.latencies import BUCKETS_EACH_DOUBLING, LAST_BUCKET, bucket, longest_us, quantile_us

LATENCIES = st.integers(0, 10**9)


@given(LATENCIES)
def test_a_bucket_holds_what_is_longer_than_those_before(latency_us: int) -> None:
    place = bucket(latency_us)
    assert latency_us <= longest_us(place)
    assert place == 0 or latency_us > longest_us(place - 1)


@given(st.lists(LATENCIES, min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_at_most_one_bucket_above_the_true_one(given_us: list[int], quantile: float) -> None:
    found = quantile_us(Counter(map(bucket, given_us)), quantile)
    true = sorted(given_us)[max(0, math.ceil(quantile * len(given_us) - 1e-9) - 1)]
    assert found is not None
    assert true <= found <= max(1, true) * 2 ** (1 / BUCKETS_EACH_DOUBLING)


def test_nothing_counted_has_no_quantile() -> None:
    assert quantile_us({}, 0.95) is None
    assert quantile_us({7: 0}, 0.95) is None


def test_what_takes_for_ever_is_in_the_last_bucket() -> None:
    assert bucket(10**15) == LAST_BUCKET
