"""The drift of the example's own data: none in a split of one month, a large one from the first month on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import headrace as hr
from headrace.features.engine import DuckDBEngine
from headrace.features.join import point_in_time
from headrace.kernel.lake import Lake
from headrace.monitoring import drift
from headrace.monitoring.nouns import Finding, Health
from headrace.monitoring.predictions import Floats, to_floats
from headrace.statistics.profiles import count, profile

DATA = Path(__file__).parents[2] / "examples" / "churn" / "data" / "cdnow.parquet"
REFERENCE = datetime(1997, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> dict[datetime, dict[str, Floats]]:
    """Features of all customers as of the reference and the first window."""
    home = tmp_path_factory.mktemp("shop")
    rows = pq.read_table(DATA)
    ends = pc.cast(
        pc.add(pc.cast(rows["date"], pa.timestamp("us")), timedelta(days=1)), pa.timestamp("us", tz="UTC")
    )
    lake = Lake(home / "lake")
    lake.append("sources/purchases", rows.append_column("event_ts", ends), operation="test")
    snapshot = lake.snapshot("sources/purchases")
    view = hr.FeatureView(
        "activity",
        entity=hr.Entity("customer", key="customer_id"),
        source=hr.Source("purchases", "cdnow.parquet", time="date"),
        ttl="730d",
        features={
            "purchase_count_90d": hr.count(window="90d"),
            "spend_90d": hr.sum("dollar_value", window="90d"),
            "days_since_last_purchase": hr.age_of_last(),
        },
    )
    customers = pc.unique(rows["customer_id"])
    engine = DuckDBEngine(home)
    found = {}
    for moment in (REFERENCE, datetime(1997, 6, 1, tzinfo=UTC), datetime(1997, 8, 1, tzinfo=UTC)):
        frame = pa.table(
            {
                "customer_id": customers,
                "as_of": pa.array([moment] * len(customers), pa.timestamp("us", tz="UTC")),
            }
        )
        joined = point_in_time(engine, [view], {"purchases": snapshot}, frame)
        found[moment] = {name: to_floats(joined[name]) for name in view.features}
    engine.close()
    return found


def find(reference: dict[str, Floats], window: dict[str, Floats]) -> Finding:
    known = profile(reference)
    return drift.find("drift", hr.drift(), known, count(known, window))


def test_customers_of_the_same_month_show_no_drift(shop: dict[datetime, dict[str, Floats]]) -> None:
    order = np.random.default_rng(1).permutation(len(shop[REFERENCE]["spend_90d"]))
    first, second = order[:20_000], order[20_000:]
    values = shop[REFERENCE]
    found = find(
        {name: column[first] for name, column in values.items()},
        {name: column[second] for name, column in values.items()},
    )
    assert found.health is Health.HEALTHY


@pytest.mark.parametrize(("month", "distance"), [(6, 0.31), (8, 0.55)])
def test_later_months_drift_as_measured(
    shop: dict[datetime, dict[str, Floats]], month: int, distance: float
) -> None:
    rows = np.random.default_rng(2).choice(len(shop[REFERENCE]["spend_90d"]), size=300, replace=False)
    window = {name: column[rows] for name, column in shop[datetime(1997, month, 1, tzinfo=UTC)].items()}
    found = find(shop[REFERENCE], window)
    assert found.health is Health.ALARM
    moved = {column["name"]: column["distance"] for column in found.details["columns"]}
    assert moved["purchase_count_90d"] == pytest.approx(distance, abs=0.06)
