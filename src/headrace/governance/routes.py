"""Governance's HTTP door: lineage, who uses what, and environments."""

from typing import Annotated, Literal

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from headrace.governance import lineage, uses
from headrace.governance.lineage import View
from headrace.governance.nouns import Lineage, Neighbours, Uses, UsesPage
from headrace.kernel import environments
from headrace.kernel.access import Role
from headrace.kernel.database import Transactions
from headrace.kernel.environments import Environment

PageSize = Annotated[int, QueryParameter(ge=1, le=1_000)]


@get("/api/v1/lineage")
async def get_lineage(
    of: FromQuery[str],
    transactions: NamedDependency[Transactions],
    up: FromQuery[bool] = True,
    down: FromQuery[bool] = True,
    depth: FromQuery[int] = 12,
    neighbours: FromQuery[int] = 20,
    nodes: FromQuery[int] = 300,
) -> Lineage:
    """What a version, or anything else in the graph, was made from and what came of it."""
    view = View(up=up, down=down, depth=depth, neighbours=neighbours, nodes=nodes)
    return await transactions.read(lambda tx: lineage.around(tx, of, view))


@get("/api/v1/lineage/neighbours")
async def list_neighbours(
    of: FromQuery[str],
    direction: FromQuery[Literal["up", "down"]],
    transactions: NamedDependency[Transactions],
    cursor: FromQuery[str] = "",
    limit: PageSize = 100,
) -> Neighbours:
    """What something was made from directly, or what came of it directly, newest first."""
    return await transactions.read(lambda tx: lineage.neighbours(tx, of, direction, limit=limit, cursor=cursor))


@get("/api/v1/versions/uses")
async def list_uses(
    transactions: NamedDependency[Transactions],
    table: FromQuery[str] = "",
    feature: FromQuery[str] = "",
    view: FromQuery[str] = "",
    commit: FromQuery[str] = "",
    package: FromQuery[str] = "",
    subject: FromQuery[str] = "",
    unpinned: FromQuery[bool] = False,
    production: FromQuery[bool] = False,
    cursor: FromQuery[str] = "",
    limit: PageSize = 100,
) -> UsesPage:
    """The versions that use a table, a feature, a view, a commit, a package or anything else, newest first."""
    asked = Uses(
        table=table,
        feature=feature,
        view=view,
        commit=commit,
        package=package,
        subject=subject,
        unpinned=unpinned,
        production=production,
    )
    return await transactions.read(lambda tx: uses.versions_using(tx, asked, limit=limit, cursor=cursor))


@get("/api/v1/environments/{digest:str}")
async def get_environment(digest: FromPath[str], transactions: NamedDependency[Transactions]) -> Environment:
    """The packages of an environment."""
    return await transactions.read(lambda tx: environments.get(tx, digest))


HANDLERS = [get_lineage, list_neighbours, list_uses, get_environment]

AUTHORIZATION = {
    "GET /api/v1/lineage": Role.VIEWER,
    "GET /api/v1/lineage/neighbours": Role.VIEWER,
    "GET /api/v1/versions/uses": Role.VIEWER,
    "GET /api/v1/environments/{digest}": Role.VIEWER,
}
