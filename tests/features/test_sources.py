"""Control and a worker together: from the registration of a source to its features online, job by job."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import LeaseLost
from headrace.features import catalog, settling, sources
from headrace.features.ingest import run_ingest
from headrace.features.kinds import INGEST, MATERIALIZE
from headrace.features.lookup import FeatureLookup
from headrace.features.materialize import run_materialize
from headrace.features.nouns import Catalog, FeatureSpecs, SourceSpec
from headrace.features.online import LmdbOnlineStore
from headrace.kernel import business_time, events, jobs, subscriptions
from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.kernel.jobs import Job, JobKind
from headrace.kernel.lake import open_lake
from headrace.kernel.settings import Settings
from headrace.kernel.work import Runner, WorkContext
from headrace.project.feature import Feature
from headrace.project.feature_view import FeatureView
from headrace.testing import feature_cases as cases

RUNNERS: tuple[tuple[JobKind[Any, Any], Runner], ...] = ((INGEST, run_ingest), (MATERIALIZE, run_materialize))
DAY = timedelta(days=1)
NEW_YEAR = datetime(1997, 1, 1, tzinfo=UTC)
VIEW = FeatureView(
    name="activity",
    entity=cases.CUSTOMER,
    source=cases.PURCHASES,
    ttl="30d",
    features={"spend_7d": Feature(kind="sum", column="amount", window="7d"), "last": Feature(kind="age_of_last")},
)


class NoControl:
    def call(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("features need nothing from control")

    def upload(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("features send nothing to control")


class Worker:
    """Does the jobs of one home the way a worker process does."""

    def __init__(self, database: Database, home: Path) -> None:
        self.database = database
        self.home = home
        self.blobs: BlobStore = open_blob_store(home)
        self.lake = open_lake(home)
        self.handlings = {handling.kind.name: handling for handling in settling.HANDLINGS}
        self.runners = {kind.name: (kind, runner) for kind, runner in RUNNERS}
        self.done = 0

    def claim(self) -> Job | None:
        return self.database.write(lambda tx: jobs.claim(tx, "worker", list(self.runners)), actor="system")

    def run(self, job: Job) -> Any:
        kind, runner = self.runners[job.kind]
        directory = self.home / f"work-{job.id}-{self.done}"
        directory.mkdir()
        self.done += 1
        context = WorkContext(
            control=NoControl(),
            blobs=self.blobs,
            lake=self.lake,
            settings=Settings(home=self.home),
            business_now=NEW_YEAR,
            job=job,
            directory=directory,
            report_progress=lambda fraction, note: None,
        )
        result = runner(context, msgspec.json.decode(job.payload, type=kind.payload))
        return msgspec.json.decode(msgspec.json.encode(result))

    def settle(self, job: Job, result: Any) -> None:
        handling = self.handlings[job.kind]
        lease = job.lease or ""
        self.database.write(lambda tx: jobs.settle(tx, handling, job.id, lease, result), actor="system")

    def fail(self, job: Job, error: str) -> None:
        handling = self.handlings[job.kind]
        lease = job.lease or ""
        self.database.write(lambda tx: jobs.fail(tx, handling, job.id, lease, error, retry=False), actor="system")

    def work_off(self) -> list[str]:
        kinds = []
        while (job := self.claim()) is not None:
            self.settle(job, self.run(job))
            kinds.append(job.kind)
        return kinds


@pytest.fixture
def worker(database: Database, tmp_path: Path) -> Worker:
    return Worker(database, tmp_path)


@pytest.fixture
def move_clock(database: Database) -> Callable[[datetime], None]:
    subscribers = settling.SUBSCRIBERS
    database.write(lambda tx: subscriptions.enroll(tx, subscribers), actor="system")

    def move(to: datetime) -> None:
        database.write(lambda tx: business_time.move(tx, to), actor="ana")
        for subscriber in subscribers:
            database.write(partial(subscriptions.advance, subscriber=subscriber), actor="system")

    return move


def put_data(worker: Worker, rows: list[tuple[int, int, float]]) -> str:
    """Purchases of (customer, day of January 1997, amount)."""
    path = worker.home / "data.parquet"
    table = pa.table(
        {
            "customer_id": [key for key, _, _ in rows],
            "date": [date(1997, 1, day) for _, day, _ in rows],
            "amount": [amount for _, _, amount in rows],
        }
    )
    pq.write_table(table, path)
    return worker.blobs.put(path).digest


def apply(worker: Worker, data_digest: str, *views: FeatureView) -> None:
    specs = FeatureSpecs(
        project="shop",
        entities=(cases.CUSTOMER,),
        sources=(SourceSpec(source=cases.PURCHASES, data_digest=data_digest),),
        views=views,
    )
    worker.database.write(lambda tx: catalog.register_objects(tx, specs), actor="ana")


def listed(worker: Worker) -> Catalog:
    return worker.database.read(catalog.list_objects)


def online(worker: Worker, view: FeatureView, key: int, at: datetime) -> list[float]:
    store = LmdbOnlineStore(worker.home / "online")
    try:
        return FeatureLookup(store).rows([view], {"customer_id": [key]}, at).values[0]
    finally:
        store.close()


def test_registration_brings_the_data_up_to_business_now(
    worker: Worker, move_clock: Callable[[datetime], None]
) -> None:
    move_clock(NEW_YEAR + 3 * DAY)
    apply(worker, put_data(worker, [(1, 1, 10.0), (1, 2, 5.0), (1, 9, 1.0)]), VIEW)
    assert worker.work_off() == ["features.ingest", "features.materialize"]
    (source,), (view,) = listed(worker).sources, listed(worker).views
    assert (source.rows, source.ingested_through, source.error) == (2, NEW_YEAR + 3 * DAY, "")
    assert (view.lake_version, view.materialized_through) == (source.lake_version, NEW_YEAR + 3 * DAY)
    assert online(worker, VIEW, 1, NEW_YEAR + 3 * DAY) == [15.0, 1.0]


def test_each_move_of_the_clock_brings_what_has_happened_since(
    worker: Worker, move_clock: Callable[[datetime], None]
) -> None:
    move_clock(NEW_YEAR)
    apply(worker, put_data(worker, [(1, 1, 10.0), (1, 5, 5.0), (2, 8, 1.0)]), VIEW)
    worker.work_off()
    assert listed(worker).sources[0].rows == 0
    for day in (2, 6, 9):
        move_clock(NEW_YEAR + day * DAY)
    worker.work_off()
    assert listed(worker).sources[0].rows == 3
    assert listed(worker).views[0].materialized_through == NEW_YEAR + 9 * DAY
    assert online(worker, VIEW, 1, NEW_YEAR + 9 * DAY) == [5.0, 4.0]
    types = [event.type for event in worker.database.read(lambda tx: events.after(tx, 0))]
    assert types.count("features.source_ingested") == types.count("features.view_materialized") == 4


def test_a_worker_that_dies_after_its_work_loses_and_doubles_nothing(
    worker: Worker, move_clock: Callable[[datetime], None], clock: ManualClock
) -> None:
    move_clock(NEW_YEAR + 3 * DAY)
    apply(worker, put_data(worker, [(1, 1, 10.0), (1, 2, 5.0)]), VIEW)
    for _ in range(2):  # the ingest, then the materialization
        first = worker.claim()
        assert first is not None
        result = worker.run(first)
        clock.advance(timedelta(minutes=10))
        again = worker.claim()
        assert again is not None
        assert again.id == first.id
        worker.settle(again, worker.run(again))
        with pytest.raises(LeaseLost):
            worker.settle(first, result)
    assert worker.claim() is None
    assert listed(worker).sources[0].rows == 2
    assert online(worker, VIEW, 1, NEW_YEAR + 3 * DAY) == [15.0, 1.0]


def test_a_failed_ingest_is_told_and_the_next_one_makes_it_good(
    worker: Worker, move_clock: Callable[[datetime], None]
) -> None:
    move_clock(NEW_YEAR + 2 * DAY)
    apply(worker, put_data(worker, [(1, 1, 10.0), (1, 2, 5.0)]), VIEW)
    job = worker.claim()
    assert job is not None
    worker.run(job)  # its rows are in the lake, but control never hears of it
    worker.fail(job, "the disk is full")
    assert listed(worker).sources[0].error == "the disk is full"
    move_clock(NEW_YEAR + 3 * DAY)
    worker.work_off()
    (source,) = listed(worker).sources
    assert (source.rows, source.error) == (2, "")
    assert online(worker, VIEW, 1, NEW_YEAR + 3 * DAY) == [15.0, 1.0]


def test_a_new_version_of_a_view_is_filled_from_the_lake_beside_the_old_one(
    worker: Worker, move_clock: Callable[[datetime], None]
) -> None:
    move_clock(NEW_YEAR + 3 * DAY)
    digest = put_data(worker, [(1, 1, 10.0), (1, 2, 5.0), (1, 4, 2.0)])
    apply(worker, digest, VIEW)
    worker.work_off()
    longer = msgspec.structs.replace(VIEW, features={"spend_1d": Feature(kind="sum", column="amount", window="1d")})
    apply(worker, digest, longer)
    assert worker.work_off() == ["features.materialize"]
    move_clock(NEW_YEAR + 5 * DAY)
    assert sorted(worker.work_off()) == ["features.ingest", "features.materialize", "features.materialize"]
    at = NEW_YEAR + 5 * DAY
    assert online(worker, longer, 1, NEW_YEAR + 4 * DAY) == online(worker, longer, 1, at) == [0.0]
    assert online(worker, VIEW, 1, at) == [17.0, 1.0]


def test_sources_are_read_now_and_then_while_business_time_is_wall_time(worker: Worker, clock: ManualClock) -> None:
    assert not worker.database.read(sources.is_stale)
    apply(worker, put_data(worker, [(1, 1, 10.0)]), VIEW)
    assert not worker.database.read(sources.is_stale)
    clock.advance(sources.REFRESH)
    assert worker.database.read(sources.is_stale)
    assert len(worker.database.write(sources.request_all, actor="system")) == 1
    assert not worker.database.read(sources.is_stale)
    worker.work_off()
    assert listed(worker).views[0].materialized_through == clock.now()


def test_a_replay_reads_only_when_its_clock_moves(
    worker: Worker, clock: ManualClock, move_clock: Callable[[datetime], None]
) -> None:
    move_clock(NEW_YEAR)
    apply(worker, put_data(worker, [(1, 1, 10.0)]), VIEW)
    clock.advance(10 * sources.REFRESH)
    assert not worker.database.read(sources.is_stale)
