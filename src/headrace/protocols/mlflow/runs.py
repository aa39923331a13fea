"""MLflow's endpoints for runs and for what they log."""

from typing import Any

import msgspec

from headrace.errors import InvalidInput
from headrace.kernel.database import Tx
from headrace.protocols.mlflow import encoding
from headrace.protocols.mlflow.encoding import RUN_NAME_TAG, moment
from headrace.protocols.mlflow.endpoints import Answer, Endpoint, reading, writing
from headrace.protocols.mlflow.experiments import view
from headrace.protocols.mlflow.wire import (
    DatasetInput,
    Metric,
    ModelInput,
    Output,
    Pair,
    RunId,
    as_map,
    as_points,
)
from headrace.tracking import history as points_of
from headrace.tracking import lifecycle, logging, runs
from headrace.tracking import nouns as tracking
from headrace.tracking import search as runs_search
from headrace.tracking.logging import Entries

METRICS_LIMIT = 1000
PARAMS_LIMIT = 100
TAGS_LIMIT = 100
ENTITIES_LIMIT = 1000
SEARCH_LIMIT = 50_000
MODEL_KEYS = ("artifact_path", "flavors", "utc_time_created", "run_id")
MODEL_HISTORY_TAG = "mlflow.log-model.history"
MODEL_HISTORY_LIMIT = 1_000_000


class Create(msgspec.Struct, frozen=True, kw_only=True):
    """`runs/create`."""

    experiment_id: str = tracking.DEFAULT_EXPERIMENT_ID
    user_id: str = ""
    run_name: str = ""
    start_time: int | None = None
    tags: tuple[Pair, ...] = ()


class Update(RunId, frozen=True, kw_only=True):
    """`runs/update`."""

    status: tracking.RunStatus | None = None
    end_time: int | None = None
    run_name: str = ""


class LogMetric(Metric, frozen=True, kw_only=True):
    """`runs/log-metric`."""

    run_id: str = ""
    run_uuid: str = ""


class LogParameter(RunId, frozen=True, kw_only=True):
    """`runs/log-parameter` and `runs/set-tag`."""

    key: str
    value: str = ""


class DeleteTag(RunId, frozen=True, kw_only=True):
    """`runs/delete-tag`."""

    key: str


class LogBatch(RunId, frozen=True, kw_only=True):
    """`runs/log-batch`."""

    metrics: tuple[Metric, ...] = ()
    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()


class LogInputs(RunId, frozen=True, kw_only=True):
    """`runs/log-inputs`."""

    datasets: tuple[DatasetInput, ...] = ()
    models: tuple[ModelInput, ...] = ()


class LogOutputs(RunId, frozen=True, kw_only=True):
    """`runs/outputs`."""

    models: tuple[Output, ...] = ()


class LogModel(RunId, frozen=True, kw_only=True):
    """`runs/log-model`, which clients before 3.0 send."""

    model_json: str


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """`runs/search`."""

    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    run_view_type: str = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class History(RunId, frozen=True, kw_only=True):
    """`metrics/get-history`."""

    metric_key: str
    page_token: str = ""
    max_results: int | None = None


def create(tx: Tx, request: Create) -> Answer:
    """Begin a run; its name may come as a field or as a tag, but not as two different ones."""
    tags = as_map(request.tags, what="tag")
    tagged = tags.pop(RUN_NAME_TAG, "")
    if tagged and request.run_name and tagged != request.run_name:
        raise InvalidInput(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values"
            f" (run_name='{request.run_name}', mlflow.runName='{tagged}').",
            where="run_name",
        )
    started_at = None if not request.start_time else moment(request.start_time, where="start_time")
    run = runs.create(
        tx,
        tracking.CreateRun(
            experiment_id=request.experiment_id,
            name=request.run_name or tagged or None,
            user=request.user_id or None,
            started_at=started_at,
            tags=tags,
        ),
    )
    return {"run": encoding.run(run)}


def get(tx: Tx, request: RunId) -> Answer:
    """One run with what it logged."""
    return {"run": encoding.run(runs.get(tx, request.run))}


def update(tx: Tx, request: Update) -> Answer:
    """Change a run's status, end or name."""
    ended_at = None if request.end_time is None else moment(request.end_time, where="end_time")
    run = runs.update(tx, request.run, status=request.status, ended_at=ended_at, name=request.run_name or None)
    return {"run_info": encoding.run_info(run)}


def log_metric(tx: Tx, request: LogMetric) -> Answer:
    """Log one point."""
    points, measured = as_points([request], where="metric")
    run = RunId(run_id=request.run_id, run_uuid=request.run_uuid).run
    logging.log_entries(tx, run, Entries(points=points, measured=measured))
    return {}


def log_parameter(tx: Tx, request: LogParameter) -> Answer:
    """Log one param."""
    logging.log_batch(tx, request.run, tracking.Batch(params={request.key: request.value}))
    return {}


def set_tag(tx: Tx, request: LogParameter) -> Answer:
    """Set one tag; the run's name is one."""
    _set_tags(tx, request.run, {request.key: request.value})
    return {}


def delete_tag(tx: Tx, request: DeleteTag) -> Answer:
    """Remove one tag."""
    logging.delete_tag(tx, request.run, request.key)
    return {}


