"""Reading logged models and registered models from an MLflow server's database."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from headrace.errors import InvalidInput
from headrace.protocols.mlflow.importing import values
from headrace.protocols.mlflow.importing.questions import Questions
from headrace.protocols.mlflow.importing.source import FoundLoggedModel, FoundModel
from headrace.protocols.mlflow.importing.values import DELETED, MODEL_STATUSES, moment
from headrace.registry.imported import ImportModel, ImportVersion
from headrace.tracking.imported import ImportExperiment, ImportLoggedModel
from headrace.tracking.nouns import LoggedModelStatus, MetricPoint, ModelMetric, reading

_MODEL = (
    "model_id", "name", "artifact_location", "creation_timestamp_ms", "last_updated_timestamp_ms", "status",
    "lifecycle_stage", "model_type", "source_run_id",
)  # fmt: skip
_METRIC = (
    "model_id", "metric_name", "metric_timestamp_ms", "metric_step", "metric_value", "run_id", "dataset_name",
    "dataset_digest",
)  # fmt: skip
_VERSION = (
    "name", "version", "creation_time", "last_updated_time", "description", "user_id", "current_stage", "source",
    "run_id", "storage_location",
)  # fmt: skip
_REGISTERED = ("name", "creation_time", "last_updated_time", "description")


def logged_models(ask: Questions, experiment: ImportExperiment) -> Iterator[FoundLoggedModel]:
    """The logged models of an experiment."""
    here = ("experiment_id", (int(experiment.id),))
    params = ask.maps("logged_model_params", "model_id", "param_key", "param_value", among=here)
    tags = ask.maps("logged_model_tags", "model_id", "tag_key", "tag_value", among=here)
    metrics: defaultdict[str, list[ModelMetric]] = defaultdict(list)
    for row in ask.rows("logged_model_metrics", _METRIC, among=here, order="metric_step"):
        metrics[row["model_id"]].append(_metric(row))
    for row in ask.rows("logged_models", _MODEL, among=here, order="creation_timestamp_ms"):
        created = moment(row["creation_timestamp_ms"]) or values.EPOCH
        updated = moment(row["last_updated_timestamp_ms"]) or created
        model_id = row["model_id"]
        model = ImportLoggedModel(
            id=model_id,
            experiment_id=experiment.id,
            name=row["name"],
            model_type=row["model_type"] or "",
            source_run_id=row["source_run_id"],
            status=MODEL_STATUSES.get(row["status"], LoggedModelStatus.PENDING),
            params=params.get(model_id, {}),
            tags=tags.get(model_id, {}),
            created_at=created,
            updated_at=updated,
            deleted_at=updated if row["lifecycle_stage"] == DELETED else None,
        )
        yield FoundLoggedModel(
            model=model, metrics=tuple(metrics.get(model_id, ())), artifact_uri=row["artifact_location"]
        )


def models(ask: Questions, problems: list[str]) -> Iterator[FoundModel]:
    """The registered models."""
    tags = ask.maps("registered_model_tags", "name", "key", "value")
    aliases: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in ask.rows("registered_model_aliases", ("name", "alias", "version")):
        aliases[row["name"]][row["alias"]] = int(row["version"])
    version_tags: defaultdict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for row in ask.rows("model_version_tags", ("name", "version", "key", "value"), order="key"):
        version_tags[row["name"], row["version"]][row["key"]] = row["value"] or ""
    for model in list(ask.rows("registered_models", _REGISTERED, order="name")):
        name = model["name"]
        created = moment(model["creation_time"]) or values.EPOCH
        versions, locations = [], {}
        for row in ask.rows("model_versions", _VERSION, among=("name", (name,)), order="version"):
            if row["current_stage"] == values.GONE:
                continue
            try:
                versions.append(_version(row, version_tags.get((name, row["version"]), {})))
            except InvalidInput as problem:
                problems.append(f"version {row['version']} of model {name}: {problem.message}")
            else:
                locations[row["version"]] = row["storage_location"] or row["source"] or ""
        yield FoundModel(
            model=ImportModel(
                name=name,
                description=model["description"] or "",
                tags=tags.get(name, {}),
                created_at=created,
                updated_at=moment(model["last_updated_time"]) or created,
                versions=tuple(versions),
                aliases=aliases.get(name, {}),
            ),
            locations=locations,
        )


def _metric(row: dict[str, Any]) -> ModelMetric:
    value = row["metric_value"]
    point = MetricPoint(
        key=row["metric_name"],
        value=reading(float("nan") if value is None else value),  # databases without NaN hold nothing for it
        step=row["metric_step"],
        at=moment(row["metric_timestamp_ms"]),
        dataset_name=row["dataset_name"],
        dataset_digest=row["dataset_digest"],
    )
    return ModelMetric(run_id=row["run_id"], point=point)


def _version(row: dict[str, Any], tags: dict[str, str]) -> ImportVersion:
    created = moment(row["creation_time"]) or values.EPOCH
    return ImportVersion(
        number=row["version"],
        source=row["source"] or "",
        run_id=row["run_id"] or None,
        stage=values.stage(row["current_stage"]),
        description=row["description"] or "",
        tags=tags,
        user=row["user_id"] or "",
        created_at=created,
        updated_at=moment(row["last_updated_time"]) or created,
    )
