"""MLflow's endpoints that change or remove registered models and versions."""

from typing import Any

from headrace.errors import NotFound
from headrace.kernel.database import Tx
from headrace.protocols.mlflow.endpoints import Answer, Endpoint, writing
from headrace.protocols.mlflow.registered import Name, VersionName, encode_version, get, number_of
from headrace.registry import models, removal, versions


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
    writing("POST", "mlflow/registered-models/rename", Rename, rename),
    writing("PATCH", "mlflow/registered-models/update", Update, update),
    writing("DELETE", "mlflow/registered-models/delete", Name, delete),
    writing("DELETE", "mlflow/registered-models/delete-tag", DeleteTag, delete_tag),
    writing("PATCH", "mlflow/model-versions/update", UpdateVersion, update_version),
    writing("DELETE", "mlflow/model-versions/delete", VersionName, delete_version),
    writing("DELETE", "mlflow/model-versions/delete-tag", DeleteVersionTag, delete_version_tag),
]
