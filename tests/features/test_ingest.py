from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from obstore.store import LocalStore

from headrace.errors import InvalidInput, NotFound, SchemaMismatch
from headrace.features.engine import DataEngine, DataFile, DuckDBEngine
from headrace.features.ingest import ingest, run_ingest
from headrace.features.nouns import Ingest, Ingested
from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.kernel.jobs import Job
from headrace.kernel.lake import Lake
from headrace.kernel.settings import Settings
from headrace.kernel.work import WorkContext
from headrace.project.source import Source

TABLE = "sources/purchases"
DAY = timedelta(days=1)
NEW_YEAR = datetime(1997, 1, 1, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DataEngine]:
    with closing(DuckDBEngine(tmp_path / "scratch")) as engine:
        yield engine


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def source(time: str = "date", path: str = "data/p.parquet") -> Source:
    return Source(name="purchases", path=path, time=time)


def job(through: datetime, declared: Source | None = None, digest: str | None = None) -> Ingest:
    return Ingest(source=declared or source(), version=1, table=TABLE, data_digest=digest, through=through)


def parquet(path: Path, columns: dict[str, Any]) -> DataFile:
    pq.write_table(pa.table(columns), path)
    return DataFile(path=path, format="parquet")


def days(*numbers: int) -> pa.Array:
    return pa.array([date(1997, 1, number) for number in numbers], pa.date32())


def stored(lake: Lake) -> list[tuple[datetime, Any]]:
    table = lake.read(lake.snapshot(TABLE))
    return sorted(zip(table["event_ts"].to_pylist(), table["n"].to_pylist(), strict=True))


def test_a_date_counts_from_the_end_of_its_day(engine: DataEngine, lake: Lake, tmp_path: Path) -> None:
    file = parquet(tmp_path / "p.parquet", {"date": days(1, 2, 3), "n": [1, 2, 3]})
    done = ingest(engine, lake, job(NEW_YEAR + 2 * DAY - timedelta(microseconds=1)), file)
    assert (done.added_rows, done.rows) == (1, 1)
    done = ingest(engine, lake, job(NEW_YEAR + 2 * DAY), file)
    assert (done.added_rows, done.rows, done.late_rows) == (1, 2, 0)
    assert stored(lake) == [(NEW_YEAR + DAY, 1), (NEW_YEAR + 2 * DAY, 2)]
    assert lake.snapshot(TABLE).schema.names == ["date", "n", "event_ts"]


def test_each_event_comes_once_however_often_the_work_is_repeated(
    engine: DataEngine, lake: Lake, tmp_path: Path
) -> None:
    file = parquet(tmp_path / "p.parquet", {"date": days(1, 1, 2, 5), "n": [1, 1, 2, 5]})
    for through in (2, 2, 4, 3, 4, 6, 6):
        done = ingest(engine, lake, job(NEW_YEAR + through * DAY), file)
    assert [n for _, n in stored(lake)] == [1, 1, 2, 5]
    assert done == Ingested(
        lake_version=lake.snapshot(TABLE).version,
        through=NEW_YEAR + 6 * DAY,
        rows=4,
        added_rows=0,
        late_rows=0,
        rows_without_time=0,
    )


def test_a_source_without_events_so_far_is_an_empty_table(engine: DataEngine, lake: Lake, tmp_path: Path) -> None:
    file = parquet(tmp_path / "p.parquet", {"date": days(5), "n": [5]})
    assert ingest(engine, lake, job(NEW_YEAR), file).rows == 0
    assert lake.read(lake.snapshot(TABLE)).num_rows == 0


def test_rows_that_come_too_late_or_have_no_time_are_counted(
    engine: DataEngine, lake: Lake, tmp_path: Path
) -> None:
    ingest(
        engine, lake, job(NEW_YEAR + 3 * DAY), parquet(tmp_path / "1.parquet", {"date": days(1, 2), "n": [1, 2]})
    )
    columns = {"date": pa.concat_arrays([days(1, 1, 2, 4), pa.nulls(3, pa.date32())]), "n": [1, 9, 2, 4, 7, 7, 7]}
    done = ingest(engine, lake, job(NEW_YEAR + 9 * DAY), parquet(tmp_path / "2.parquet", columns))
    assert (done.added_rows, done.late_rows, done.rows_without_time) == (1, 1, 3)
    assert [n for _, n in stored(lake)] == [1, 2, 4]


