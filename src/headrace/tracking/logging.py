"""Logging to a run: points, params and tags, whole batches or nothing, safe to repeat."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from headrace.errors import InvalidInput, NotFound
from headrace.kernel.database import Tx
from headrace.kernel.schema import to_microseconds
from headrace.tracking import keys, lineage, runs, tables_metrics, tables_models, tables_runs
from headrace.tracking.nouns import Batch, Dataset, Inputs, MetricPoint, ModelOutput, param_text
from headrace.tracking.points import Point, Points
from headrace.tracking.points import put as put_points
from headrace.tracking.readings import to_sortables
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


class Entries(NamedTuple):
    """What a batch holds, in the form in which it is stored.

    Attributes:
        measured: those of the points that were measured on a logged model.
    """

    points: Points = {}  # noqa: RUF012 - never changed
    params: dict[str, str] = {}  # noqa: RUF012
    tags: dict[str, str] = {}  # noqa: RUF012
    measured: Sequence[MetricPoint] = ()


def log_batch(tx: Tx, run_id: str, batch: Batch) -> None:
    """Store a batch in one transaction; see `log_entries`."""
    codes = to_sortables([point.number for point in batch.metrics])
    points: defaultdict[str, list[Point]] = defaultdict(list)
    for point, code in zip(batch.metrics, codes, strict=True):
        points[point.key].append((point.step, to_microseconds(point.at or tx.now), code))
    params = {key: param_text(value) for key, value in batch.params.items()}
    measured = [point for point in batch.metrics if point.model_id is not None]
    log_entries(tx, run_id, Entries(points, params, batch.tags, measured))


def log_entries(tx: Tx, run_id: str, entries: Entries) -> None:
    """Store points, params and tags in one transaction.

    A repeated batch changes nothing: a point is told by key, step, time and value, a param that is set again to
    what it is stays, and a tag is set to what it is. Metrics, params and tags are data, so no event tells of them.

    Raises:
        NotFound: there is no such run, or a point names a logged model that does not exist.
        InvalidInput: the run is deleted, a key is not one, the batch is too large, or a param has another value.
    """
    run = runs.require_live(tx, run_id)
    size = sum(map(len, entries.points.values())) + len(entries.params) + len(entries.tags)
    if size > BATCH_LIMIT:
        raise InvalidInput(f"a batch has at most {BATCH_LIMIT} entries, this one has {size}", where="batch")
    keys.check_tags(entries.tags)
    _put_params(tx, run, entries.params)
    tables_runs.put_tags(tx, run.number, run.experiment, entries.tags)
    put_points(tx, run, entries.points)
    if entries.measured:
        _require_models(tx, list({str(point.model_id) for point in entries.measured}))
        tables_metrics.add_model_metrics(tx, run.number, entries.measured, tx.now)


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
        check_dataset(found.dataset)
        number = tables_runs.put_dataset(tx, run.experiment, found.dataset)
        tables_runs.put_dataset_input(tx, run.number, number, found.tags)
    links = [ModelOutput(model_id=model_id) for model_id in inputs.models]
    tables_runs.put_model_links(tx, run.number, "input", links)
    lineage.renew(tx, run)


def log_outputs(tx: Tx, run_id: str, outputs: Sequence[ModelOutput]) -> None:
    """Record the logged models that a run made; again is no change.

    Raises:
        NotFound: there is no such run or logged model.
    """
    run = runs.require_live(tx, run_id)
    _require_models(tx, [output.model_id for output in outputs])
    tables_runs.put_model_links(tx, run.number, "output", outputs)


def check_dataset(dataset: Dataset) -> None:
    """Refuse a dataset without a name or a digest, or with a text that is too long."""
    if not dataset.name or not dataset.digest:
        raise InvalidInput("a dataset has a name and a digest", where="datasets")
    for field, limit in DATASET_LIMITS.items():
        keys.check_text(getattr(dataset, field) or "", where=f"dataset {field}", limit=limit)


def _put_params(tx: Tx, run: RunRow, values: dict[str, str]) -> None:
    if not values:
        return
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
    fresh = {key: value for key, value in values.items() if key not in before}
    tables_runs.add_params(tx, run.number, run.experiment, fresh)


def _require_models(tx: Tx, model_ids: Sequence[str]) -> None:
    missing = set(model_ids) - tables_models.known(tx, model_ids) if model_ids else set()
    if missing:
        model_id = min(missing)
        raise NotFound(f"Logged model with ID '{model_id}' not found.", where=f"logged-model/{model_id}")
