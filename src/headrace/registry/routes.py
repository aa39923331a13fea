"""The registry's HTTP door."""

from typing import Annotated

import msgspec
from litestar import get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from headrace.kernel.access import Role
from headrace.kernel.database import Transactions, Tx
from headrace.registry import evidence, history, models, register, search, versions
from headrace.registry.moves import History
from headrace.registry.nouns import (
    Evidence,
    Model,
    ModelDetails,
    RegisterVersion,
    RegistryQuery,
    Version,
)

PageSize = Annotated[int, QueryParameter(ge=1, le=1_000)]


class CreateModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model to create."""

    name: str
    description: str = ""
    tags: dict[str, str] = {}


class DescribeVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a version; None leaves it. Tags are replaced as a whole."""

    description: str | None = None
    tags: dict[str, str] | None = None
    owner: str | None = None


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of models; `next_cursor` is empty on the last one."""

    models: tuple[Model, ...]
    next_cursor: str = ""


class VersionPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of versions; `next_cursor` is empty on the last one."""

    versions: tuple[Version, ...]
    next_cursor: str = ""


@get("/api/v1/models")
async def list_models(
    transactions: NamedDependency[Transactions],
    contains: FromQuery[str] = "",
    after: FromQuery[str] = "",
    limit: PageSize = 100,
) -> tuple[Model, ...]:
    """Models by name."""
    return await transactions.read(lambda tx: models.search(tx, contains=contains, after=after, limit=limit))


@post("/api/v1/models")
async def create_model(data: JSONBody[CreateModel], transactions: NamedDependency[Transactions]) -> Model:
    """Create a model without a project."""
    return await transactions.write(
        lambda tx: models.create(tx, data.name, description=data.description, tags=data.tags)
    )


@post("/api/v1/models/search", status_code=200)
async def search_models(data: JSONBody[RegistryQuery], transactions: NamedDependency[Transactions]) -> ModelPage:
    """Models that match a filter, in any order."""
    page, following = await transactions.read(lambda tx: search.find_models(tx, data))
    return ModelPage(models=page, next_cursor=following)


@post("/api/v1/versions/search", status_code=200)
async def search_versions(
    data: JSONBody[RegistryQuery], transactions: NamedDependency[Transactions]
) -> VersionPage:
    """Versions of all models that match a filter, in any order."""
    page, following = await transactions.read(lambda tx: search.find_versions(tx, data))
    return VersionPage(versions=page, next_cursor=following)


@get("/api/v1/models/{name:str}")
async def get_model(name: FromPath[str], transactions: NamedDependency[Transactions]) -> ModelDetails:
    """A model with its versions."""
    return await transactions.read(lambda tx: models.details(tx, name))


@post("/api/v1/models/{name:str}/versions")
async def register_version(
    name: FromPath[str], data: JSONBody[RegisterVersion], transactions: NamedDependency[Transactions]
) -> Version:
    """Register a version, and its model when it is the first."""
    request = msgspec.structs.replace(data, model=name)

    def work(tx: Tx) -> Version:
        models.ensure(tx, name)
        return register.register_version(tx, request)

    return await transactions.write(work)


@get("/api/v1/models/{name:str}/versions/{number:int}")
async def get_version(
    name: FromPath[str], number: FromPath[int], transactions: NamedDependency[Transactions]
) -> Version:
    """One version."""
    return await transactions.read(lambda tx: versions.get(tx, name, number))


@patch("/api/v1/models/{name:str}/versions/{number:int}")
async def describe_version(
    name: FromPath[str],
    number: FromPath[int],
    data: JSONBody[DescribeVersion],
    transactions: NamedDependency[Transactions],
) -> Version:
    """Set what of a version may change; what is not given stays."""
    return await transactions.write(
        lambda tx: versions.describe(
            tx, name, number, description=data.description, tags=data.tags, owner=data.owner
        )
    )


@get("/api/v1/models/{name:str}/versions/{number:int}/evidence")
async def get_evidence(
    name: FromPath[str], number: FromPath[int], transactions: NamedDependency[Transactions]
) -> tuple[Evidence, ...]:
    """What gates and checks found on a version, oldest first."""
    return await transactions.read(lambda tx: evidence.of_version(tx, name, number))


@get("/api/v1/evidence/{evidence_id:str}")
async def get_one_evidence(evidence_id: FromPath[str], transactions: NamedDependency[Transactions]) -> Evidence:
    """One piece of evidence; its scores are a blob."""
    return await transactions.read(lambda tx: evidence.get(tx, evidence_id))


@get("/api/v1/models/{name:str}/history")
async def get_history(
    name: FromPath[str],
    transactions: NamedDependency[Transactions],
    at: FromQuery[str] = "",
    cursor: FromQuery[str] = "",
    limit: PageSize = 100,
) -> History:
    """The stage moves up to a moment of wall time, newest first, and what was in production then."""
    moment = history.moment_of(at) if at else None
    return await transactions.read(lambda tx: history.read(tx, name, at=moment, cursor=cursor, limit=limit))


HANDLERS = [
    list_models,
    create_model,
    search_models,
    search_versions,
    get_model,
    register_version,
    get_version,
    describe_version,
    get_evidence,
    get_one_evidence,
    get_history,
]

AUTHORIZATION = {
    "GET /api/v1/models": Role.VIEWER,
    "POST /api/v1/models": Role.DEVELOPER,
    "POST /api/v1/models/search": Role.VIEWER,
    "POST /api/v1/versions/search": Role.VIEWER,
    "GET /api/v1/models/{name}": Role.VIEWER,
    "POST /api/v1/models/{name}/versions": Role.DEVELOPER,
    "GET /api/v1/models/{name}/versions/{number}": Role.VIEWER,
    "PATCH /api/v1/models/{name}/versions/{number}": Role.DEVELOPER,
    "GET /api/v1/models/{name}/versions/{number}/evidence": Role.VIEWER,
    "GET /api/v1/evidence/{evidence_id}": Role.VIEWER,
    "GET /api/v1/models/{name}/history": Role.VIEWER,
}
