"""MLflow's endpoints for logged models, which every `log_model` of MLflow 3 uses."""

from typing import Any

import msgspec

from headrace.errors import InvalidInput
from headrace.kernel.database import Tx
from headrace.protocols.mlflow import encoding
from headrace.protocols.mlflow.endpoints import Answer, Endpoint, reading, writing
from headrace.protocols.mlflow.wire import Pair, as_map
from headrace.tracking import logged_models
from headrace.tracking import nouns as tracking

_NOT_IN_NAMES = ("/", ":", ".", "%", '"', "'")
STATUSES = {name: status for status, name in encoding.MODEL_STATUSES.items()}


class Create(msgspec.Struct, frozen=True, kw_only=True):
    """`logged-models`."""

    experiment_id: str
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()


class ModelId(msgspec.Struct, frozen=True, kw_only=True):
    """Names a logged model."""

    model_id: str
    allow_deleted: bool = False


class Finalize(msgspec.Struct, frozen=True, kw_only=True):
    """PATCH of a logged model."""

    model_id: str
    status: str


class SetTags(msgspec.Struct, frozen=True, kw_only=True):
    """PATCH of a logged model's tags."""

    model_id: str
    tags: tuple[Pair, ...] = ()


class DeleteTag(msgspec.Struct, frozen=True, kw_only=True):
    """DELETE of one tag."""

    model_id: str
    tag_key: str


class LogParams(msgspec.Struct, frozen=True, kw_only=True):
    """More params of a logged model."""

    model_id: str
    params: tuple[Pair, ...] = ()


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset that metrics were measured on."""

    dataset_name: str = ""
    dataset_digest: str = ""


class OrderBy(Dataset, frozen=True, kw_only=True):
    """A key that logged models are sorted by."""

    field_name: str
    ascending: bool = True


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """`logged-models/search`."""

    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    datasets: tuple[Dataset, ...] = ()
    max_results: int = 50
    order_by: tuple[OrderBy, ...] = ()
    page_token: str = ""


def create(tx: Tx, request: Create) -> Answer:
    """Announce a logged model.

    Raises:
        InvalidInput: its name has a sign that MLflow's addresses of models have another use for.
    """
    if any(sign in request.name for sign in _NOT_IN_NAMES):
        raise InvalidInput(
            f"Invalid model name ('{request.name[:100]}') provided. Model name must be a non-empty string and"
            f" cannot contain the following characters: {_NOT_IN_NAMES}",
            where="name",
        )
    model = logged_models.create(
        tx,
        tracking.CreateLoggedModel(
            experiment_id=request.experiment_id,
            name=request.name or None,
            model_type=request.model_type,
            source_run_id=request.source_run_id or None,
            params=as_map(request.params, what="parameter"),
            tags=as_map(request.tags, what="tag"),
        ),
    )
    return {"model": encoding.logged_model(model)}


def get(tx: Tx, request: ModelId) -> Answer:
    """One logged model."""
    model = logged_models.get(tx, request.model_id, deleted_too=request.allow_deleted)
    return {"model": encoding.logged_model(model)}


def finalize(tx: Tx, request: Finalize) -> Answer:
    """Say that the files are complete, or will not come."""
    if request.status not in STATUSES:
        raise InvalidInput(f"Invalid value '{request.status}' for parameter 'status' supplied.", where="status")
    model = logged_models.finalize(tx, request.model_id, STATUSES[request.status])
    return {"model": encoding.logged_model(model)}


def delete(tx: Tx, request: ModelId) -> Answer:
    """Mark a logged model as deleted."""
    logged_models.delete(tx, request.model_id)
    return {}


def set_tags(tx: Tx, request: SetTags) -> Answer:
    """Set tags."""
    model = logged_models.set_tags(tx, request.model_id, as_map(request.tags, what="tag"))
    return {"model": encoding.logged_model(model)}


def delete_tag(tx: Tx, request: DeleteTag) -> Answer:
    """Remove a tag."""
    logged_models.delete_tag(tx, request.model_id, request.tag_key)
    return {}


def log_params(tx: Tx, request: LogParams) -> Answer:
    """Add params; clients send them a hundred at a time."""
    logged_models.log_params(tx, request.model_id, as_map(request.params, what="parameter"))
    return {}


def search(tx: Tx, request: Search) -> Answer:
    """Logged models of some experiments, newest first unless ordered otherwise."""
    query = tracking.LoggedModelQuery(
        experiment_ids=request.experiment_ids,
        filter=request.filter,
        order_by=tuple(
            tracking.LoggedModelOrder(
                key=each.field_name,
                ascending=each.ascending,
                dataset=_dataset(each.dataset_name, each.dataset_digest),
            )
            for each in request.order_by
        ),
        datasets=tuple(
            tracking.DatasetName(name=each.dataset_name, digest=each.dataset_digest or None)
            for each in request.datasets
        ),
        limit=request.max_results,
        cursor=request.page_token,
    )
    page, following = logged_models.search(tx, query)
    found = [encoding.logged_model(model) for model in page]
    return encoding.present(models=found, next_page_token=following or None)


def _dataset(name: str, digest: str) -> tracking.DatasetName | None:
    return tracking.DatasetName(name=name, digest=digest or None) if name or digest else None


_ONE = "mlflow/logged-models/{model_id:str}"

ENDPOINTS: list[Endpoint[Any]] = [
    writing("POST", "mlflow/logged-models", Create, create),
    reading("POST", "mlflow/logged-models/search", Search, search),
    reading("GET", _ONE, ModelId, get),
    writing("PATCH", _ONE, Finalize, finalize),
    writing("DELETE", _ONE, ModelId, delete),
    writing("PATCH", f"{_ONE}/tags", SetTags, set_tags),
    writing("DELETE", f"{_ONE}/tags/{{tag_key:str}}", DeleteTag, delete_tag),
    writing("POST", f"{_ONE}/params", LogParams, log_params),
]
