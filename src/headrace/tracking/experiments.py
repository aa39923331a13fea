"""Experiments: named collections of runs."""

import msgspec

from headrace.errors import AlreadyExists, InvalidInput, NotFound
from headrace.kernel import events
from headrace.kernel.database import DEFAULT_WORKSPACE, Tx
from headrace.kernel.roots import normalized
from headrace.tracking import cursors, filters, keys, tables_experiments, vocabulary
from headrace.tracking.expressions import Order, comparisons
from headrace.tracking.nouns import (
    DEFAULT_EXPERIMENT_ID,
    DEFAULT_EXPERIMENT_NAME,
    CreateExperiment,
    Experiment,
    ExperimentQuery,
)

NAME_LIMIT = 500
PAGE_LIMIT = 50_000
NEWEST_FIRST = Order(kind="attribute", key="created_at", ascending=False)


def create(tx: Tx, request: CreateExperiment) -> Experiment:
    """Create an experiment under the next number.

    Raises:
        InvalidInput: the name is empty or too long, or a tag is, or the artifact location is not one.
        NotServed: the artifact location is of a kind that is not served.
        AlreadyExists: the name is taken, perhaps by a deleted experiment.
    """
    check_name(request.name)
    keys.check_tags(request.tags)
    location = normalized(request.artifact_location) if request.artifact_location else ""
    ensure_default(tx)
    experiment = tables_experiments.add_experiment(tx, request.name, request.tags, location=location)
    if experiment is None:
        raise AlreadyExists(
            f"Experiment(name={request.name}) already exists",
            where="name",
            fix="Use the existing experiment, or another name.",
        )
    return _created(tx, _at_root(tx, experiment))


def keep_files_at(tx: Tx, location: str) -> None:
    """Have new experiments that name no place of their own keep their files below a location, or in the platform.

    Args:
        tx: the transaction.
        location: of an artifact root; empty: the platform keeps the files.
    """
    before = tables_experiments.artifact_root(tx)
    if location != before:
        tables_experiments.put_artifact_root(tx, location)
        moved = {"before": before, "after": location}
        events.append(tx, "tracking.artifact_root_changed", "artifact-root", moved)


def _at_root(tx: Tx, experiment: Experiment) -> Experiment:
    root = "" if experiment.artifact_location else tables_experiments.artifact_root(tx)
    if not root:
        return experiment
    location = f"{root}/{experiment.id}"
    tables_experiments.change_experiment(tx, int(experiment.id), artifact_location=location)
    return msgspec.structs.replace(experiment, artifact_location=location)


def check_name(name: str) -> None:
    """Refuse a name that is empty, too long, or no text."""
    if not name.strip() or len(name) > NAME_LIMIT:
        raise InvalidInput(f"an experiment's name has 1 to {NAME_LIMIT} characters", where="name")
    keys.check_text(name, where="name")


def ensure(tx: Tx, name: str) -> Experiment:
    """The experiment of this name, created when there is none."""
    return tables_experiments.find_experiment(tx, name=name) or create(tx, CreateExperiment(name=name))


def ensure_default(tx: Tx) -> None:
    """Create the experiment 0, in which runs land that name none; once is enough, again is no change."""
    if tx.workspace != DEFAULT_WORKSPACE:
        return
    number = int(DEFAULT_EXPERIMENT_ID)
    if tables_experiments.find_experiment(tx, number=number) is None:
        experiment = tables_experiments.add_experiment(tx, DEFAULT_EXPERIMENT_NAME, {}, number=number)
        if experiment is not None:
            _created(tx, _at_root(tx, experiment))


def get(tx: Tx, experiment_id: str) -> Experiment:
    """One experiment, deleted or not.

    Raises:
        InvalidInput: the id is not a number.
        NotFound: there is none of this id.
    """
    experiment = tables_experiments.find_experiment(tx, number=number_of(experiment_id))
    if experiment is None:
        raise NotFound(f"No Experiment with id={experiment_id} exists", where=f"experiment/{experiment_id}")
    return experiment


def get_by_name(tx: Tx, name: str) -> Experiment:
    """One experiment, deleted or not.

    Raises:
        NotFound: there is none of this name.
    """
    experiment = tables_experiments.find_experiment(tx, name=name)
    if experiment is None:
        raise NotFound(f"Could not find experiment with name '{name}'", where="experiment_name")
    return experiment


def search(tx: Tx, query: ExperimentQuery) -> tuple[tuple[Experiment, ...], str]:
    """A page of experiments, newest first unless ordered otherwise, and the cursor of the next page, empty if none.

    Raises:
        InvalidInput: the filter, the order, the limit or the cursor is not one.
    """
    keys.check_limit(query.limit, PAGE_LIMIT)
    expression = filters.parse(query.filter, vocabulary.EXPERIMENTS)
    for found in comparisons(expression):
        if (found.kind, found.key) == ("attribute", "id") and "LIKE" not in found.comparator:
            for each in found.texts:
                number_of(each)
    orders = filters.parse_order(query.order_by, vocabulary.EXPERIMENTS) or (NEWEST_FIRST,)
    signature = cursors.signature(query.filter, query.order_by, query.deleted)
    page, ended = tables_experiments.search_experiments(
        tx,
        expression,
        orders,
        deleted=query.deleted,
        limit=query.limit,
        after=cursors.read(signature, query.cursor),
    )
    return page, cursors.write(signature, ended)


def set_tag(tx: Tx, experiment_id: str, key: str, value: str) -> None:
    """Set a tag of a live experiment."""
    keys.check_tags({key: value})
    experiment = require_live(tx, experiment_id)
    tables_experiments.set_experiment_tags(tx, int(experiment.id), {**experiment.tags, key: value})


def require_live(tx: Tx, experiment_id: str) -> Experiment:
    """One experiment that is not deleted."""
    experiment = get(tx, experiment_id)
    if experiment.deleted:
        raise InvalidInput(
            f"The experiment {experiment_id} must be in the 'active' state. Current state is deleted.",
            where=f"experiment/{experiment_id}",
        )
    return experiment


def number_of(experiment_id: str) -> int:
    """The number that an experiment's id spells."""
    if not (experiment_id.isascii() and experiment_id.isdigit() and len(experiment_id) < 19):
        raise InvalidInput("Experiment ID must be a valid integer", where=f"experiment_id {experiment_id[:50]!r}")
    return int(experiment_id)


def _created(tx: Tx, experiment: Experiment) -> Experiment:
    payload = {"name": experiment.name}
    if experiment.artifact_location:
        payload["artifact_location"] = experiment.artifact_location
    events.append(tx, "tracking.experiment_created", f"experiment/{experiment.id}", payload)
    return experiment
