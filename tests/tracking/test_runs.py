"""Runs begin, end, and are found again page by page."""

from datetime import timedelta
from typing import Any

import pytest

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.tracking import logging, runs
from headrace.tracking.nouns import (
    Batch,
    CreateRun,
    FinishRun,
    KillRuns,
    Run,
    RunQuery,
    RunStatus,
)
from headrace.tracking.search import find

pytestmark = pytest.mark.both_databases


def types_of(database: Database, run_id: str) -> list[str]:
    return [event.type for event in database.read(lambda tx: events.of_subject(tx, f"run/{run_id}"))]


def search(database: Database, **query: Any) -> list[str]:
    page = database.read(lambda tx: find(tx, RunQuery(**{"experiment_ids": None, **query})))
    return [run.name for run in page.runs]


def create(database: Database, **wanted: Any) -> Run:
    return database.write(lambda tx: runs.create(tx, CreateRun(**wanted)), actor="ana")


def log(database: Database, name: str, **batch: Any) -> Run:
    run = create(database, experiment="churn", name=name)
    database.write(lambda tx: logging.log_batch(tx, run.id, Batch(**batch)), actor="ana")
    return run


def test_a_run_begins_running_with_a_name(database: Database) -> None:
    run = database.write(lambda tx: runs.create(tx, CreateRun(tags={"team": "growth"})), actor="ana")
    assert (run.status, run.experiment_id, run.user, run.tags) == ("RUNNING", "0", "ana", {"team": "growth"})
    assert run.name
    assert types_of(database, run.id) == ["tracking.run_created"]
    assert database.read(lambda tx: runs.get(tx, run.id)) == run


def test_a_run_belongs_to_an_experiment_that_exists(database: Database) -> None:
    with pytest.raises(NotFound, match="99"):
        database.write(lambda tx: runs.create(tx, CreateRun(experiment_id="99")), actor="ana")


def test_finishing_twice_is_one_change(database: Database, run: Run, clock: ManualClock) -> None:
    clock.advance(timedelta(seconds=5))
    finished = database.write(lambda tx: runs.finish(tx, run.id, FinishRun()), actor="ana")
    assert (finished.status, finished.ended_at) == (RunStatus.FINISHED, clock.now())
    clock.advance(timedelta(seconds=5))
    assert database.write(lambda tx: runs.finish(tx, run.id, FinishRun()), actor="ana") == finished
    assert types_of(database, run.id) == ["tracking.run_created", "tracking.run_finished"]


def test_the_running_runs_of_a_tag_are_killed_and_no_other(database: Database, clock: ManualClock) -> None:
    names = ("left", "its trial", "ended", "of another job", "untagged")
    tags = [{"job": "1"}, {"job": "1"}, {"job": "1"}, {"job": "2"}, {}]
    made = {name: create(database, name=name, tags=tag).id for name, tag in zip(names, tags, strict=True)}
    database.write(lambda tx: runs.finish(tx, made["ended"], FinishRun()), actor="ana")
    clock.advance(timedelta(seconds=5))
    wanted = KillRuns(tag="job", value="1")
    killed = database.write(lambda tx: runs.kill(tx, wanted), actor="ana")
    assert set(killed) == {made["left"], made["its trial"]}
    found = {run.name: run for run in database.read(lambda tx: find(tx, RunQuery(experiment_ids=None))).runs}
    assert [found[name].status.value for name in names] == ["KILLED", "KILLED", "FINISHED", "RUNNING", "RUNNING"]
    assert found["left"].ended_at == clock.now()
    assert types_of(database, made["left"]) == ["tracking.run_created", "tracking.run_finished"]
    assert database.write(lambda tx: runs.kill(tx, wanted), actor="ana") == ()


def test_a_run_does_not_finish_as_running(database: Database, run: Run) -> None:
    with pytest.raises(InvalidInput, match="RUNNING"):
        database.write(lambda tx: runs.finish(tx, run.id, FinishRun(status=RunStatus.RUNNING)), actor="ana")


def test_a_finished_run_can_be_resumed_and_renamed(database: Database, run: Run) -> None:
    database.write(lambda tx: runs.finish(tx, run.id, FinishRun(status=RunStatus.FAILED)), actor="ana")
    resumed = database.write(
        lambda tx: runs.update(tx, run.id, status=RunStatus.RUNNING, name="again"), actor="ana"
    )
    assert (resumed.status, resumed.ended_at, resumed.name) == (RunStatus.RUNNING, None, "again")
    assert types_of(database, run.id)[2:] == ["tracking.run_resumed", "tracking.run_renamed"]


def test_runs_of_another_workspace_are_not_there(database: Database, run: Run) -> None:
    with pytest.raises(NotFound):
        database.read(lambda tx: runs.get(tx, run.id), workspace="other")
    page = database.read(lambda tx: find(tx, RunQuery(experiment_ids=None)), workspace="other")
    assert page.runs == ()


def test_searches_keep_to_their_experiments(database: Database, run: Run) -> None:
    database.write(lambda tx: runs.create(tx, CreateRun(name="elsewhere")), actor="ana")
    assert search(database, experiment_ids=(run.experiment_id,)) == [run.name]
    assert search(database, experiment_ids=()) == []
    assert set(search(database)) == {run.name, "elsewhere"}


@pytest.mark.parametrize("limit", [0, -1, 50_001])
def test_a_page_has_a_size(database: Database, limit: int) -> None:
    with pytest.raises(InvalidInput):
        search(database, limit=limit)


def test_the_end_of_a_run_can_be_put_right(database: Database, run: Run, clock: ManualClock) -> None:
    end = clock.now() + timedelta(seconds=5)
    database.write(lambda tx: runs.update(tx, run.id, ended_at=end), actor="ana")
    assert database.read(lambda tx: runs.get(tx, run.id)).ended_at is None  # it still runs
    database.write(lambda tx: runs.finish(tx, run.id, FinishRun(status=RunStatus.FAILED)), actor="ana")
    changed = database.write(lambda tx: runs.update(tx, run.id, ended_at=end), actor="ana")
    assert (changed.status, changed.ended_at) == (RunStatus.FAILED, end)
