"""Deleting runs and experiments, bringing them back, renaming: nothing is lost until it is purged."""

import msgspec

from headrace.errors import AlreadyExists, InvalidInput, NotFound
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.tracking import experiments, keys, runs, tables_experiments, tables_runs


def delete_run(tx: Tx, run_id: str) -> None:
    """Mark a run as deleted; again is no change.

    Raises:
        NotFound: there is no such run.
    """
    run = runs.require(tx, run_id)
    if not run.deleted:
        tables_runs.change_run(tx, run.number, deleted_at=tx.now)
        events.append(tx, "tracking.run_deleted", f"run/{run_id}", {})


def restore_run(tx: Tx, run_id: str) -> None:
    """Bring a deleted run back; one that is there is no change.

    Raises:
        NotFound: there is no such run.
        InvalidInput: its experiment is deleted.
    """
    run = runs.require(tx, run_id)
    if run.deleted:
        experiments.require_live(tx, str(run.experiment))
        tables_runs.change_run(tx, run.number, deleted_at=None)
        events.append(tx, "tracking.run_restored", f"run/{run_id}", {})


def delete_experiment(tx: Tx, experiment_id: str) -> None:
    """Mark an experiment and its live runs as deleted.

    Raises:
        NotFound: there is no such experiment, or it is deleted already.
    """
    experiment = experiments.get(tx, experiment_id)
    if experiment.deleted:
        raise NotFound(f"No Experiment with id={experiment_id} exists", where=f"experiment/{experiment_id}")
    number = int(experiment.id)
    tables_experiments.change_experiment(tx, number, deleted_at=tx.now, updated_at=tx.now)
    count = tables_runs.delete_all(tx, number)
    events.append(tx, "tracking.experiment_deleted", f"experiment/{experiment_id}", {"runs": count})


def restore_experiment(tx: Tx, experiment_id: str) -> None:
    """Bring back a deleted experiment and the runs that were deleted with it; not those deleted before.

    Raises:
        NotFound: there is no such experiment.
        InvalidInput: it is not deleted.
    """
    experiment = experiments.get(tx, experiment_id)
    number = int(experiment.id)
    deleted_at = tables_experiments.deleted_at(tx, number)
    if deleted_at is None:
        raise InvalidInput(
            f"The experiment {experiment_id} must be in the 'deleted' state. Current state is active.",
            where=f"experiment/{experiment_id}",
        )
    tables_experiments.change_experiment(tx, number, deleted_at=None, updated_at=tx.now)
    count = tables_runs.restore_all(tx, number, deleted_at)
    events.append(tx, "tracking.experiment_restored", f"experiment/{experiment_id}", {"runs": count})


def rename_experiment(tx: Tx, experiment_id: str, name: str) -> None:
    """Give a live experiment another name.

    Raises:
        InvalidInput: it is deleted, or the name is not one.
        AlreadyExists: another experiment has the name.
    """
    experiment = experiments.require_live(tx, experiment_id)
    experiments.check_name(name)
    if name == experiment.name:
        return
    if tables_experiments.find_experiment(tx, name=name) is not None:
        raise AlreadyExists(f"Experiment(name={name}) already exists", where="name", fix="Use another name.")
    tables_experiments.change_experiment(tx, int(experiment.id), name=name, updated_at=tx.now)
    renamed = {"before": experiment.name, "after": name}
    events.append(tx, "tracking.experiment_renamed", f"experiment/{experiment_id}", renamed)


def delete_experiment_tag(tx: Tx, experiment_id: str, key: str) -> None:
    """Remove a tag of a live experiment.

    Raises:
        NotFound: it has no such tag.
    """
    experiment = experiments.require_live(tx, experiment_id)
    if key not in experiment.tags:
        raise NotFound(f"No tag with name: {key} in experiment with id {experiment_id}", where="key")
    kept = {name: value for name, value in experiment.tags.items() if name != key}
    tables_experiments.set_experiment_tags(tx, int(experiment.id), kept)


def append_model_history(tx: Tx, run_id: str, entry: str, *, tag: str, limit: int) -> str:
    """The JSON list in a tag of a run with one more entry, which is JSON itself; one that is there stays one."""
    run = runs.require_live(tx, run_id)
    before = tables_runs.read_tags(tx, run.number, [tag]).get(tag, "[]")
    if _holds(before, entry):
        return before
    after = f"[{entry}]" if before == "[]" else f"{before[:-1]}, {entry}]"
    keys.check_text(after, where=f"tag {tag!r}", limit=limit)
    tables_runs.put_tags(tx, run.number, run.experiment, {tag: after})
    return after


def _holds(history: str, entry: str) -> bool:
    """Whether an entry is in a history, written alike: a client that repeats a request repeats its bytes."""
    try:
        entries = msgspec.json.decode(history, type=list[msgspec.Raw])
    except msgspec.DecodeError:  # somebody has set the tag to something else
        return False
    return entry.strip().encode() in map(bytes, entries)
