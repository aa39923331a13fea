"""Deleting, bringing back and renaming."""

from datetime import timedelta

import pytest

from headrace.errors import AlreadyExists, InvalidInput, NotFound
from headrace.kernel import events
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.tracking import experiments, lifecycle, runs, search
from headrace.tracking.nouns import CreateExperiment, CreateRun, Run, RunQuery

pytestmark = pytest.mark.both_databases


def live(database: Database, *, deleted: bool | None = False) -> set[str]:
    page = database.read(lambda tx: search.find(tx, RunQuery(deleted=deleted)))
    return {run.id for run in page.runs}


def types_of(database: Database, subject: str) -> list[str]:
    return [event.type for event in database.read(lambda tx: events.of_subject(tx, subject))]


def test_a_run_is_deleted_once_and_comes_back(database: Database, run: Run) -> None:
    for _ in range(2):
        database.write(lambda tx: lifecycle.delete_run(tx, run.id), actor="ana")
    assert (live(database), live(database, deleted=True)) == (set(), {run.id})
    for _ in range(2):
        database.write(lambda tx: lifecycle.restore_run(tx, run.id), actor="ana")
    assert (live(database), live(database, deleted=True)) == ({run.id}, set())
    assert types_of(database, f"run/{run.id}")[1:] == ["tracking.run_deleted", "tracking.run_restored"]
    with pytest.raises(NotFound):
        database.write(lambda tx: lifecycle.delete_run(tx, "nothing"), actor="ana")


def test_an_experiment_takes_its_runs_along_and_brings_them_back(
    database: Database, run: Run, clock: ManualClock
) -> None:
    where = run.experiment_id
    earlier = database.write(lambda tx: runs.create(tx, CreateRun(experiment_id=where)), actor="ana")
    database.write(lambda tx: lifecycle.delete_run(tx, earlier.id), actor="ana")
    clock.advance(timedelta(seconds=1))
    database.write(lambda tx: lifecycle.delete_experiment(tx, where), actor="ana")
    assert live(database) == set()
    with pytest.raises(NotFound, match="No Experiment"):
        database.write(lambda tx: lifecycle.delete_experiment(tx, where), actor="ana")
    with pytest.raises(InvalidInput, match="Current state is deleted"):
        database.write(lambda tx: lifecycle.restore_run(tx, run.id), actor="ana")
    database.write(lambda tx: lifecycle.restore_experiment(tx, where), actor="ana")
    assert live(database) == {run.id}  # the other one was deleted before
    with pytest.raises(InvalidInput, match="Current state is active"):
        database.write(lambda tx: lifecycle.restore_experiment(tx, where), actor="ana")


def test_an_experiment_is_renamed(database: Database, run: Run) -> None:
    where = run.experiment_id
    database.write(lambda tx: experiments.create(tx, CreateExperiment(name="taken")), actor="ana")
    database.write(lambda tx: lifecycle.rename_experiment(tx, where, "better"), actor="ana")
    database.write(lambda tx: lifecycle.rename_experiment(tx, where, "better"), actor="ana")
    assert database.read(lambda tx: experiments.get_by_name(tx, "better")).id == where
    assert types_of(database, f"experiment/{where}")[1:] == ["tracking.experiment_renamed"]
    with pytest.raises(AlreadyExists):
        database.write(lambda tx: lifecycle.rename_experiment(tx, where, "taken"), actor="ana")
    with pytest.raises(InvalidInput):
        database.write(lambda tx: lifecycle.rename_experiment(tx, where, " "), actor="ana")


def test_a_tag_of_an_experiment_is_removed(database: Database, run: Run) -> None:
    where = run.experiment_id
    database.write(lambda tx: experiments.set_tag(tx, where, "a", "b"), actor="ana")
    database.write(lambda tx: lifecycle.delete_experiment_tag(tx, where, "a"), actor="ana")
    assert database.read(lambda tx: experiments.get(tx, where)).tags == {}
    with pytest.raises(NotFound):
        database.write(lambda tx: lifecycle.delete_experiment_tag(tx, where, "a"), actor="ana")


def test_a_run_under_an_id_of_the_callers_begins_once(database: Database, clock: ManualClock) -> None:
    request = CreateRun(id="0123456789abcdef" * 2, name="mine", started_at=clock.now(), tags={"a": "b"})
    first = database.write(lambda tx: runs.create(tx, request), actor="ana")
    clock.advance(timedelta(minutes=1))
    again = database.write(lambda tx: runs.create(tx, request), actor="ana")
    assert again == first
    assert types_of(database, f"run/{first.id}") == ["tracking.run_created"]
    other = CreateRun(id=request.id, started_at=clock.now())
    with pytest.raises(AlreadyExists):
        database.write(lambda tx: runs.create(tx, other), actor="ana")
    for bad in ("short", "G" * 32, "A" * 32):
        with pytest.raises(InvalidInput):
            database.write(lambda tx, bad=bad: runs.create(tx, CreateRun(id=bad)), actor="ana")  # type: ignore[misc]
