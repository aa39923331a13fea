"""Removing for good: everything of a run goes, nothing of another does, and what is needed stays."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from headrace.errors import InvalidInput, NotFound, Pinned
from headrace.kernel import events, pins
from headrace.kernel.blobs import BlobStore
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Blocking, Database, Tx
from headrace.tracking import (
    artifacts,
    collecting,
    experiments,
    lifecycle,
    logged_models,
    logging,
    purging,
    runs,
    sweeping,
    tables,
)
from headrace.tracking.nouns import (
    Batch,
    CreateLoggedModel,
    CreateRun,
    Dataset,
    DatasetInput,
    Inputs,
    MetricPoint,
    ModelOutput,
    Purge,
    Run,
)

pytestmark = pytest.mark.both_databases

DAY = timedelta(days=1)
Make = Callable[[str], Run]


@pytest.fixture
def make(database: Database, blobs: BlobStore) -> Make:
    """A run with something in every table."""

    def made(experiment: str) -> Run:
        run = database.write(
            lambda tx: runs.create(tx, CreateRun(experiment=experiment, tags={"team": "growth"})), actor="ana"
        )
        request = CreateLoggedModel(experiment_id=run.experiment_id, name="clf", source_run_id=run.id)
        model = database.write(lambda tx: logged_models.create(tx, request), actor="ana")
        points = tuple(MetricPoint(key="loss", value=1 / (step + 1), step=step) for step in range(100))
        measured = MetricPoint(key="auc", value=0.9, model_id=model.id)
        batch = Batch(metrics=(*points, measured), params={"depth": 3})
        database.write(lambda tx: logging.log_batch(tx, run.id, batch), actor="ana")
        dataset = Dataset(name="purchases", digest="abc", source_type="local", source="{}")
        inputs = Inputs(datasets=(DatasetInput(dataset=dataset),), models=(model.id,))
        database.write(lambda tx: logging.log_inputs(tx, run.id, inputs), actor="ana")
        outputs = [ModelOutput(model_id=model.id)]
        database.write(lambda tx: logging.log_outputs(tx, run.id, outputs), actor="ana")
        for owner, path in ((artifacts.run_owner(run.id), "a.txt"), (artifacts.model_owner(model.id), "MLmodel")):
            blob = blobs.put(f"{path} of {run.id}".encode())
            database.write(
                lambda tx, owner=owner, path=path, blob=blob: artifacts.record(tx, owner, path, blob, blobs),  # type: ignore[misc]
                actor="ana",
            )
        return run

    return made


def rows(database: Database) -> dict[str, int]:
    every = [table for name, table in vars(tables).items() if isinstance(table, sa.Table) and name != "metadata"]
    return {
        table.name: database.read(
            lambda tx, table=table: int(tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())  # type: ignore[misc]
        )
        for table in every
    }


def _purge(subject: str, before: datetime, tx: Tx) -> Purge:
    return purging.purge(tx, subject, before)


def purge_all(database: Database, retention: timedelta) -> Purge:
    before = database.read(lambda tx: tx.now) - retention
    done = Purge()
    for subject in database.read(lambda tx: purging.candidates(tx, before, 100)):
        done = done.plus(database.write(partial(_purge, subject, before), actor="ada"))
    return done.plus(database.write(lambda tx: purging.purge_experiments(tx, before), actor="ada"))


def test_nothing_of_a_purged_experiment_is_left(database: Database, make: Make, clock: ManualClock) -> None:
    make("stays")
    before = rows(database)
    going = make("goes")
    database.write(lambda tx: lifecycle.delete_experiment(tx, going.experiment_id), actor="ana")
    (output,) = database.read(lambda tx: runs.get(tx, going.id)).outputs
    database.write(lambda tx: logged_models.delete(tx, output.model_id), actor="ana")
    assert purge_all(database, 30 * DAY) == Purge()
    clock.advance(31 * DAY)
    planned = database.read(lambda tx: purging.preview(tx, tx.now - 30 * DAY))
    done = purge_all(database, 30 * DAY)
    assert planned == done
    assert (done.runs, done.logged_models, done.experiments, done.points, done.files) == (1, 1, 1, 101, 2)
    assert rows(database) == before
    with pytest.raises(NotFound):
        database.read(lambda tx: runs.get(tx, going.id))
    assert purge_all(database, 30 * DAY) == Purge()


def test_a_dataset_goes_with_the_last_run_that_read_it(database: Database, make: Make) -> None:
    """Its description may hold as much as what was logged."""
    first, second = make("churn"), make("churn")
    assert rows(database)["tracking_datasets"] == 1
    for run, left in ((first, 1), (second, 0)):
        database.write(lambda tx, run=run: lifecycle.delete_run(tx, run.id), actor="ana")  # type: ignore[misc]
        database.write(lambda tx, run=run: purging.purge_run(tx, run.id), actor="ada")  # type: ignore[misc]
        assert rows(database)["tracking_datasets"] == left


def test_what_was_restored_stays(database: Database, make: Make, clock: ManualClock) -> None:
    run = make("churn")
    database.write(lambda tx: lifecycle.delete_run(tx, run.id), actor="ana")
    clock.advance(DAY)
    before = database.read(lambda tx: tx.now)
    (subject,) = database.read(lambda tx: purging.candidates(tx, before, 10))
    database.write(lambda tx: lifecycle.restore_run(tx, run.id), actor="ana")
    assert database.write(lambda tx: purging.purge(tx, subject, before), actor="ada") == Purge()
    assert database.read(lambda tx: runs.get(tx, run.id)).params == {"depth": "3"}


def test_what_is_held_stays_and_is_named(database: Database, make: Make, clock: ManualClock) -> None:
    run = make("churn")
    holder = "version/churn/1"
    database.write(lambda tx: pins.pin(tx, f"run/{run.id}", holder, "it came from it"), actor="ana")
    database.write(lambda tx: lifecycle.delete_experiment(tx, run.experiment_id), actor="ana")
    clock.advance(DAY)
    planned = database.read(lambda tx: purging.preview(tx, tx.now))
    assert (planned.runs, planned.experiments) == (0, 0)
    assert [(held.subject, held.holders) for held in planned.held] == [(f"run/{run.id}", (holder,))]
    assert purge_all(database, timedelta(0)) == Purge()
    with pytest.raises(Pinned, match=holder):
        database.write(lambda tx: purging.purge_run(tx, run.id), actor="ada")
    database.write(lambda tx: pins.release(tx, holder), actor="ana")
    assert purge_all(database, timedelta(0)).runs == 1


def test_only_what_is_deleted_is_purged(database: Database, make: Make) -> None:
    run = make("churn")
    with pytest.raises(InvalidInput, match="not deleted"):
        database.write(lambda tx: purging.purge_run(tx, run.id), actor="ada")
    with pytest.raises(NotFound):
        database.write(lambda tx: purging.purge_run(tx, "0" * 32), actor="ada")
    database.write(lambda tx: lifecycle.delete_run(tx, run.id), actor="ana")
    assert database.write(lambda tx: purging.purge_run(tx, run.id), actor="ada").points == 101
    last = database.read(lambda tx: events.of_subject(tx, f"run/{run.id}"))[-1]
    assert (last.type, last.actor) == ("tracking.run_purged", "ada")


def test_a_new_run_has_none_of_the_old_points(database: Database, make: Make) -> None:
    run = make("churn")
    database.write(lambda tx: lifecycle.delete_run(tx, run.id), actor="ana")
    database.write(lambda tx: purging.purge_run(tx, run.id), actor="ada")
    again = make("churn")
    found = database.read(lambda tx: runs.get(tx, again.id))
    assert found.metrics["loss"].step == 99
    assert rows(database)["tracking_points"] == 101


def test_the_default_experiment_stays(database: Database, clock: ManualClock) -> None:
    run = database.write(lambda tx: runs.create(tx, CreateRun()), actor="ana")
    database.write(lambda tx: lifecycle.delete_experiment(tx, run.experiment_id), actor="ana")
    clock.advance(DAY)
    done = purge_all(database, timedelta(0))
    assert (done.runs, done.experiments) == (1, 0)
    assert database.read(lambda tx: experiments.get(tx, run.experiment_id)).deleted


def test_only_blobs_that_nothing_names_are_collected(
    database: Database, make: Make, blobs: BlobStore, clock: ManualClock
) -> None:
    run = make("churn")
    shared = blobs.put(b"of two runs")
    other = make("other")
    for owner in (artifacts.run_owner(run.id), artifacts.run_owner(other.id)):
        database.write(lambda tx, owner=owner: artifacts.record(tx, owner, "shared", shared, blobs), actor="ana")  # type: ignore[misc]
    held, orphan = blobs.put(b"held"), blobs.put(b"orphan")
    database.write(lambda tx: pins.pin(tx, f"blob/{held.digest}", "version/churn/1", "made of it"), actor="ana")
    mine = {file.digest for file in database.read(lambda tx: artifacts.under(tx, artifacts.run_owner(run.id)))}
    database.write(lambda tx: lifecycle.delete_run(tx, run.id), actor="ana")
    database.write(lambda tx: purging.purge_run(tx, run.id), actor="ada")
    found = [blob for part in collecting.parts(blobs) for blob in part]
    unneeded = database.read(lambda tx: collecting.unneeded(tx, found))
    assert {blob.digest for blob in unneeded} == {orphan.digest, *(mine - {shared.digest})}
    gone = database.write(lambda tx: collecting.remove(tx, blobs, found), actor="ada")
    assert {blob.digest for blob in gone} == {blob.digest for blob in unneeded}
    assert blobs.exists(shared.digest)
    assert blobs.exists(held.digest)
    assert not blobs.exists(orphan.digest)
    last = database.read(lambda tx: events.of_subject(tx, "blobs"))[-1]
    assert set(last.payload["digests"]) == {blob.digest for blob in gone}
    assert database.write(lambda tx: collecting.remove(tx, blobs, found), actor="ada") == []


def test_a_sweep_removes_what_is_old_enough(
    database: Database, make: Make, blobs: BlobStore, clock: ManualClock
) -> None:
    transactions = Blocking(database, actor="system")
    kept, going = make("kept"), make("going")
    (output,) = database.read(lambda tx: runs.get(tx, going.id)).outputs
    database.write(lambda tx: lifecycle.delete_experiment(tx, going.experiment_id), actor="ana")
    database.write(lambda tx: logged_models.delete(tx, output.model_id), actor="ana")
    clock.advance(29 * DAY)
    sweeping.sweep(transactions, blobs, 30 * DAY)
    assert database.read(lambda tx: runs.get(tx, going.id)).deleted
    clock.advance(DAY)
    sweeping.sweep(transactions, blobs, 30 * DAY)
    with pytest.raises(NotFound):
        database.read(lambda tx: runs.get(tx, going.id))
    assert len(list(blobs.stored())) == 4  # by the disk's clock they were put just now
    clock.advance(1000 * DAY)
    sweeping.sweep(transactions, blobs, 30 * DAY)
    assert len(list(blobs.stored())) == 2
    assert database.read(lambda tx: runs.get(tx, kept.id)).params == {"depth": "3"}


def test_a_sweep_goes_on_while_there_is_more(
    database: Database, blobs: BlobStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "AT_ONCE", 3)
    for _ in range(8):
        run = database.write(lambda tx: runs.create(tx, CreateRun(experiment="many")), actor="ana")
        database.write(lambda tx, run=run: lifecycle.delete_run(tx, run.id), actor="ana")  # type: ignore[misc]
    clock.advance(DAY)
    before = rows(database)
    sweeping.sweep(Blocking(database, actor="system"), blobs, timedelta(0))
    assert before["tracking_runs"] - rows(database)["tracking_runs"] == 8
