"""The records of MLflow's REST protocol as ours; the protocol leaves out what is empty or zero."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.protocols.mlflow.encoding import MODEL_STATUSES
from headrace.protocols.mlflow.importing import values
from headrace.protocols.mlflow.importing.source import FoundLoggedModel, FoundRun
from headrace.protocols.mlflow.importing.values import DELETED, moment
from headrace.registry.imported import ImportModel, ImportVersion
from headrace.tracking.imported import ImportExperiment, ImportLoggedModel, ImportRun
from headrace.tracking.nouns import (
    Dataset,
    DatasetInput,
    Inputs,
    LoggedModelStatus,
    MetricPoint,
    ModelMetric,
    ModelOutput,
    reading,
)

Record = Mapping[str, Any]

_STATUSES = {name: status for status, name in MODEL_STATUSES.items()}


def pairs(found: Sequence[Record]) -> dict[str, str]:
    """A list of keys and values as a map."""
    return {each["key"]: each.get("value", "") for each in found}


def experiment_of(found: Record) -> ImportExperiment:
    """An experiment."""
    created = moment(found.get("creation_time"))
    updated = moment(found.get("last_update_time")) or created
    return ImportExperiment(
        id=str(found["experiment_id"]),
        name=found["name"],
        tags=pairs(found.get("tags", ())),
        created_at=created,
        updated_at=updated,
        deleted=found.get("lifecycle_stage") == DELETED,
        deleted_at=updated if found.get("lifecycle_stage") == DELETED else None,
    )


def run_of(found: Record, experiment: ImportExperiment) -> FoundRun:
    """A run; the protocol does not say when it was deleted.

    Raises:
        InvalidInput: a time or the status is not one.
    """
    info, data = found["info"], found.get("data", {})
    read, made = found.get("inputs", {}), found.get("outputs", {})
    run_id = info.get("run_id") or info["run_uuid"]
    tags = pairs(data.get("tags", ()))
    ended = moment(info.get("end_time"))
    started = moment(info.get("start_time")) or ended or experiment.created_at or values.EPOCH
    run = ImportRun(
        id=run_id,
        experiment_id=experiment.id,
        name=values.name_of(run_id, info.get("run_name"), tags),
        user=info.get("user_id") or "",
        status=values.run_status(info.get("status")),
        started_at=started,
        ended_at=ended,
        deleted=experiment.deleted or info.get("lifecycle_stage") == DELETED,
        params=pairs(data.get("params", ())),
        tags=values.without_name(tags),
        inputs=Inputs(
            datasets=tuple(_dataset_input(each) for each in read.get("dataset_inputs", ())),
            models=tuple(each["model_id"] for each in read.get("model_inputs", ())),
        ),
        outputs=tuple(
            ModelOutput(model_id=each["model_id"], step=int(each.get("step") or 0))
            for each in made.get("model_outputs", ())
        ),
    )
    metrics = tuple(each["key"] for each in data.get("metrics", ()))
    return FoundRun(run=run, artifact_uri=info.get("artifact_uri", ""), metrics=metrics)


def logged_model_of(found: Record, experiment: ImportExperiment) -> FoundLoggedModel:
    """A logged model with what was measured on it."""
    info, data = found["info"], found.get("data", {})
    created = moment(info.get("creation_timestamp_ms")) or values.EPOCH
    model = ImportLoggedModel(
        id=info["model_id"],
        experiment_id=experiment.id,
        name=info.get("name", ""),
        model_type=info.get("model_type") or "",
        source_run_id=info.get("source_run_id") or None,
        status=_STATUSES.get(info.get("status", ""), LoggedModelStatus.PENDING),
        params=pairs(data.get("params", ())),
        tags=pairs(info.get("tags", ())),
        created_at=created,
        updated_at=moment(info.get("last_updated_timestamp_ms")) or created,
    )
    metrics = tuple(
        ModelMetric(
            run_id=each.get("run_id", ""),
            point=MetricPoint(
                key=each["key"],
                value=reading(float(each.get("value") or 0.0)),
                step=int(each.get("step") or 0),
                at=moment(each.get("timestamp")),
                dataset_name=each.get("dataset_name"),
                dataset_digest=each.get("dataset_digest"),
            ),
        )
        for each in data.get("metrics", ())
    )
    return FoundLoggedModel(model=model, metrics=metrics, artifact_uri=info.get("artifact_uri", ""))


def version_of(found: Record) -> ImportVersion:
    """A version of a registered model."""
    created = moment(found.get("creation_timestamp")) or values.EPOCH
    return ImportVersion(
        number=int(found["version"]),
        source=found.get("source", ""),
        run_id=found.get("run_id") or None,
        stage=values.stage(found.get("current_stage")),
        description=found.get("description") or "",
        tags=pairs(found.get("tags", ())),
        user=found.get("user_id") or "",
        created_at=created,
        updated_at=moment(found.get("last_updated_timestamp")) or created,
    )


def model_of(found: Record, versions: Sequence[ImportVersion]) -> ImportModel:
    """A registered model; its aliases are told with it."""
    created = moment(found.get("creation_timestamp")) or values.EPOCH
    return ImportModel(
        name=found["name"],
        description=found.get("description") or "",
        tags=pairs(found.get("tags", ())),
        created_at=created,
        updated_at=moment(found.get("last_updated_timestamp")) or created,
        versions=tuple(sorted(versions, key=lambda each: each.number)),
        aliases={each["alias"]: int(each["version"]) for each in found.get("aliases", ())},
    )


def _dataset_input(found: Record) -> DatasetInput:
    dataset = found["dataset"]
    return DatasetInput(
        dataset=Dataset(
            name=dataset.get("name", ""),
            digest=dataset.get("digest", ""),
            source_type=dataset.get("source_type", ""),
            source=dataset.get("source", ""),
            schema=dataset.get("schema"),
            profile=dataset.get("profile"),
        ),
        tags=pairs(found.get("tags", ())),
    )
