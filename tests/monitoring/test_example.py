"""The example's months on its real data: what drifted is one alarm, not one of every monitor."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.features.engine import DataFile, DuckDBEngine
from headrace.features.frames import known_entities
from headrace.features.ingest import ingest
from headrace.features.join import point_in_time
from headrace.features.nouns import Ingest
from headrace.kernel.lake import Lake, Snapshot
from headrace.monitoring import drift, quality
from headrace.monitoring.nouns import Health
from headrace.monitoring.predictions import to_floats
from headrace.project.feature_view import FeatureView
from headrace.project.loading import load_project
from headrace.project.monitors import DriftMonitor, QualityMonitor
from headrace.statistics.profiles import Columns, count, profile

EXAMPLE = Path(__file__).parents[2] / "examples" / "churn"
"""The project that the demonstration plays."""


@pytest.fixture(scope="module")
def view() -> FeatureView:
    return load_project(EXAMPLE / "churn.py").models[0].declaration.features[0]


@pytest.fixture(scope="module")
def snapshot(view: FeatureView, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("lake")
    lake = Lake(folder)
    through = datetime(1998, 7, 1, tzinfo=UTC)
    wanted = Ingest(source=view.source, version=1, table="sources/purchases", data_digest=None, through=through)
    with closing(DuckDBEngine(folder / "scratch")) as engine:
        ingest(engine, lake, wanted, DataFile(path=EXAMPLE / "data" / "cdnow.parquet", format="parquet"))
    return lake.snapshot("sources/purchases")


def columns(view: FeatureView, snapshot: Snapshot, at: datetime, scratch: Path) -> Columns:
    with closing(DuckDBEngine(scratch)) as engine:
        frame = known_entities(engine, view.entity, snapshot, at)
        table: pa.Table = point_in_time(engine, [view], {view.source.name: snapshot}, frame)
    return {name: to_floats(table[name]) for name in view.features}


@pytest.mark.parametrize("month", [datetime(1997, 8, 15, tzinfo=UTC), datetime(1998, 2, 15, tzinfo=UTC)])
def test_a_month_that_drifted_raises_one_alarm(
    view: FeatureView, snapshot: Snapshot, month: datetime, tmp_path: Path
) -> None:
    reference = profile(columns(view, snapshot, datetime(1997, 5, 1, tzinfo=UTC), tmp_path))
    window = columns(view, snapshot, month, tmp_path)
    rows = len(window["purchase_count_90d"])
    counts = count(reference, window)
    drifted = drift.find("drift", DriftMonitor(), reference, counts)
    sound = quality.find("quality", QualityMonitor(), reference, counts, rows=rows, faults=0)
    assert pq.read_metadata(EXAMPLE / "data" / "cdnow.parquet").num_rows == snapshot.rows
    assert (drifted.health, sound.health) == (Health.ALARM, Health.HEALTHY)
