"""Runs: they begin, they end, they are found again."""

import re
from datetime import datetime

from headrace.errors import AlreadyExists, InvalidInput, NotFound
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.kernel.ids import new_hex
from headrace.tracking import experiments, keys, tables_runs
from headrace.tracking.names import run_name
from headrace.tracking.nouns import (
    DEFAULT_EXPERIMENT_ID,
    CreateRun,
    FinishRun,
    KillRuns,
    Run,
    RunStatus,
)
from headrace.tracking.paths import run_files
from headrace.tracking.tables_runs import RunRow

PAGE_LIMIT = 50_000
NAME_LIMIT = 8_000
USER_LIMIT = 256
_ID = re.compile(r"[0-9a-f]{32}")


def create(tx: Tx, request: CreateRun) -> Run:
    """Begin a run; a request with the id of a run that is there already, and was begun alike, is that run.

    Raises:
        NotFound: there is no such experiment.
        AlreadyExists: another run has the id.
        InvalidInput: the experiment is deleted, or a tag or the name is not one.
    """
    experiment_id = request.experiment_id
    if request.experiment is not None:
        experiment_id = experiments.ensure(tx, request.experiment).id
    try:
        experiment = experiments.require_live(tx, experiment_id)
    except NotFound:
        if experiment_id != DEFAULT_EXPERIMENT_ID:
            raise
        experiments.ensure_default(tx)
        experiment = experiments.require_live(tx, experiment_id)
    keys.check_tags(request.tags)
    run_id = request.id or new_hex()
    if not _ID.fullmatch(run_id):
        raise InvalidInput("a run's id is 32 hexadecimal digits", where=f"id {run_id[:50]!r}")
    name = request.name or run_name(run_id)
    keys.check_text(name, where="run_name", limit=NAME_LIMIT)
    location = experiment.artifact_location
    uri = run_files(location, run_id) if location else ""
    user = request.user or tx.actor
    keys.check_text(user, where="user", limit=USER_LIMIT)
    number = tables_runs.add_run(
        tx,
        id=run_id,
        experiment=int(experiment.id),
        name=name,
        user=user,
        started_at=request.started_at or tx.now,
        artifact_uri=uri,
    )
    if number is None:
        return _repeated(tx, run_id, request)
    tables_runs.put_tags(tx, number, int(experiment.id), request.tags)
    events.append(tx, "tracking.run_created", f"run/{run_id}", {"experiment_id": experiment.id, "name": name})
    return Run(
        id=run_id,
        experiment_id=experiment.id,
        name=name,
        user=user,
        status=RunStatus.RUNNING,
        started_at=request.started_at or tx.now,
        artifact_uri=uri,
        tags=request.tags,
    )


def _repeated(tx: Tx, run_id: str, request: CreateRun) -> Run:
    """The run that an earlier try of the same request began, whatever has been logged to it since."""
    row = tables_runs.find_run(tx, run_id)
    run = None if row is None else tables_runs.read_run(tx, row.number)
    if run is None or (request.started_at is not None and run.started_at != request.started_at):
        raise AlreadyExists(f"another run has the id {run_id}", where=f"run/{run_id}", fix="Make a new id.")
    return run


def get(tx: Tx, run_id: str) -> Run:
    """A run with its params, tags, latest metrics, inputs and outputs.

    Raises:
        NotFound: there is none of this id.
    """
    return tables_runs.read_run(tx, require(tx, run_id).number)


def find(tx: Tx, run_id: str) -> RunRow | None:
    """What a verb needs of a run, deleted or not, if there is one."""
    return tables_runs.find_run(tx, run_id)


def require(tx: Tx, run_id: str) -> RunRow:
    """What a verb needs of a run, deleted or not."""
    row = tables_runs.find_run(tx, run_id)
    if row is None:
        raise NotFound(f"Run with id={run_id} not found", where=f"run/{run_id}")
    return row


def require_live(tx: Tx, run_id: str) -> RunRow:
    """What a verb needs of a run that it is going to write to."""
    row = require(tx, run_id)
    if row.deleted:
        raise InvalidInput(
            f"The run {run_id} must be in the 'active' state. Current state is deleted.",
            where=f"run/{run_id}",
        )
    return row


def finish(tx: Tx, run_id: str, request: FinishRun) -> Run:
    """End a run; again with the same status is no change.

    Raises:
        InvalidInput: the status is not one that ends a run.
    """
    if not request.status.ended:
        raise InvalidInput(
            f"a run does not end as {request.status}",
            where="status",
            fix="Use FINISHED, FAILED or KILLED.",
        )
    return update(tx, run_id, status=request.status, ended_at=request.ended_at)


def kill(tx: Tx, request: KillRuns) -> tuple[str, ...]:
    """End runs whose process has died without a word, as KILLED; returns their ids.

    Raises:
        InvalidInput: the tag is not one.
    """
    keys.check_tags({request.tag: request.value})
    found = tables_runs.running_with_tag(tx, request.tag, request.value)
    for run_id in found:
        update(tx, run_id, status=RunStatus.KILLED)
    return found


def update(
    tx: Tx,
    run_id: str,
    *,
    status: RunStatus | None = None,
    ended_at: datetime | None = None,
    name: str | None = None,
) -> Run:
    """Change a run's status, end or name; an event tells each kind of change, none tells that nothing changed.

    An end without a status is that of a run that has ended, put right.
    """
    row = require_live(tx, run_id)
    if status is None and ended_at is not None and row.status.ended:
        status = row.status
    subject = f"run/{run_id}"
    if status is not None and (status != row.status or (ended_at is not None and ended_at != row.ended_at)):
        end = (ended_at or tx.now) if status.ended else None
        tables_runs.change_run(tx, row.number, status=status.value, ended_at=end)
        kind = "tracking.run_finished" if status.ended else "tracking.run_resumed"
        events.append(tx, kind, subject, {"status": status.value})
    if name and name != row.name:
        keys.check_text(name, where="run_name", limit=NAME_LIMIT)
        tables_runs.change_run(tx, row.number, name=name)
        events.append(tx, "tracking.run_renamed", subject, {"before": row.name, "after": name})
    return tables_runs.read_run(tx, row.number)
