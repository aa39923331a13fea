"""Random feature data for tests: few distinct times, on and beside boundaries, so that ties are common."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from headrace.kernel.ids import new_hex
from headrace.kernel.lake import Snapshot
from headrace.project.entity import Entity
from headrace.project.feature import Feature
from headrace.project.feature_view import FeatureView
from headrace.project.label import Label, NoneWithin
from headrace.project.source import Source

START = datetime(1997, 1, 1, tzinfo=UTC)
UTC_TIME = pa.timestamp("us", tz="UTC")
CUSTOMER = Entity(name="customer", key="customer_id")
PURCHASES = Source(name="purchases", path="data/purchases.parquet", time="date")
VIEW = FeatureView(
    name="activity",
    entity=CUSTOMER,
    source=PURCHASES,
    ttl="10d",
    features={
        "count_2d": Feature(kind="count", window="2d"),
        "count_1s": Feature(kind="count", window="1s"),
        "sum_2d": Feature(kind="sum", column="amount", window="2d"),
        "mean_10d": Feature(kind="mean", column="amount", window="10d"),
        "smallest_2d": Feature(kind="minimum", column="amount", window="2d"),
        "largest_2d": Feature(kind="maximum", column="amount", window="2d"),
        "items_5d": Feature(kind="sum", column="items", window="5d"),
        "last": Feature(kind="age_of_last"),
        "first": Feature(kind="age_of_first"),
    },
)
RECENT = FeatureView(
    name="recent",
    entity=CUSTOMER,
    source=PURCHASES,
    ttl="2d",
    features={
        "items_2d": Feature(kind="mean", column="items", window="2d"),
        "recent_last": Feature(kind="age_of_last"),
    },
)
LABEL = Label(name="gone", entity=CUSTOMER, source=PURCHASES, value=NoneWithin(window="2d"), matures_after="3d")

EVENTS = pa.schema(
    [("customer_id", pa.int64()), ("event_ts", UTC_TIME), ("amount", pa.float64()), ("items", pa.int16())]
)

moments = st.builds(
    lambda days, shift: START + timedelta(days=days, microseconds=shift),
    st.sampled_from([0, 1, 2, 3, 5, 10, 12, 20]),
    st.sampled_from([-1, 0, 0, 0, 1, 999_999, 1_000_000]),
)
amounts = st.one_of(
    st.none(),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 0.1]),
    st.floats(-1e9, 1e9, allow_nan=False),
)
events = st.lists(
    st.fixed_dictionaries(
        {
            "customer_id": st.sampled_from([1, 2, 3, None]),
            "event_ts": moments,
            "amount": amounts,
            "items": st.one_of(st.none(), st.integers(-5, 5)),
        }
    ),
    max_size=25,
)
asked = st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, None]), moments), max_size=12)


def frame_of(rows: Sequence[tuple[Any, datetime]]) -> pa.Table:
    """An entity frame of (key, moment) pairs, with a column of the caller's own."""
    return pa.table(
        {
            "customer_id": pa.array([key for key, _ in rows], pa.int32()),
            "note": pa.array([f"row {place}" for place in range(len(rows))], pa.string()),
            "as_of": pa.array([at for _, at in rows], UTC_TIME),
        }
    )


def snapshot_of(rows: Sequence[dict[str, Any]], directory: Path) -> Snapshot:
    """A snapshot that holds these events, in two files written below a directory."""
    files = []
    for part in (rows[::2], rows[1::2]):
        path = directory / f"{new_hex()}.parquet"
        pq.write_table(pa.Table.from_pylist(list(part), schema=EVENTS), path)
        files.append(str(path))
    return Snapshot(table="sources/purchases", version=0, files=tuple(files), schema=EVENTS, rows=len(rows))
