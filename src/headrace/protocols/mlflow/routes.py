"""MLflow's door: every endpoint and every handler of the protocol, and the role that each handler needs.

What is not here is answered by `faults.unserved`: the server asks it for every path that `faults.speaks`.
"""

from typing import Any

from litestar.handlers import HTTPRouteHandler

from headrace.kernel.access import Role
from headrace.protocols.mlflow import (
    browsing,
    experiments,
    histories,
    logged_models,
    probes,
    proxy,
    registered,
    registered_changes,
    registration,
    runs,
    transfers,
)
from headrace.protocols.mlflow.endpoints import Endpoint

ENDPOINTS: list[Endpoint[Any]] = [
    *experiments.ENDPOINTS,
    *runs.ENDPOINTS,
    *histories.ENDPOINTS,
    *browsing.ENDPOINTS,
    *logged_models.ENDPOINTS,
    *registered.ENDPOINTS,
    *registered_changes.ENDPOINTS,
]

HANDLERS: list[HTTPRouteHandler] = [
    *registration.HANDLERS,
    *proxy.HANDLERS,
    *transfers.HANDLERS,
    *browsing.HANDLERS,
    *probes.HANDLERS,
]

AUTHORIZATION: dict[str, Role | None] = {
    **registration.AUTHORIZATION,
    **proxy.AUTHORIZATION,
    **transfers.AUTHORIZATION,
    **browsing.AUTHORIZATION,
    **probes.AUTHORIZATION,
}
