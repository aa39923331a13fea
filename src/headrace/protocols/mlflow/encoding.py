"""Our records as MLflow's JSON: times in milliseconds, maps as lists of pairs, what is unset left out."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

import msgspec

from headrace.errors import InvalidInput
from headrace.protocols.mlflow import locations
from headrace.registry.nouns import Alias, Model, Version
from headrace.tracking.history import Points
from headrace.tracking.nouns import (
    DatasetInput,
    Entry,
    Experiment,
    LoggedModel,
    LoggedModelStatus,
    MetricPoint,
    Reading,
    Run,
    reading,
)
from headrace.tracking.readings import from_sortables
from headrace.tracking.stored_runs import PairedRun

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
RUN_NAME_TAG = "mlflow.runName"
MODEL_STATUSES = {
    LoggedModelStatus.PENDING: "LOGGED_MODEL_PENDING",
    LoggedModelStatus.READY: "LOGGED_MODEL_READY",
    LoggedModelStatus.FAILED: "LOGGED_MODEL_UPLOAD_FAILED",
}


def present(**fields: Any) -> dict[str, Any]:
    """The fields that are set: neither None nor an empty list."""
    return {name: value for name, value in fields.items() if value is not None and value != []}


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970 of a moment."""
    return (moment - _EPOCH) // _MILLISECOND


def moment(milliseconds_since_1970: int, *, where: str) -> datetime:
    """The moment of milliseconds since 1970.

    Raises:
        InvalidInput: it is not in the years 1 to 9999.
    """
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds_since_1970)
    except OverflowError as error:
        raise InvalidInput(
            f"Invalid value {milliseconds_since_1970} for parameter '{where}' supplied:"
            " it is not a time in milliseconds since 1970.",
            where=where,
        ) from error


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    """A map as MLflow's list of key and value."""
    return [{"key": key, "value": value} for key, value in values.items()]


def lifecycle(*, deleted: bool) -> str:
    """MLflow's word for it."""
    return "deleted" if deleted else "active"


def experiment(found: Experiment) -> dict[str, Any]:
    """An experiment."""
    return present(
        experiment_id=found.id,
        name=found.name,
        artifact_location=found.artifact_location or locations.experiment_uri(found.id),
        lifecycle_stage=lifecycle(deleted=found.deleted),
        creation_time=milliseconds(found.created_at),
        last_update_time=milliseconds(found.updated_at),
        tags=pairs(found.tags),
    )


def metric(point: MetricPoint, *, run_id: str | None = None) -> dict[str, Any]:
    """A point; NaN and infinities are the strings that protobuf writes for them."""
    return present(
        key=point.key,
        value=point.value,
        timestamp=None if point.at is None else milliseconds(point.at),
        step=point.step,
        model_id=point.model_id,
        dataset_name=point.dataset_name,
        dataset_digest=point.dataset_digest,
        run_id=run_id,
    )


def history(key: str, found: Points) -> list[dict[str, Any]]:
    """Points of one metric."""
    return [
        {
            "key": key,
            "value": value if isfinite(value) else reading(value),
            "timestamp": at // 1000,
            "step": step,
        }
        for step, at, value in zip(found.steps, found.times, found.values, strict=True)
    ]


class RunInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run is, without what it logged."""

    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    end_time: int | None = None
    artifact_uri: str
    lifecycle_stage: str


class Latest(msgspec.Struct, gc=False):
    """The latest value of a metric; a page has tens of thousands, which the garbage collector need not look at."""

    key: str
    value: Reading
    timestamp: int
    step: int


def run_info(found: Run) -> RunInfo:
    """What a run is, without what it logged."""
    return RunInfo(
        run_id=found.id,
        run_uuid=found.id,
        run_name=found.name,
        experiment_id=found.experiment_id,
        user_id=found.user,
        status=found.status.value,
        start_time=milliseconds(found.started_at),
        end_time=None if found.ended_at is None else milliseconds(found.ended_at),
        artifact_uri=found.artifact_uri or locations.run_uri(found.experiment_id, found.id),
        lifecycle_stage=lifecycle(deleted=found.deleted),
    )


def run(found: Run) -> dict[str, Any]:
    """A run with what it logged; its name is a tag too."""
    outputs = [{"model_id": output.model_id, "step": output.step} for output in found.outputs]
    return {
        "info": run_info(found),
        "data": present(
            metrics=[
                {"key": key, "value": last.value, "timestamp": milliseconds(last.at), "step": last.step}
                for key, last in found.metrics.items()
            ],
            params=pairs(found.params),
            tags=pairs({**found.tags, RUN_NAME_TAG: found.name}),
        ),
        "inputs": present(
            dataset_inputs=[dataset_input(each) for each in found.inputs.datasets],
            model_inputs=[{"model_id": model_id} for model_id in found.inputs.models],
        ),
        "outputs": present(model_outputs=outputs),
    }


def paired_run(found: PairedRun) -> dict[str, Any]:
    """`run` of a run whose params and tags are text already, for pages of many."""
    experiment_id = str(found.experiment)
    info = RunInfo(
        run_id=found.id,
        run_uuid=found.id,
        run_name=found.name,
        experiment_id=experiment_id,
        user_id=found.user,
        status=found.status,
        start_time=found.started_at // 1000,
        end_time=None if found.ended_at is None else found.ended_at // 1000,
        artifact_uri=found.artifact_uri or locations.run_uri(experiment_id, found.id),
        lifecycle_stage=lifecycle(deleted=found.deleted_at is not None),
    )
    data: dict[str, Any] = {}
    if found.metrics:
        numbers = from_sortables([metric[4] for metric in found.metrics])
        data["metrics"] = [
            Latest(key, number if isfinite(number) else reading(number), at // 1000, step)
            for (_, key, step, at, _), number in zip(found.metrics, numbers, strict=True)
        ]
    if found.params:
        data["params"] = msgspec.Raw(found.params.encode())
    name = f'{{"key":"{RUN_NAME_TAG}","value":{msgspec.json.encode(found.name).decode()}}}]'
    data["tags"] = msgspec.Raw((f"{found.tags[:-1]},{name}" if found.tags else f"[{name}").encode())
    if not found.datasets and not found.links:
        return {"info": info, "data": data, "inputs": {}, "outputs": {}}
    linked = run(found.record())
    return {"info": info, "data": data, "inputs": linked["inputs"], "outputs": linked["outputs"]}


def dataset_input(found: DatasetInput) -> dict[str, Any]:
    """A dataset that a run read."""
    dataset = found.dataset
    return present(
        tags=pairs(found.tags),
        dataset=present(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema,
            profile=dataset.profile,
        ),
    )


def files(entries: Iterable[Entry], *, below: str = "") -> list[dict[str, Any]]:
    """A listing; `below` is the folder that paths are told relative to."""
    prefix = f"{below}/" if below else ""
    return [
        present(path=entry.path.removeprefix(prefix), is_dir=entry.is_folder, file_size=entry.size_bytes)
        for entry in entries
    ]


def logged_model(found: LoggedModel) -> dict[str, Any]:
    """A logged model with its params and metrics."""
    return {
        "info": present(
            model_id=found.id,
            experiment_id=found.experiment_id,
            name=found.name,
            creation_timestamp_ms=milliseconds(found.created_at),
            last_updated_timestamp_ms=milliseconds(found.updated_at),
            artifact_uri=found.artifact_uri or locations.model_uri(found.experiment_id, found.id),
            status=MODEL_STATUSES[found.status],
            model_type=found.model_type,
            source_run_id=found.source_run_id or "",
            tags=pairs(found.tags),
        ),
        "data": present(
            params=pairs(found.params),
            metrics=[metric(each.point, run_id=each.run_id) for each in found.metrics],
        ),
    }


def version(found: Version, aliases: Iterable[Alias]) -> dict[str, Any]:
    """A registered version; it is READY from the start, since its files were there before."""
    return present(
        name=found.model,
        version=str(found.number),
        creation_timestamp=milliseconds(found.created_at),
        last_updated_timestamp=milliseconds(found.updated_at),
        user_id=found.created_by,
        current_stage=found.stage.value,
        description=found.description,
        source=found.source or "",
        run_id=found.run_id or "",
        status="READY",
        run_link="",
        tags=pairs(found.tags),
        aliases=[alias.alias for alias in aliases if alias.number == found.number],
    )


def model(found: Model, latest: Iterable[Version], aliases: Iterable[Alias]) -> dict[str, Any]:
    """A registered model with the newest version of each stage."""
    named = list(aliases)
    return present(
        name=found.name,
        creation_timestamp=milliseconds(found.created_at),
        last_updated_timestamp=milliseconds(found.updated_at),
        user_id=found.created_by,
        description=found.description or None,
        latest_versions=[version(each, named) for each in latest],
        tags=pairs(found.tags),
        aliases=[{"alias": alias.alias, "version": str(alias.number)} for alias in named],
    )
