"""Which role each route needs: one table, composed from the rooms' own, that denies what it does not name."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from headrace.errors import InternalError, NotAuthenticated, PermissionRefused
from headrace.kernel.access import Principal, Role, permits

TYPED = re.compile(r"\{(\w+):\w+\}")
IMPLIED = frozenset({"HEAD", "OPTIONS"})
"""Methods that the table does not name: a HEAD is a GET without a body, and OPTIONS tells nothing."""

Table = Mapping[str, Role | None]


def compose(tables: Iterable[Table]) -> dict[str, Role | None]:
    """One table from those of the rooms, keyed `METHOD /path/{parameter}`; None means: open to everyone.

    Raises:
        InternalError: two rooms name the same route.
    """
    composed: dict[str, Role | None] = {}
    for table in tables:
        for route, role in table.items():
            key = plain(route)
            if key in composed:
                raise InternalError("two rooms authorize the same route", where=key)
            composed[key] = role
    return composed


def plain(route: str) -> str:
    """A route without the types of its parameters."""
    return TYPED.sub(r"{\1}", route)


def registered(app: Litestar) -> list[str]:
    """Every route of an application as the table writes it; a test holds the two against each other."""
    found = set()
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            if isinstance(handler, HTTPRouteHandler):
                found |= {
                    plain(f"{method} {route.path}") for method in handler.http_methods if method not in IMPLIED
                }
    return sorted(found)


class Authorize:
    """The guard on every route."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """Let the request pass, or refuse it; a coroutine, since a plain function would be run in a thread.

        Raises:
            NotAuthenticated: the route needs a role and nobody is logged in.
            PermissionRefused: the principal has not got the role, or the route is not in the table.
        """
        method = str(connection.scope.get("method"))
        if method == "OPTIONS":
            return
        if method == "HEAD":
            method = "GET"
        route = f"{method} {connection.scope['path_template']}"
        if ":" in route:
            route = plain(route)
        if route not in self._table:
            raise PermissionRefused("this route is not open to anyone", where=route)
        needed = self._table[route]
        if needed is not None:
            admitted(connection.scope["state"].get("principal"), needed, route)


def admitted(principal: object, needed: Role, route: str) -> Principal:
    """The principal of a request that needs a role.

    Raises:
        NotAuthenticated: nobody is logged in.
        PermissionRefused: the principal has not got the role.
    """
    if not isinstance(principal, Principal):
        raise NotAuthenticated(
            "this platform asks for a login",
            where=route,
            fix="Send a token: set HEADRACE_TOKEN, or the header Authorization: Bearer <token>.",
        )
    if not permits(principal, needed):
        raise _lacking(principal, needed, route)
    return principal


def _lacking(principal: Principal, needed: Role, route: str) -> PermissionRefused:
    """What is missing, and who can give it."""
    has = ", ".join(principal.roles) or "no role"
    if needed is Role.SYSTEM:
        return PermissionRefused(
            "this is for the platform's own processes alone", where=route, fix="No role that can be given opens it."
        )
    return PermissionRefused(
        f"this needs the role {needed.value}, and {principal.name} has {has}",
        where=route,
        fix=f"An admin can give it: headrace access grant {principal.name} {needed.value}",
    )
