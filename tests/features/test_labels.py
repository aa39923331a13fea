from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.errors import LabelsNotMature
from headrace.features.engine import DataEngine, DuckDBEngine
from headrace.features.labels import label_values
from headrace.features.maturity import mature_as_of
from headrace.testing import feature_cases as cases

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
T = cases.START


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DataEngine]:
    with closing(DuckDBEngine(tmp_path / "scratch")) as engine:
        yield engine


def values(
    engine: DataEngine,
    tmp_path: Path,
    times: list[datetime],
    *,
    business_now: datetime = T + 3 * DAY,
    ingested_through: datetime | None = T + 3 * DAY,
) -> Any:
    rows = [{"customer_id": 1, "event_ts": at, "amount": 1.0, "items": 1} for at in times]
    return label_values(
        engine,
        cases.LABEL,
        cases.snapshot_of(rows, tmp_path),
        cases.frame_of([(1, T), (2, T), (None, T), (1, T)]),
        business_now=business_now,
        ingested_through=ingested_through,
    ).to_pylist()


@pytest.mark.parametrize(
    ("at", "label"),
    [(T - DAY, 1.0), (T, 1.0), (T + TICK, 0.0), (T + 2 * DAY, 0.0), (T + 2 * DAY + TICK, 1.0)],
)
def test_the_window_begins_after_t_and_ends_at_its_end(
    engine: DataEngine, tmp_path: Path, at: datetime, label: float
) -> None:
    assert values(engine, tmp_path, [at]) == [label, 1.0, None, label]


def test_an_outcome_is_used_only_once_it_is_final(engine: DataEngine, tmp_path: Path) -> None:
    with pytest.raises(LabelsNotMature, match="1996-12-31 23:59") as refused:
        values(engine, tmp_path, [], business_now=T + 3 * DAY - TICK)
    assert refused.value.where == "label/gone"
    assert mature_as_of(cases.LABEL, T + 3 * DAY) == T


@pytest.mark.parametrize("through", [None, T + 2 * DAY - TICK])
def test_an_outcome_needs_its_window_in_the_lake(
    engine: DataEngine, tmp_path: Path, through: datetime | None
) -> None:
    with pytest.raises(LabelsNotMature, match="ingest"):
        values(engine, tmp_path, [], ingested_through=through)


def test_a_frame_without_rows(engine: DataEngine, tmp_path: Path) -> None:
    empty = cases.frame_of([])
    labels = label_values(
        engine, cases.LABEL, cases.snapshot_of([], tmp_path), empty, business_now=T, ingested_through=None
    )
    assert (len(labels), labels.type) == (0, pa.float64())
