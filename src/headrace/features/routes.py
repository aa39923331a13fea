"""The feature store's HTTP door."""

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from headrace.features import catalog, sources
from headrace.features.nouns import Catalog, ObjectDetails, ObjectKind
from headrace.kernel.access import Role
from headrace.kernel.database import Transactions


class Refreshing(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs that a refresh asked for."""

    jobs: tuple[str, ...]


@get("/api/v1/features")
async def list_features(transactions: NamedDependency[Transactions]) -> Catalog:
    """Entities, sources, feature views and labels, and where the data of sources and views stand."""
    return await transactions.read(catalog.list_objects)


@get("/api/v1/features/{kind:str}/{name:str}")
async def get_feature_object(
    kind: FromPath[ObjectKind], name: FromPath[str], transactions: NamedDependency[Transactions]
) -> ObjectDetails:
    """One object with its versions, newest first."""
    return await transactions.read(lambda tx: catalog.details(tx, kind, name))


@post("/api/v1/features/refresh")
async def refresh_features(transactions: NamedDependency[Transactions]) -> Refreshing:
    """Read every source up to business now, and bring the views that read them."""
    return Refreshing(jobs=tuple(await transactions.write(sources.request_all)))


HANDLERS = [list_features, get_feature_object, refresh_features]

AUTHORIZATION = {
    "GET /api/v1/features": Role.VIEWER,
    "GET /api/v1/features/{kind}/{name}": Role.VIEWER,
    "POST /api/v1/features/refresh": Role.DEVELOPER,
}
