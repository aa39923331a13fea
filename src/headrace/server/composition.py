"""How control is put together: every room's routes, authorizations, settlements, subscribers and background looks.

Control-side only: nothing here may reach the engines that workers and gateways use.
"""

from headrace.kernel.access import Role
from headrace.kernel.jobs import Handling
from headrace.kernel.subscriptions import Subscriber
from headrace.monitoring import routes as monitoring_routes
from headrace.registry import routes as registry_routes
from headrace.server import access_routes, blob_routes, platform_routes
from headrace.server.authorization import compose
from headrace.server.loops import Look


from headrace.tracking import routes as tracking_routes

DOORS = (
    platform_routes,
    access_routes,
    blob_routes,
    tracking_routes,
    registry_routes,
    monitoring_routes,
)
"""Every module with an HTTP door."""

HANDLERS = [handler for door in DOORS for handler in door.HANDLERS]

HANDLINGS: tuple[Handling, ...] = ()
"""What control does with the results of workers."""

SUBSCRIBERS: tuple[Subscriber, ...] = ()
"""Who hears of which events."""

LOOKS: tuple[Look, ...] = ()
"""The rooms' background work."""


def authorization() -> dict[str, Role | None]:
    """The one table of routes and roles."""
    return compose(door.AUTHORIZATION for door in DOORS)
