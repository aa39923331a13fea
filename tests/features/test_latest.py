"""The last known value of a column as of a moment: never from the future, never of another entity."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import SchemaMismatch
from headrace.features.engine import DataEngine, DuckDBEngine
from headrace.features.latest import latest_values
from headrace.testing import feature_cases as cases

DAY = timedelta(days=1)
T = cases.START


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DataEngine]:
    with closing(DuckDBEngine(tmp_path / "scratch")) as engine:
        yield engine


def said(customer: int | None, at: datetime, amount: float | None) -> dict[str, Any]:
    return {"customer_id": customer, "event_ts": at, "amount": amount, "items": 1}


def values(engine: DataEngine, tmp_path: Path, rows: list[dict[str, Any]]) -> list[Any]:
    frame = cases.frame_of([(2, T), (1, T), (1, T + DAY), (9, T), (None, T), (2, T)])
    found: list[Any] = latest_values(
        engine, cases.LABEL.entity, cases.snapshot_of(rows, tmp_path), "amount", frame
    ).to_pylist()
    return found


def test_the_newest_value_up_to_the_moment_counts(engine: DataEngine, tmp_path: Path) -> None:
    rows = [said(1, T - DAY, 1.0), said(1, T, 2.0), said(1, T + timedelta(microseconds=1), 3.0), said(2, T, 5.0)]
    assert values(engine, tmp_path, rows) == [5.0, 2.0, 3.0, None, None, 5.0]


def test_an_event_without_the_value_says_nothing(engine: DataEngine, tmp_path: Path) -> None:
    rows = [said(1, T - 2 * DAY, 1.0), said(1, T - DAY, None), said(None, T - DAY, 7.0)]
    assert values(engine, tmp_path, rows) == [None, 1.0, 1.0, None, None, None]


def test_ties_go_to_the_greater_value(engine: DataEngine, tmp_path: Path) -> None:
    rows = [said(1, T, 4.0), said(1, T, 6.0), said(1, T, 5.0)]
    assert values(engine, tmp_path, rows) == [None, 6.0, 6.0, None, None, None]


def test_a_column_that_is_not_there_is_named(engine: DataEngine, tmp_path: Path) -> None:
    snapshot = cases.snapshot_of([said(1, T, 1.0)], tmp_path)
    with pytest.raises(SchemaMismatch, match="no column 'gender'"):
        latest_values(engine, cases.LABEL.entity, snapshot, "gender", cases.frame_of([(1, T)]))
