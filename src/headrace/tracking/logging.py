"""Logging to a run: points, params and tags, whole batches or nothing, safe to repeat."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from headrace.errors import InvalidInput, NotFound
from headrace.kernel.database import Tx
from headrace.tracking import keys, runs, tables_metrics, tables_models, tables_runs
from headrace.tracking.nouns import Batch, Dataset, Inputs, MetricPage, MetricPoint, ModelOutput, param_text
from headrace.tracking.readings import to_sortable
from headrace.tracking.tables_runs import RunRow

DATASET_LIMITS = {
    "name": 500,
    "digest": 128,
    "source_type": 500,
    "source": 65_535,
    "schema": 1_048_575,
    "profile": 16_777_215,
}
BATCH_LIMIT = 10_000
HISTORY_LIMIT = 1_000_000

Latest = tuple[int, datetime, float]


class _Position(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where a page of a metric's history ended."""

    step: int
    at: datetime
    value: int


def log_batch(tx: Tx, run_id: str, batch: Batch) -> None:
    """Store a batch in one transaction.

    A repeated batch changes nothing: a point is told by key, step, time and value, a param that is set again to
    what it is stays, and a tag is set to what it is. Metrics, params and tags are data, so no event tells of them.

    Raises:
        NotFound: there is no such run, or a point names a logged model that does not exist.
        InvalidInput: the run is deleted, a key is not one, the batch is too large, or a param has another value.
    """
    run = runs.require_live(tx, run_id)
    keys.check_count(
        [*batch.metrics, *batch.params, *batch.tags],
        most=BATCH_LIMIT,
        message=f"a batch has at most {BATCH_LIMIT} entries, this one has {{}}",
    )
    for point in batch.metrics:
        keys.check_key(point.key, what="metric")
    keys.check_tags(batch.tags)
    _put_params(tx, run, {key: param_text(value) for key, value in batch.params.items()})
    tables_runs.put_tags(tx, run.number, batch.tags)
    _put_points(tx, run, batch.metrics)


def delete_tag(tx: Tx, run_id: str, key: str) -> None:
    """Remove a tag of a run.

    Raises:
        NotFound: the run has no such tag.
    """
    run = runs.require_live(tx, run_id)
    if not tables_runs.drop_tag(tx, run.number, key):
        raise NotFound(f"No tag with name: {key} in run with id {run_id}", where=f"run/{run_id}")


def log_inputs(tx: Tx, run_id: str, inputs: Inputs) -> None:
    """Record what a run read; again is no change.

    Raises:
        NotFound: there is no such run or logged model.
    """
    run = runs.require_live(tx, run_id)
    _require_models(tx, inputs.models)
    for found in inputs.datasets:
        _check_dataset(found.dataset)
        number = tables_runs.put_dataset(tx, run.experiment, found.dataset)
        tables_runs.put_dataset_input(tx, run.number, number, found.tags)
    links = [ModelOutput(model_id=model_id) for model_id in inputs.models]
    tables_runs.put_model_links(tx, run.number, "input", links)


def log_outputs(tx: Tx, run_id: str, outputs: Sequence[ModelOutput]) -> None:
    """Record the logged models that a run made; again is no change.

    Raises:
        NotFound: there is no such run or logged model.
    """
    run = runs.require_live(tx, run_id)
    _require_models(tx, [output.model_id for output in outputs])
    tables_runs.put_model_links(tx, run.number, "output", outputs)


def metric_history(tx: Tx, run_id: str, key: str, *, limit: int = 25_000, cursor: str = "") -> MetricPage:
    """The points of a metric by step, time and value; a metric that was never logged has none.

    Raises:
        NotFound: there is no such run.
        InvalidInput: the limit or the cursor is not one.
    """
    run = runs.require(tx, run_id)
    keys.check_limit(limit, HISTORY_LIMIT)
    position = keys.read_cursor(cursor, _Position) if cursor else None
    after = (position.step, position.at, position.value) if position else None
    found = tables_metrics.read_points(tx, run.number, key, limit=limit + 1, after=after)
    page = tuple(found[:limit])
    if len(found) <= limit:
        return MetricPage(points=page)
    last = page[-1]
    end = _Position(step=last.step, at=last.at or tx.now, value=to_sortable(last.number))
    return MetricPage(points=page, next_cursor=keys.write_cursor(end))


def _check_dataset(dataset: Dataset) -> None:
    if not dataset.name or not dataset.digest:
        raise InvalidInput("a dataset has a name and a digest", where="datasets")
    for field, limit in DATASET_LIMITS.items():
        keys.check_text(getattr(dataset, field) or "", where=f"dataset {field}", limit=limit)


def _put_params(tx: Tx, run: RunRow, values: dict[str, str]) -> None:
    for key, value in values.items():
        keys.check_key(key, what="param")
        keys.check_text(value, where=f"param {key!r}")
    before = tables_runs.read_params(tx, run.number, list(values))
    for key, value in before.items():
        if values[key] != value:
            raise InvalidInput(
                f"Changing param values is not allowed. Param with key='{key}' was already logged with"
                f" value='{value[:200]}' for run ID='{run.id}'. Attempted logging new value"
                f" '{values[key][:200]}'.",
                where=f"param {key!r}",
                fix="Log a value that changes as a metric or a tag.",
            )
    tables_runs.add_params(tx, run.number, {key: value for key, value in values.items() if key not in before})


def _put_points(tx: Tx, run: RunRow, metrics: Sequence[MetricPoint]) -> None:
    if not metrics:
        return
    by_key: dict[str, list[Latest]] = {}
    for point in metrics:
        by_key.setdefault(point.key, []).append((point.step, point.at or tx.now, point.number))
    before = tables_metrics.find_series(tx, run.number, list(by_key))
    latest = {key: max(found, key=_rank) for key, found in by_key.items()}
    moved = {
        key: found for key, found in latest.items() if key not in before or _rank(found) > _rank(before[key][1])
    }
    tables_metrics.put_series(tx, run.number, moved)
    known = {key: number for key, (number, _) in before.items()}
    if len(known) < len(by_key):
        fresh = tables_metrics.find_series(tx, run.number, [key for key in by_key if key not in known])
        known.update({key: number for key, (number, _) in fresh.items()})
    tables_metrics.add_points(
        tx,
        [(known[key], step, at, value) for key, found in by_key.items() for step, at, value in found],
    )
    measured = [point for point in metrics if point.model_id is not None]
    if measured:
        _require_models(tx, list({str(point.model_id) for point in measured}))
        tables_metrics.add_model_metrics(tx, run.number, measured, tx.now)


def _rank(found: Latest) -> tuple[int, datetime, int]:
    """What makes one point later than another; the code of a value orders NaN too."""
    step, at, value = found
    return step, at, to_sortable(value)


def _require_models(tx: Tx, model_ids: Sequence[str]) -> None:
    missing = set(model_ids) - tables_models.known(tx, model_ids) if model_ids else set()
    if missing:
        model_id = min(missing)
        raise NotFound(f"Logged model with ID '{model_id}' not found.", where=f"logged-model/{model_id}")
