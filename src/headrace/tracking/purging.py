"""Removing for good: what was deleted longer ago than a retention goes, with all that hangs on it.

Deleting only hides; this is where rows leave the database. What a registered version came from is held by a pin and
stays. The bytes of files are blobs, which others may share: those that nobody names any more are collected by
`collecting`, later. Files at an artifact root are removed by a worker.
"""

from datetime import datetime

from headrace.errors import InvalidInput
from headrace.kernel import events, jobs, lineage, pins
from headrace.kernel.database import Tx
from headrace.tracking import artifacts, experiments, logged_models, runs, tables_purging
from headrace.tracking.jobs import REMOVE_FILES, RemoveFiles
from headrace.tracking.nouns import Held, Purge

HELD_SHOWN = 100
EXPERIMENTS_AT_ONCE = 1_000


def preview(tx: Tx, before: datetime) -> Purge:
    """What `before` as the end of the retention would remove; changes nothing.

    An experiment counts when nothing would be left in it but what goes too.
    """
    sizes = tables_purging.sizes(tx, before)
    return Purge(
        runs=sizes.runs,
        logged_models=sizes.logged_models,
        experiments=sizes.experiments,
        points=sizes.points,
        files=sizes.files,
        bytes=sizes.bytes,
        held=held(tx, before),
    )


def candidates(tx: Tx, before: datetime, limit: int) -> list[str]:
    """Runs and logged models that are to go, as `run/<id>` and `logged-model/<id>`."""
    found = [f"run/{run_id}" for run_id in tables_purging.runs(tx, before, held=False, limit=limit)]
    left = limit - len(found)
    return found + [f"logged-model/{each}" for each in tables_purging.models(tx, before, held=False, limit=left)]


def purge(tx: Tx, subject: str, before: datetime) -> Purge:
    """Remove a candidate; nothing happens when it was restored, held or removed since it was one."""
    kind, _, identity = subject.partition("/")
    find = tables_purging.runs if kind == "run" else tables_purging.models
    if not find(tx, before, held=False, limit=1, only=identity):
        return Purge()
    return purge_run(tx, identity) if kind == "run" else purge_model(tx, identity)


def purge_run(tx: Tx, run_id: str) -> Purge:
    """Remove a deleted run with all that it logged.

    Raises:
        NotFound: there is no such run.
        InvalidInput: it is not deleted.
        Pinned: a registered version came from it.
    """
    row = runs.require(tx, run_id)
    if not row.deleted:
        fix = "Delete it first; that can be undone."
        raise InvalidInput("the run is not deleted", where=f"run/{run_id}", fix=fix)
    owner = artifacts.run_owner(run_id)
    pins.require_unpinned(tx, owner)
    files, size_bytes = tables_purging.drop_files(tx, owner)
    _remove_at_root(tx, owner, row.artifact_uri, str(row.experiment))
    points = tables_purging.drop_run(tx, row.number)
    lineage.end(tx, owner)
    gone = Purge(runs=1, points=points, files=files, bytes=size_bytes)
    events.append(
        tx, "tracking.run_purged", f"run/{run_id}", {"points": points, "files": files, "bytes": size_bytes}
    )
    return gone


def purge_model(tx: Tx, model_id: str) -> Purge:
    """Remove a deleted logged model with its files.

    Raises:
        NotFound: there is no such model.
        InvalidInput: it is not deleted.
        Pinned: a registered version came from it.
    """
    model = logged_models.get(tx, model_id, deleted_too=True)
    if not model.deleted:
        fix = "Delete it first."
        raise InvalidInput("the logged model is not deleted", where=f"logged-model/{model_id}", fix=fix)
    owner = artifacts.model_owner(model_id)
    pins.require_unpinned(tx, owner)
    files, size_bytes = tables_purging.drop_files(tx, owner)
    _remove_at_root(tx, owner, model.artifact_uri, model.experiment_id)
    tables_purging.drop_model(tx, model_id)
    lineage.end(tx, owner)
    events.append(tx, "tracking.logged_model_purged", owner, {"files": files, "bytes": size_bytes})
    return Purge(logged_models=1, files=files, bytes=size_bytes)


def _remove_at_root(tx: Tx, owner: str, place: str, experiment_id: str) -> None:
    """Have a worker remove files that clients wrote themselves; not those that an import only refers to."""
    location = experiments.get(tx, experiment_id).artifact_location
    if location and place.startswith(f"{location}/"):
        jobs.enqueue(tx, REMOVE_FILES, RemoveFiles(owner=owner, place=place), key=f"{REMOVE_FILES.name}/{owner}")


def purge_experiments(tx: Tx, before: datetime) -> Purge:
    """Remove deleted experiments that nothing is left of."""
    numbers = tables_purging.empty_experiments(tx, before, EXPERIMENTS_AT_ONCE)
    for number in numbers:
        tables_purging.drop_experiment(tx, number)
        events.append(tx, "tracking.experiment_purged", f"experiment/{number}", {})
    return Purge(experiments=len(numbers))


def held(tx: Tx, before: datetime) -> tuple[Held, ...]:
    """The first of those that would go, were they not needed."""
    found = [*_held(tx, "run", before), *_held(tx, "logged-model", before)]
    return tuple(found[:HELD_SHOWN])


def _held(tx: Tx, kind: str, before: datetime) -> list[Held]:
    find = tables_purging.runs if kind == "run" else tables_purging.models
    subjects = [f"{kind}/{found}" for found in find(tx, before, held=True, limit=HELD_SHOWN)]
    return [
        Held(subject=subject, holders=tuple(pin.holder for pin in pins.pins_on(tx, subject)))
        for subject in subjects
    ]
