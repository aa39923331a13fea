"""What MLflow has and this server has not: answered by name, so that nobody takes silence for success."""

from collections.abc import Iterable
from typing import Any

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from headrace.errors import NotServed
from headrace.kernel.access import Role
from headrace.protocols.mlflow.endpoints import mounted
from headrace.protocols.mlflow.faults import Fault, answer, fault
from headrace.protocols.mlflow.prefixes import PREFIXES

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ROOMS = [f"{prefix}{room}" for prefix in PREFIXES for room in ("", "-artifacts")]
_TRACES = ("mlflow/traces", "mlflow/unified-traces")


async def not_served(request: Request[Any, Any, Any]) -> Response[bytes]:
    """501 with the name of the endpoint; for traces 404, at which clients fall back to going without."""
    endpoint = f"{request.method} {request.url.path}"
    if any(name in request.url.path for name in _TRACES):
        return answer(Fault(error_code="ENDPOINT_NOT_FOUND", message=f"{endpoint} is not served."), 404)
    problem = NotServed(f"{endpoint} is a part of MLflow that this server does not have.", where=endpoint)
    return answer(*fault(problem))


def catch_all(served: Iterable[HTTPRouteHandler]) -> tuple[list[HTTPRouteHandler], dict[str, Role | None]]:
    """Handlers for everything below MLflow's paths that `served` does not answer, with their authorization.

    Below a prefix anything is taken; at a path that is served, the methods that are not.
    """
    methods: dict[str, set[str]] = {}
    for handler in served:
        for path in handler.paths:
            methods.setdefault(path, set()).update(handler.http_methods)
    places: dict[str, set[str]] = {f"{room}/{{rest:path}}": set() for room in _ROOMS}
    places |= {path: found for path, found in methods.items() if path.startswith(PREFIXES)}
    by_methods: dict[tuple[str, ...], list[str]] = {}
    for path, found in places.items():
        by_methods.setdefault(tuple(method for method in METHODS if method not in found), []).append(path)
    handlers = [mounted(missing, paths)(not_served) for missing, paths in by_methods.items() if missing]
    lines: dict[str, Role | None] = {
        f"{method} {path}": Role.VIEWER
        for handler in handlers
        for path in handler.paths
        for method in handler.http_methods
    }
    return handlers, lines