@pytest.mark.parametrize(
    ("column", "expected_us"),
    [
        (pa.array([1_500], pa.timestamp("ms")), 1_500_000),
        (pa.array([1_500], pa.timestamp("us", tz="Europe/Vienna")), 1_500),
        (pa.array([1_999], pa.timestamp("ns")), 1),
        (pa.array([-1], pa.timestamp("ns")), -1),
        (pa.array([-1_000], pa.timestamp("ns", tz="UTC")), -1),
    ],
)
def test_timestamps_are_instants_and_nanoseconds_are_floored(
    engine: DataEngine, lake: Lake, tmp_path: Path, column: pa.Array, expected_us: int
) -> None:
    file = parquet(tmp_path / "p.parquet", {"at": column, "n": [1]})
    ingest(engine, lake, job(NEW_YEAR, source(time="at")), file)
    assert lake.read(lake.snapshot(TABLE))["event_ts"].cast(pa.int64()).to_pylist() == [expected_us]


def test_the_time_column_may_be_called_event_ts(engine: DataEngine, lake: Lake, tmp_path: Path) -> None:
    file = parquet(tmp_path / "p.parquet", {"event_ts": days(1), "n": [1]})
    ingest(engine, lake, job(NEW_YEAR + DAY, source(time="event_ts")), file)
    assert stored(lake) == [(NEW_YEAR + DAY, 1)]


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"day": ["1997-01-01"]}, "no column 'date'"),
        ({"date": ["1997-01-01"]}, "string"),
        ({"date": [1]}, "int64"),
        ({"date": days(1), "event_ts": [1]}, "event_ts"),
        ({"date": days(1), "Headrace_us": [1]}, "headrace_us"),  # it would be read as the time of every event
    ],
)
def test_a_source_without_a_usable_time_is_refused(
    engine: DataEngine, lake: Lake, tmp_path: Path, columns: dict[str, Any], named: str
) -> None:
    with pytest.raises(SchemaMismatch, match=named):
        ingest(engine, lake, job(NEW_YEAR), parquet(tmp_path / "p.parquet", columns))
    assert not lake.exists(TABLE)


class NoControl:
    def call(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("ingest needs nothing from control")

    def upload(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("ingest sends nothing to control")


def context(tmp_path: Path, blobs: BlobStore, lake: Lake, payload: Ingest) -> WorkContext:
    directory = tmp_path / "work"
    directory.mkdir()
    work = Job(
        id="job_1",
        kind="features.ingest",
        payload=msgspec.Raw(msgspec.json.encode(payload)),
        actor="ana",
        workspace="default",
        state="leased",
        attempt=1,
        max_attempts=5,
        enqueued_at=NEW_YEAR,
    )
    return WorkContext(
        control=NoControl(),
        blobs=blobs,
        lake=lake,
        settings=Settings(home=tmp_path),
        business_now=NEW_YEAR,
        job=work,
        directory=directory,
        report_progress=lambda fraction, note: None,
    )


def test_the_runner_reads_the_blob_that_came_with_the_project(lake: Lake, tmp_path: Path) -> None:
    blobs = open_blob_store(tmp_path)
    parquet(tmp_path / "p.parquet", {"date": days(1), "n": [1]})
    payload = job(NEW_YEAR + DAY, digest=blobs.put(tmp_path / "p.parquet").digest)
    assert run_ingest(context(tmp_path, blobs, lake, payload), payload).added_rows == 1


def test_the_runner_reads_a_uri(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa.csv.write_csv(pa.table({"date": days(1, 2), "n": [1, 2]}), tmp_path / "p.csv")
    buckets = {"s3://bucket/shop": LocalStore(tmp_path)}  # a folder in the place of a bucket
    monkeypatch.setattr("headrace.kernel.blobs.from_url", buckets.__getitem__)
    declared = source(path="s3://bucket/shop/p.csv")
    payload = job(NEW_YEAR + DAY, declared)
    assert run_ingest(context(tmp_path, open_blob_store(tmp_path), lake, payload), payload).added_rows == 1
    assert stored(lake) == [(NEW_YEAR + DAY, 1)]


@pytest.mark.parametrize(
    ("path", "digest", "error"),
    [
        ("data/p.parquet", None, InvalidInput),
        ("data/p.parquet", "sha256:" + "0" * 64, NotFound),
        ("file:///nowhere/p.parquet", None, InvalidInput),
        ("s3://bucket/p.xlsx", None, InvalidInput),
    ],
)
def test_a_source_that_cannot_be_read_says_so(
    lake: Lake, tmp_path: Path, path: str, digest: str | None, error: type[Exception]
) -> None:
    payload = job(NEW_YEAR, source(path=path), digest)
    with pytest.raises(error):
        run_ingest(context(tmp_path, open_blob_store(tmp_path), lake, payload), payload)
