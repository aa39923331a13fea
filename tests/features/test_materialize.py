from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import SchemaMismatch
from headrace.features.engine import DataEngine, DuckDBEngine
from headrace.features.join import point_in_time
from headrace.features.lookup import FeatureLookup
from headrace.features.materialize import materialize
from headrace.features.nouns import Materialize
from headrace.features.online import LmdbOnlineStore, OnlineStore
from headrace.features.windows import plan_view
from headrace.kernel.ids import new_hex
from headrace.kernel.lake import Lake
from headrace.project.feature_view import FeatureView
from headrace.testing import feature_cases as cases
from headrace.testing import feature_oracle as oracle

TABLE = "sources/purchases"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DataEngine]:
    with closing(DuckDBEngine(tmp_path / "scratch")) as engine:
        yield engine


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OnlineStore]:
    with closing(LmdbOnlineStore(tmp_path / "online")) as store:
        yield store


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def table_of(events: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(events, schema=cases.EVENTS)


def job(view: FeatureView, lake_version: int, through: datetime, table: str = TABLE) -> Materialize:
    return Materialize(view=view, version=1, table=table, lake_version=lake_version, through=through)


def event(key: Any, day: float, amount: float = 1.0) -> dict[str, Any]:
    return {"customer_id": key, "event_ts": cases.START + timedelta(days=day), "amount": amount, "items": 1}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=cases.events,
    steps=st.lists(cases.moments, min_size=1, max_size=3).map(sorted),
    later=st.sampled_from([0, 1, 86_400_000_000, 9 * 86_400_000_000]),
)
def test_online_is_offline(
    engine: DataEngine,
    store: OnlineStore,
    lake: Lake,
    events: list[dict[str, Any]],
    steps: list[datetime],
    later: int,
) -> None:
    """Brought step by step, asked at or after the last step: the same answers as the join and the oracle."""
    table = f"sources/{new_hex()}"
    view = FeatureView(
        name=f"v{new_hex()}", entity=cases.CUSTOMER, source=cases.PURCHASES, ttl="10d", features=cases.VIEW.features
    )
    reached = None
    for number, through in enumerate(steps):
        batch = [e for e in events if (reached is None or e["event_ts"] > reached) and e["event_ts"] <= through]
        version = lake.append(table, table_of(batch), operation="ingest", sequence=number + 1)
        for _ in range(2):
            materialize(store, engine, lake, job(view, version, through, table))
        reached = through
    at = steps[-1] + timedelta(microseconds=later)
    keys = [1, 2, 3, 4, None]
    online = FeatureLookup(store).rows([view], {"customer_id": keys}, at)
    assert online.at == at
    frame = cases.frame_of([(key, at) for key in keys])
    offline = point_in_time(engine, [view], {"purchases": lake.snapshot(table)}, frame).to_pylist()
    seen = [e for e in events if e["event_ts"] <= steps[-1]]
    for key, values, row in zip(keys, online.values, offline, strict=True):
        nullable = [None if value != value else value for value in values]
        oracle.assert_same(nullable, oracle.features(view, seen, key, at), view, seen, key, at)
        oracle.assert_same(nullable, [row[name] for name in view.features], view, seen, key, at)


def test_a_repeat_changes_nothing(engine: DataEngine, store: OnlineStore, lake: Lake) -> None:
    version = lake.append(TABLE, table_of([event(1, 0), event(1, 1), event(2, 1)]), operation="a")
    through = cases.START + timedelta(days=1)
    first = materialize(store, engine, lake, job(cases.VIEW, version, through))
    assert (first.entities, first.events) == (2, 3)
    key = plan_view(cases.VIEW).online_key
    before = store.read(key, [1, 2])
    again = materialize(store, engine, lake, job(cases.VIEW, version, through))
    assert (again.entities, again.events, again.lake_version) == (0, 0, version)
    assert store.read(key, [1, 2]) == before


def test_a_late_job_does_not_take_the_view_back(engine: DataEngine, store: OnlineStore, lake: Lake) -> None:
    first = lake.append(TABLE, table_of([event(1, 0)]), operation="a")
    second = lake.append(TABLE, table_of([event(1, 5)]), operation="b")
    materialize(store, engine, lake, job(cases.VIEW, second, cases.START + timedelta(days=5)))
    late = materialize(store, engine, lake, job(cases.VIEW, first, cases.START))
    assert (late.lake_version, late.events) == (second, 0)
    rows = FeatureLookup(store).rows([cases.VIEW], {"customer_id": [1]}, cases.START + timedelta(days=5))
    assert rows.values[0][list(cases.VIEW.features).index("last")] == 0.0


def test_a_lost_store_is_filled_again(engine: DataEngine, lake: Lake, tmp_path: Path) -> None:
    lake.append(TABLE, table_of([event(1, 0)]), operation="a")
    version = lake.append(TABLE, table_of([event(1, 1)]), operation="b")
    through = cases.START + timedelta(days=1)
    answers = []
    for name in ("first", "second"):
        with closing(LmdbOnlineStore(tmp_path / name)) as store:
            assert materialize(store, engine, lake, job(cases.VIEW, version, through)).events == 2
            answers.append(str(FeatureLookup(store).rows([cases.VIEW], {"customer_id": [1]}, through)))
    assert answers[0] == answers[1]


def test_time_moves_on_without_events(engine: DataEngine, store: OnlineStore, lake: Lake) -> None:
    version = lake.append(TABLE, table_of([event(1, 0)]), operation="a")
    materialize(store, engine, lake, job(cases.VIEW, version, cases.START))
    through = cases.START + timedelta(days=4)
    materialize(store, engine, lake, job(cases.VIEW, version, through))
    assert FeatureLookup(store).rows([cases.VIEW], {"customer_id": [1]}, cases.START).fresh_through == through


def test_text_keys_and_a_source_without_rows(engine: DataEngine, store: OnlineStore, lake: Lake) -> None:
    schema = cases.EVENTS.set(0, pa.field("customer_id", pa.string()))
    version = lake.append(TABLE, schema.empty_table(), operation="a")
    materialize(store, engine, lake, job(cases.VIEW, version, cases.START))
    version = lake.append(
        TABLE, pa.Table.from_pylist([event("ann", 0), event("é", 0), event(None, 0)], schema=schema), operation="b"
    )
    done = materialize(store, engine, lake, job(cases.VIEW, version, cases.START))
    assert (done.entities, done.events) == (2, 2)
    found = FeatureLookup(store).rows([cases.VIEW], {"customer_id": ["é", "bob"]}, cases.START)
    assert found.statuses == {"activity": ["found", "missing"]}


def test_columns_that_cannot_be_aggregated_are_named(engine: DataEngine, store: OnlineStore, lake: Lake) -> None:
    version = lake.append(
        TABLE,
        pa.table({"customer_id": [1], "event_ts": pa.array([0], cases.UTC_TIME), "amount": ["x"]}),
        operation="a",
    )
    with pytest.raises(SchemaMismatch, match="amount"):
        materialize(store, engine, lake, job(cases.VIEW, version, cases.START))
