"""Offline equals online on the example's real purchases, brought month by month."""

import random
from collections import defaultdict
from contextlib import closing
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.features.engine import DataFile, DuckDBEngine
from headrace.features.frames import known_entities
from headrace.features.ingest import ingest
from headrace.features.join import point_in_time
from headrace.features.labels import label_values
from headrace.features.lookup import FeatureLookup
from headrace.features.materialize import materialize
from headrace.features.nouns import Ingest, LookupStatus, Materialize
from headrace.features.online import LmdbOnlineStore
from headrace.kernel.lake import Lake
from headrace.project.entity import Entity
from headrace.project.feature import Feature
from headrace.project.feature_view import FeatureView
from headrace.project.label import Label, NoneWithin
from headrace.project.source import Source
from headrace.testing import feature_oracle as oracle

DATA = Path(__file__).parents[2] / "examples" / "churn" / "data" / "cdnow.parquet"
CUSTOMER = Entity(name="customer", key="customer_id")
PURCHASES = Source(name="purchases", path="data/cdnow.parquet", time="date")
ACTIVITY = FeatureView(
    name="customer_activity",
    entity=CUSTOMER,
    source=PURCHASES,
    ttl="120d",
    features={
        "count_30d": Feature(kind="count", window="30d"),
        "count_90d": Feature(kind="count", window="90d"),
        "spend_90d": Feature(kind="sum", column="dollar_value", window="90d"),
        "discs_90d": Feature(kind="mean", column="number_of_cds", window="90d"),
        "largest_90d": Feature(kind="maximum", column="dollar_value", window="90d"),
        "last": Feature(kind="age_of_last"),
        "first": Feature(kind="age_of_first"),
    },
)
GONE = Label(name="gone", entity=CUSTOMER, source=PURCHASES, value=NoneWithin(window="90d"), matures_after="90d")
MONTHS = [datetime(1997, month, 1, tzinfo=UTC) for month in (5, 6, 8, 12)]
TABLE = "sources/purchases"


@pytest.fixture(scope="module")
def purchases() -> pa.Table:
    return pq.read_table(DATA)


@pytest.fixture(scope="module")
def events(purchases: pa.Table) -> dict[int, list[dict[str, Any]]]:
    """The purchases of each customer, each at the end of its day, without any of the platform's code."""
    of_customer: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in purchases.to_pylist():
        row["event_ts"] = datetime.combine(row["date"] + timedelta(days=1), time(), UTC)
        of_customer[row["customer_id"]].append(row)
    return of_customer


def test_offline_is_online_month_by_month(tmp_path: Path, events: dict[int, list[dict[str, Any]]]) -> None:
    lake = Lake(tmp_path / "lake")
    chosen = set(random.Random(0).sample(range(1, 23_571), 2_000))
    with closing(DuckDBEngine(tmp_path / "s")) as engine, closing(LmdbOnlineStore(tmp_path / "online")) as store:
        for at in MONTHS:
            file = DataFile(path=DATA, format="parquet")
            done = ingest(
                engine, lake, Ingest(source=PURCHASES, version=1, table=TABLE, data_digest=None, through=at), file
            )
            brought = Materialize(view=ACTIVITY, version=1, table=TABLE, lake_version=done.lake_version, through=at)
            materialize(store, engine, lake, brought)
            frame = known_entities(engine, CUSTOMER, lake.snapshot(TABLE), at)
            offline = point_in_time(engine, [ACTIVITY], {"purchases": lake.snapshot(TABLE)}, frame)
            keys = frame["customer_id"].to_pylist()
            rows = [row for start in range(0, len(keys), 1_000) for row in _online(store, keys[start:][:1_000], at)]
            columns = [offline[name].to_pylist() for name in ACTIVITY.features]
            assert {row[0] for row in rows} == {LookupStatus.FOUND, LookupStatus.EXPIRED} or at == MONTHS[0]
            for place, key in enumerate(keys):
                online = [None if value != value else value for value in rows[place][1]]
                expected = [column[place] for column in columns]
                oracle.assert_same(online, expected, ACTIVITY, events[key], key, at)
                if key in chosen:
                    truth = oracle.features(ACTIVITY, events[key], key, at)
                    oracle.assert_same(online, truth, ACTIVITY, events[key], key, at)
        assert done.rows == sum(event["event_ts"] <= at for mine in events.values() for event in mine)


def _online(store: LmdbOnlineStore, keys: list[int], at: datetime) -> list[tuple[LookupStatus, list[float]]]:
    found = FeatureLookup(store).rows([ACTIVITY], {"customer_id": keys}, at)
    return list(zip(found.statuses["customer_activity"], found.values, strict=True))


def test_churn_is_what_the_dates_say(tmp_path: Path, purchases: pa.Table) -> None:
    """As of midnight before 1 August, the day itself is future, and the label sees 90 days from it on."""
    lake = Lake(tmp_path / "lake")
    end = datetime(1998, 7, 1, tzinfo=UTC)
    days = list(zip(purchases["customer_id"].to_pylist(), purchases["date"].to_pylist(), strict=True))
    with closing(DuckDBEngine(tmp_path / "s")) as engine:
        file = DataFile(path=DATA, format="parquet")
        job = Ingest(source=PURCHASES, version=1, table=TABLE, data_digest=None, through=end)
        done = ingest(engine, lake, job, file)
        assert (done.rows, done.rows_without_time) == (69_659, 0)
        snapshot = lake.snapshot(TABLE)
        for at, rate in ((datetime(1997, 8, 1, tzinfo=UTC), 0.831), (datetime(1997, 12, 1, tzinfo=UTC), 0.842)):
            frame = known_entities(engine, CUSTOMER, snapshot, at)
            labels = label_values(engine, GONE, snapshot, frame, business_now=end, ingested_through=done.through)
            back = {key for key, day in days if at.date() <= day < at.date() + timedelta(days=90)}
            expected = [float(key not in back) for key in frame["customer_id"].to_pylist()]
            assert labels.to_pylist() == expected
            assert len(expected) == 23_570
            assert round(sum(expected) / len(expected), 3) == rate
