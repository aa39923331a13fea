"""MLflow's endpoints for experiments."""

from typing import Any

import msgspec

from headrace.errors import InvalidInput
from headrace.kernel.database import Tx
from headrace.protocols.mlflow import encoding
from headrace.protocols.mlflow.endpoints import Answer, Endpoint, reading, writing
from headrace.protocols.mlflow.locations import SCHEME
from headrace.protocols.mlflow.wire import Pair, as_map
from headrace.tracking import experiments, lifecycle
from headrace.tracking.nouns import CreateExperiment, ExperimentQuery

NEWEST_FIRST = ("creation_time DESC", "experiment_id ASC")
VIEWS = {"ACTIVE_ONLY": False, "DELETED_ONLY": True, "ALL": None}


class Create(msgspec.Struct, frozen=True, kw_only=True):
    """`experiments/create`."""

    name: str
    artifact_location: str = ""
    tags: tuple[Pair, ...] = ()


class Get(msgspec.Struct, frozen=True, kw_only=True):
    """`experiments/get`."""

    experiment_id: str


class GetByName(msgspec.Struct, frozen=True, kw_only=True):
    """`experiments/get-by-name`."""

    experiment_name: str


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """`experiments/search`."""

    max_results: int = 1000
    page_token: str = ""
    filter: str = ""
    order_by: tuple[str, ...] = ()
    view_type: str = "ACTIVE_ONLY"


class SetTag(msgspec.Struct, frozen=True, kw_only=True):
    """`experiments/set-experiment-tag`."""

    experiment_id: str
    key: str
    value: str = ""


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """`experiments/update`."""

    experiment_id: str
    new_name: str = ""


class DeleteTag(msgspec.Struct, frozen=True, kw_only=True):
    """`experiments/delete-experiment-tag`."""

    experiment_id: str
    key: str


def view(view_type: str) -> bool | None:
    """Whether a view shows what is deleted (True), what is not (False), or both (None)."""
    if view_type not in VIEWS:
        raise InvalidInput(f"Invalid value '{view_type}' for parameter 'view_type' supplied.", where="view_type")
    return VIEWS[view_type]


def create(tx: Tx, request: Create) -> Answer:
    """Create an experiment; its files are kept here, or at the place that it names."""
    location = "" if request.artifact_location.startswith(SCHEME) else request.artifact_location
    tags = as_map(request.tags, what="tag")
    wanted = CreateExperiment(name=request.name, artifact_location=location, tags=tags)
    return {"experiment_id": experiments.create(tx, wanted).id}


def get(tx: Tx, request: Get) -> Answer:
    """One experiment."""
    return {"experiment": encoding.experiment(experiments.get(tx, request.experiment_id))}


def get_by_name(tx: Tx, request: GetByName) -> Answer:
    """One experiment; clients take RESOURCE_DOES_NOT_EXIST for None."""
    return {"experiment": encoding.experiment(experiments.get_by_name(tx, request.experiment_name))}


def search(tx: Tx, request: Search) -> Answer:
    """Experiments, newest first unless ordered otherwise."""
    query = ExperimentQuery(
        filter=request.filter,
        order_by=request.order_by or NEWEST_FIRST,
        deleted=view(request.view_type),
        limit=request.max_results,
        cursor=request.page_token,
    )
    page, following = experiments.search(tx, query)
    return encoding.present(
        experiments=[encoding.experiment(found) for found in page], next_page_token=following or None
    )


def set_tag(tx: Tx, request: SetTag) -> Answer:
    """Set a tag."""
    experiments.set_tag(tx, request.experiment_id, request.key, request.value)
    return {}


def update(tx: Tx, request: Update) -> Answer:
    """Rename an experiment."""
    if request.new_name:
        lifecycle.rename_experiment(tx, request.experiment_id, request.new_name)
    return {}


def delete(tx: Tx, request: Get) -> Answer:
    """Delete an experiment and its runs."""
    lifecycle.delete_experiment(tx, request.experiment_id)
    return {}


def restore(tx: Tx, request: Get) -> Answer:
    """Bring a deleted experiment back."""
    lifecycle.restore_experiment(tx, request.experiment_id)
    return {}


def delete_tag(tx: Tx, request: DeleteTag) -> Answer:
    """Remove a tag."""
    lifecycle.delete_experiment_tag(tx, request.experiment_id, request.key)
    return {}


ENDPOINTS: list[Endpoint[Any]] = [
    writing("POST", "mlflow/experiments/create", Create, create),
    reading("GET", "mlflow/experiments/get", Get, get),
    reading("GET", "mlflow/experiments/get-by-name", GetByName, get_by_name),
    reading("POST", "mlflow/experiments/search", Search, search),
    reading("GET", "mlflow/experiments/search", Search, search),
    writing("POST", "mlflow/experiments/set-experiment-tag", SetTag, set_tag),
    writing("POST", "mlflow/experiments/delete-experiment-tag", DeleteTag, delete_tag),
    writing("POST", "mlflow/experiments/update", Update, update),
    writing("POST", "mlflow/experiments/delete", Get, delete),
    writing("POST", "mlflow/experiments/restore", Get, restore),
]
