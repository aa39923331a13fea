import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.features.packing import merged, unpack

times = st.lists(st.integers(-50, 50), min_size=1, max_size=8).map(sorted)


@given(
    batches=st.lists(times, min_size=1, max_size=4), drops=st.lists(st.integers(-60, 60), min_size=4, max_size=4)
)
def test_batches_in_any_order_make_one_history(batches: list[list[int]], drops: list[int]) -> None:
    packed: bytes | None = None
    everything: list[int] = []
    horizon = -100
    for batch, drop in zip(batches, drops, strict=False):
        horizon = max(horizon, drop)
        everything += batch
        column = np.array([moment * 0.5 for moment in batch])
        packed = merged(packed, np.array(batch, np.int64), [column, -column], horizon)
    assert packed is not None
    events = unpack(packed)
    kept = list(events.times)
    assert kept == sorted(moment for moment in everything if moment > horizon)
    assert list(events.columns[0]) == [moment * 0.5 for moment in kept]
    assert list(events.columns[1]) == [moment * -0.5 for moment in kept]
    assert events.first_us == min(everything)
    gone = [moment for moment in everything if moment <= horizon]
    assert events.dropped_us == (max(gone) if gone else None)


def test_no_columns() -> None:
    events = unpack(merged(None, np.array([1, 2], np.int64), [], 0))
    assert (list(events.times), events.columns, events.dropped_us) == ([1, 2], (), None)
