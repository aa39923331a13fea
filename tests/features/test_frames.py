from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.errors import InvalidInput, NotFound, SchemaMismatch
from headrace.features.engine import DataEngine, DuckDBEngine
from headrace.features.frames import known_entities
from headrace.features.join import point_in_time
from headrace.project.entity import Entity
from headrace.testing import feature_cases as cases

NOW = pa.array([cases.START], cases.UTC_TIME)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DataEngine]:
    with closing(DuckDBEngine(tmp_path / "scratch")) as engine:
        yield engine


def event(key: Any, day: int) -> dict[str, Any]:
    return {"customer_id": key, "event_ts": cases.START + timedelta(days=day), "amount": 1.0, "items": 1}


def test_known_are_those_with_an_event_by_then(engine: DataEngine, tmp_path: Path) -> None:
    rows = [event(3, 1), event(1, 0), event(1, 1), event(2, 2), event(None, 0)]
    snapshot = cases.snapshot_of(rows, tmp_path)
    frame = known_entities(engine, cases.CUSTOMER, snapshot, cases.START + timedelta(days=1))
    assert frame["customer_id"].to_pylist() == [1, 3]
    assert frame["as_of"].to_pylist() == [cases.START + timedelta(days=1)] * 2
    assert frame.schema.field("as_of").type == cases.UTC_TIME
    with pytest.raises(SchemaMismatch):
        known_entities(engine, Entity(name="shop", key="shop_id"), snapshot, cases.START)


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        ({"customer_id": [1]}, InvalidInput),
        ({"as_of": NOW}, SchemaMismatch),
        ({"customer_id": ["1"], "as_of": NOW}, SchemaMismatch),
        ({"customer_id": [1.0], "as_of": NOW}, SchemaMismatch),
        ({"customer_id": [1], "as_of": ["1997-01-01"]}, InvalidInput),
        ({"customer_id": [1], "as_of": pa.array([0], pa.timestamp("us"))}, InvalidInput),
        ({"customer_id": [1], "as_of": pa.array([0], pa.date32())}, InvalidInput),
        ({"customer_id": [1], "as_of": pa.array([None], cases.UTC_TIME)}, InvalidInput),
        ({"customer_id": [1], "as_of": NOW, "last": [1]}, InvalidInput),
    ],
)
def test_frames_that_would_silently_match_nothing_are_refused(
    engine: DataEngine, tmp_path: Path, frame: dict[str, Any], error: type[Exception]
) -> None:
    snapshots = {"purchases": cases.snapshot_of([event(1, 0)], tmp_path)}
    with pytest.raises(error):
        point_in_time(engine, [cases.VIEW], snapshots, pa.table(frame))


def test_a_moment_in_another_zone_or_unit_is_the_same_moment(engine: DataEngine, tmp_path: Path) -> None:
    snapshots = {"purchases": cases.snapshot_of([event(1, 0)], tmp_path)}
    just_before = pa.array([int(cases.START.timestamp()) * 10**9 - 1], pa.timestamp("ns", tz="UTC"))
    vienna = pa.array([cases.START], pa.timestamp("ms", tz="Europe/Vienna"))
    found = [
        point_in_time(engine, [cases.VIEW], snapshots, pa.table({"customer_id": [1], "as_of": at}))[
            "last"
        ].to_pylist()
        for at in (just_before, vienna)
    ]
    assert found == [[None], [0.0]]


def test_two_views_cannot_give_one_name(engine: DataEngine, tmp_path: Path) -> None:
    snapshots = {"purchases": cases.snapshot_of([], tmp_path)}
    frame = cases.frame_of([(1, datetime(1997, 1, 1, tzinfo=UTC))])
    with pytest.raises(InvalidInput):
        point_in_time(engine, [cases.VIEW, cases.VIEW], snapshots, frame)
    with pytest.raises(NotFound):
        point_in_time(engine, [cases.VIEW], {}, frame)
