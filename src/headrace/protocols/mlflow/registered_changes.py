"""MLflow's endpoints that change or remove registered models and versions.

Whoever is logged in reaches them: who may make which change is for `registry.governed` to say, which all verbs ask.
"""

from typing import Any

from headrace.errors import InvalidInput, NotFound
from headrace.kernel.database import Tx
from headrace.protocols.mlflow.endpoints import Answer, Endpoint, governed
from headrace.protocols.mlflow.registered import (
    AliasName,
    Name,
    SetAlias,
    SetTag,
    SetVersionTag,
    VersionName,
    encode_version,
    get,
    number_of,
    stage_of,
)
from headrace.registry import aliases, models, removal, stages, versions
from headrace.registry.nouns import Stage


class Rename(Name, frozen=True, kw_only=True):
    """`registered-models/rename`."""

    new_name: str = ""


class Update(Name, frozen=True, kw_only=True):
    """`registered-models/update`."""

    description: str | None = None


class UpdateVersion(VersionName, frozen=True, kw_only=True):
    """`model-versions/update`."""

    description: str | None = None


class DeleteTag(Name, frozen=True, kw_only=True):
    """`registered-models/delete-tag`."""

    key: str


class DeleteVersionTag(VersionName, frozen=True, kw_only=True):
    """`model-versions/delete-tag`."""

    key: str


class Transition(VersionName, frozen=True, kw_only=True):
    """`model-versions/transition-stage`."""

    stage: str
    archive_existing_versions: bool = False


def transition(tx: Tx, request: Transition) -> Answer:
    """Move a version to a stage."""
    number, stage = number_of(request.version), stage_of(request.stage)
    archive = request.archive_existing_versions
    if archive and stage not in {Stage.STAGING, Stage.PRODUCTION}:
        raise InvalidInput(
            f"Model version transition cannot archive existing model versions because '{stage.value}' is not an"
            " Active stage. Valid stages are Staging, Production",
            where="archive_existing_versions",
        )
    reason = "asked for by an MLflow client"
    return encode_version(tx, stages.transition(tx, request.name, number, stage, reason, archive_existing=archive))


def set_alias(tx: Tx, request: SetAlias) -> Answer:
    """Point an alias at a version."""
    aliases.set_alias(tx, request.name, request.alias, number_of(request.version))
    return {}


def delete_alias(tx: Tx, request: AliasName) -> Answer:
    """Remove an alias."""
    aliases.delete(tx, request.name, request.alias)
    return {}


def set_tag(tx: Tx, request: SetTag) -> Answer:
    """Set a tag of a model."""
    tags = models.get(tx, request.name).tags
    models.describe(tx, request.name, tags={**tags, request.key: request.value})
    return {}


def set_version_tag(tx: Tx, request: SetVersionTag) -> Answer:
    """Set a tag of a version."""
    number = number_of(request.version)
    tags = versions.get(tx, request.name, number).tags
    versions.describe(tx, request.name, number, tags={**tags, request.key: request.value})
    return {}


def rename(tx: Tx, request: Rename) -> Answer:
    """Give a model another name."""
    removal.rename_model(tx, request.name, request.new_name)
    return get(tx, Name(name=request.new_name))


def update(tx: Tx, request: Update) -> Answer:
    """Describe a model."""
    models.describe(tx, request.name, description=request.description)
    return get(tx, request)


def delete(tx: Tx, request: Name) -> Answer:
    """Delete a model with its versions."""
    removal.delete_model(tx, request.name)
    return {}


def delete_tag(tx: Tx, request: DeleteTag) -> Answer:
    """Remove a tag of a model; one that is not there is no error, as in MLflow."""
    tags = models.get(tx, request.name).tags
    models.describe(tx, request.name, tags={key: value for key, value in tags.items() if key != request.key})
    return {}


def update_version(tx: Tx, request: UpdateVersion) -> Answer:
    """Describe a version."""
    number = number_of(request.version)
    return encode_version(tx, versions.describe(tx, request.name, number, description=request.description))


def delete_version(tx: Tx, request: VersionName) -> Answer:
    """Delete a version."""
    try:
        removal.delete_version(tx, request.name, number_of(request.version))
    except NotFound as error:
        message = f"Model Version (name={request.name}, version={request.version}) not found"
        raise NotFound(message, where=error.where) from error
    return {}


def delete_version_tag(tx: Tx, request: DeleteVersionTag) -> Answer:
    """Remove a tag of a version."""
    number = number_of(request.version)
    tags = versions.get(tx, request.name, number).tags
    kept = {key: value for key, value in tags.items() if key != request.key}
    versions.describe(tx, request.name, number, tags=kept)
    return {}


ENDPOINTS: list[Endpoint[Any]] = [
    governed("POST", "mlflow/model-versions/transition-stage", Transition, transition),
    governed("POST", "mlflow/registered-models/alias", SetAlias, set_alias),
    governed("DELETE", "mlflow/registered-models/alias", AliasName, delete_alias),
    governed("POST", "mlflow/registered-models/rename", Rename, rename),
    governed("PATCH", "mlflow/registered-models/update", Update, update),
    governed("DELETE", "mlflow/registered-models/delete", Name, delete),
    governed("POST", "mlflow/registered-models/set-tag", SetTag, set_tag),
    governed("DELETE", "mlflow/registered-models/delete-tag", DeleteTag, delete_tag),
    governed("PATCH", "mlflow/model-versions/update", UpdateVersion, update_version),
    governed("DELETE", "mlflow/model-versions/delete", VersionName, delete_version),
    governed("POST", "mlflow/model-versions/set-tag", SetVersionTag, set_version_tag),
    governed("DELETE", "mlflow/model-versions/delete-tag", DeleteVersionTag, delete_version_tag),
]
