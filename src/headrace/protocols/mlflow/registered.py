"""MLflow's endpoints that create and read registered models: names, versions, stages, aliases and tags."""

from typing import Any

import msgspec

from headrace.errors import InvalidInput
from headrace.kernel.database import Tx
from headrace.protocols.mlflow import encoding, locations
from headrace.protocols.mlflow.endpoints import Answer, Endpoint, reading, writing
from headrace.protocols.mlflow.wire import Pair, as_map
from headrace.registry import aliases, models, tables_search, versions
from headrace.registry import search as registry_search
from headrace.registry.nouns import RegistryQuery, Stage, Version

LATEST = "latest"


class Name(msgspec.Struct, frozen=True, kw_only=True):
    """Names a registered model."""

    name: str


class Create(Name, frozen=True, kw_only=True):
    """`registered-models/create`."""

    tags: tuple[Pair, ...] = ()
    description: str = ""


class LatestVersions(Name, frozen=True, kw_only=True):
    """`registered-models/get-latest-versions`."""

    stages: tuple[str, ...] = ()


class SetTag(Name, frozen=True, kw_only=True):
    """`registered-models/set-tag`."""

    key: str
    value: str = ""


class VersionName(Name, frozen=True, kw_only=True):
    """Names a version; MLflow's version numbers are strings."""

    version: str


class SetVersionTag(VersionName, frozen=True, kw_only=True):
    """`model-versions/set-tag`."""

    key: str
    value: str = ""


class AliasName(Name, frozen=True, kw_only=True):
    """Names an alias."""

    alias: str


class SetAlias(AliasName, frozen=True, kw_only=True):
    """`registered-models/alias`."""

    version: str


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """`registered-models/search`."""

    filter: str = ""
    max_results: int = 100
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class SearchVersions(Search, frozen=True, kw_only=True):
    """`model-versions/search`."""

    max_results: int = 200_000


def number_of(version: str) -> int:
    """The number of a version.

    Raises:
        InvalidInput: it is not one.
    """
    if not (version.isascii() and version.isdecimal() and len(version) < 10):
        raise InvalidInput(f"Model version must be an integer, got '{version[:50]}'", where="version")
    return int(version)


def stage_of(stage: str) -> Stage:
    """A stage in any case.

    Raises:
        InvalidInput: it is not one.
    """
    for known in Stage:
        if known.value.lower() == stage.lower():
            return known
    raise InvalidInput(
        f"Invalid Model Version stage: {stage[:50]}. Value must be one of"
        f" {', '.join(known.value for known in Stage)}.",
        where="stage",
    )


def encode_version(tx: Tx, version: Version) -> Answer:
    """A version with its aliases."""
    return {"model_version": encoding.version(version, aliases.of_model(tx, version.model))}


def create(tx: Tx, request: Create) -> Answer:
    """Create a registered model."""
    models.create(tx, request.name, description=request.description, tags=as_map(request.tags, what="tag"))
    return get(tx, Name(name=request.name))


def get(tx: Tx, request: Name) -> Answer:
    """One registered model."""
    return {"registered_model": _encode_model(tx, request.name)}


def search(tx: Tx, request: Search) -> Answer:
    """Registered models, by name unless ordered otherwise."""
    query = RegistryQuery(
        filter=request.filter, order_by=request.order_by, limit=request.max_results, cursor=request.page_token
    )
    page, following = registry_search.find_models(tx, query)
    names = [model.name for model in page]
    named = tables_search.aliases_of(tx, names)
    latest = tables_search.newest_of_stages(tx, names)
    found = [encoding.model(model, latest[model.name], named[model.name]) for model in page]
    return encoding.present(registered_models=found, next_page_token=following or None)


def latest_versions(tx: Tx, request: LatestVersions) -> Answer:
    """The newest version of each stage, or of some stages."""
    stages = {stage_of(stage) for stage in request.stages} or set(Stage)
    models.get(tx, request.name)
    named = aliases.of_model(tx, request.name)
    found = models.latest_versions(tx, request.name)
    return encoding.present(
        model_versions=[encoding.version(each, named) for each in found if each.stage in stages]
    )


def get_alias(tx: Tx, request: AliasName) -> Answer:
    """The version that an alias points at; `latest` is the newest."""
    model = models.get(tx, request.name)
    if request.alias.lower() == LATEST:
        return encode_version(tx, versions.get(tx, model.name, model.latest_number))
    for alias in aliases.of_model(tx, request.name):
        if alias.alias == request.alias:
            return encode_version(tx, versions.get(tx, model.name, alias.number))
    # not RESOURCE_DOES_NOT_EXIST: this is the code that MLflow's server answers with
    raise InvalidInput(f"Registered model alias {request.alias} not found.", where="alias")


def get_version(tx: Tx, request: VersionName) -> Answer:
    """One version."""
    return encode_version(tx, versions.get(tx, request.name, number_of(request.version)))


def download_uri(tx: Tx, request: VersionName) -> Answer:
    """Where the files of a version are: those that were registered."""
    version = versions.get(tx, request.name, number_of(request.version))
    return {"artifact_uri": locations.version_uri(version.model, version.number)}


def search_versions(tx: Tx, request: SearchVersions) -> Answer:
    """Versions, what changed last first unless ordered otherwise."""
    query = RegistryQuery(
        filter=request.filter, order_by=request.order_by, limit=request.max_results, cursor=request.page_token
    )
    page, following = registry_search.find_versions(tx, query)
    named = tables_search.aliases_of(tx, sorted({version.model for version in page}))
    found = [encoding.version(version, named[version.model]) for version in page]
    return encoding.present(model_versions=found, next_page_token=following or None)


def _encode_model(tx: Tx, name: str) -> Answer:
    return encoding.model(models.get(tx, name), models.latest_versions(tx, name), aliases.of_model(tx, name))


ENDPOINTS: list[Endpoint[Any]] = [
    writing("POST", "mlflow/registered-models/create", Create, create),
    reading("GET", "mlflow/registered-models/get", Name, get),
    reading("GET", "mlflow/registered-models/search", Search, search),
    reading("POST", "mlflow/registered-models/get-latest-versions", LatestVersions, latest_versions),
    reading("GET", "mlflow/registered-models/get-latest-versions", LatestVersions, latest_versions),
    reading("GET", "mlflow/registered-models/alias", AliasName, get_alias),
    reading("GET", "mlflow/model-versions/get", VersionName, get_version),
    reading("GET", "mlflow/model-versions/get-download-uri", VersionName, download_uri),
    reading("GET", "mlflow/model-versions/search", SearchVersions, search_versions),
]