def log_batch(tx: Tx, request: LogBatch) -> Answer:
    """Log a batch, all or nothing."""
    _check_size("metrics", len(request.metrics), METRICS_LIMIT)
    _check_size("params", len(request.params), PARAMS_LIMIT)
    _check_size("tags", len(request.tags), TAGS_LIMIT)
    total = len(request.metrics) + len(request.params) + len(request.tags)
    if total > ENTITIES_LIMIT:
        raise InvalidInput(
            f"A batch logging request can contain at most {ENTITIES_LIMIT} metrics, params, and tags in total."
            f" Got {total}. Please split up batches and try again.",
            where="batch",
        )
    points, measured = as_points(request.metrics)
    params, tags = as_map(request.params, what="parameter", once=True), as_map(request.tags, what="tag")
    name = tags.pop(RUN_NAME_TAG, None)
    logging.log_entries(tx, request.run, Entries(points, params, tags, measured))
    if name:
        runs.update(tx, request.run, name=name)
    return {}


def log_model(tx: Tx, request: LogModel) -> Answer:
    """Add a model's description to the run's history of them, which is a tag."""
    try:
        found = msgspec.json.decode(request.model_json)
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f"Malformed model info. \n {request.model_json[:200]} \n is not valid JSON.", where="model_json"
        ) from error
    missing = [key for key in MODEL_KEYS if not isinstance(found, dict) or key not in found]
    if missing:
        raise InvalidInput(f"Model json is missing mandatory fields: {missing}", where="model_json")
    lifecycle.append_model_history(
        tx, request.run, request.model_json, tag=MODEL_HISTORY_TAG, limit=MODEL_HISTORY_LIMIT
    )
    return {}


def delete(tx: Tx, request: RunId) -> Answer:
    """Delete a run."""
    lifecycle.delete_run(tx, request.run)
    return {}


def restore(tx: Tx, request: RunId) -> Answer:
    """Bring a deleted run back."""
    lifecycle.restore_run(tx, request.run)
    return {}


def log_inputs(tx: Tx, request: LogInputs) -> Answer:
    """Record the datasets and models that a run read."""
    datasets = tuple(
        tracking.DatasetInput(
            dataset=tracking.Dataset(**msgspec.structs.asdict(found.dataset)),
            tags=as_map(found.tags, what="tag"),
        )
        for found in request.datasets
    )
    models = tuple(found.model_id for found in request.models)
    logging.log_inputs(tx, request.run, tracking.Inputs(datasets=datasets, models=models))
    return {}


def log_outputs(tx: Tx, request: LogOutputs) -> Answer:
    """Record the models that a run made."""
    logging.log_outputs(tx, request.run, request.models)
    return {}


def search(tx: Tx, request: Search) -> Answer:
    """Runs of some experiments."""
    page, following = runs_search.find_pairs(
        tx,
        tracking.RunQuery(
            experiment_ids=request.experiment_ids,
            filter=request.filter,
            order_by=request.order_by,
            deleted=view(request.run_view_type),
            limit=request.max_results,
            cursor=request.page_token,
        ),
    )
    found = [encoding.paired_run(run) for run in page]
    return encoding.present(runs=found, next_page_token=following or None)


def history(tx: Tx, request: History) -> Answer:
    """The points of a metric; all of them when no page size is sent."""
    limit = points_of.PAGE_LIMIT if request.max_results is None else request.max_results
    found = points_of.read(tx, request.run, request.metric_key, limit=limit, cursor=request.page_token)
    return encoding.present(
        metrics=encoding.history(request.metric_key, found), next_page_token=found.cursor or None
    )


def _set_tags(tx: Tx, run_id: str, tags: dict[str, str]) -> None:
    name = tags.pop(RUN_NAME_TAG, None)
    if name:
        runs.update(tx, run_id, name=name)
    logging.log_batch(tx, run_id, tracking.Batch(tags=tags))


def _check_size(what: str, count: int, most: int) -> None:
    if count > most:
        raise InvalidInput(
            f"A batch logging request can contain at most {most} {what}. Got {count} {what}."
            " Please split up batches and try again.",
            where=what,
        )


ENDPOINTS: list[Endpoint[Any]] = [
    writing("POST", "mlflow/runs/create", Create, create),
    reading("GET", "mlflow/runs/get", RunId, get),
    writing("POST", "mlflow/runs/update", Update, update),
    writing("POST", "mlflow/runs/log-metric", LogMetric, log_metric),
    writing("POST", "mlflow/runs/log-parameter", LogParameter, log_parameter),
    writing("POST", "mlflow/runs/set-tag", LogParameter, set_tag),
    writing("POST", "mlflow/runs/delete-tag", DeleteTag, delete_tag),
    writing("POST", "mlflow/runs/log-batch", LogBatch, log_batch),
    writing("POST", "mlflow/runs/log-model", LogModel, log_model),
    writing("POST", "mlflow/runs/delete", RunId, delete),
    writing("POST", "mlflow/runs/restore", RunId, restore),
    writing("POST", "mlflow/runs/log-inputs", LogInputs, log_inputs),
    writing("POST", "mlflow/runs/outputs", LogOutputs, log_outputs),
    reading("POST", "mlflow/runs/search", Search, search),
    reading("GET", "mlflow/metrics/get-history", History, history),
]
