"""Who answers for a model: set by releases, applied by gateways, ordered by one sequence."""

import msgspec

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import business_time, events
from headrace.kernel.database import Tx
from headrace.serving import lineage, served, tables
from headrace.serving.nouns import (
    BusinessTime,
    Caller,
    Route,
    RouteChange,
    RouteRemoved,
    RouteSet,
    ServedVersion,
    Snapshot,
)

ROUTES_TOPIC = "serving.routes"
"""Rung after a commit that changed a route; the streams to the gateways wait for it."""


def set_route(tx: Tx, change: RouteChange) -> Route:
    """Make `change` the model's route; gateways follow within a second, once they have loaded its versions.

    Setting what is set already changes nothing.

    Raises:
        InvalidInput: the route names no version, or a weight that is no percentage.
        NotFound: a version is not registered.
    """
    _check(change)
    present = tables.route(tx, change.model)
    salt = change.release_id or (present.salt if present else change.model)
    known = {version.number: version for version in present.versions} if present else {}
    wanted = Route(
        model=change.model,
        champion=change.champion,
        challenger=change.challenger,
        weight_percent=change.weight_percent,
        salt=salt,
        release_id=change.release_id,
        step=change.step,
        slow_us=change.slow_us,
        shadow=change.shadow,
        shadow_percent=change.shadow_percent,
        previous=change.previous,
        default=change.default,
        versions=_versions(tx, change, known),
        sequence=present.sequence if present else 0,
    )
    if wanted == present:
        return present
    lineage.connect(tx, change)
    return _store(tx, wanted)


def find(tx: Tx, model: str) -> Route | None:
    """The model's route; None when it is not served."""
    return tables.route(tx, model)


def get(tx: Tx, model: str) -> Route:
    """The model's route.

    Raises:
        NotFound: the model is not served.
    """
    route = find(tx, model)
    if route is None:
        raise NotFound(f"model {model!r} is not served", where=f"route/{model}", fix="Release a version of it.")
    return route


def remove(tx: Tx, model: str) -> None:
    """Stop serving a model; one that is not served stays so."""
    present = tables.route(tx, model)
    if present is None:
        return
    gone = Route(model=model, champion=None, salt=present.salt, versions=(), sequence=tables.next_sequence(tx))
    tables.put_route(tx, gone, removed=True)
    tx.ring(ROUTES_TOPIC)
    events.append(tx, "serving.route_removed", f"route/{model}", {"model": model, "sequence": gone.sequence})


def refresh(tx: Tx, model: str, number: int) -> None:
    """Tell the gateways what is decided now about a version that they hold; others need not be told."""
    present = tables.route(tx, model)
    if present is None or present.version(number) is None:
        return
    described = served.describe(tx, model, number)
    versions = tuple(described if version.number == number else version for version in present.versions)
    if versions != present.versions:
        _store(tx, msgspec.structs.replace(present, versions=versions))


def every(tx: Tx) -> tuple[Route, ...]:
    """The routes in force, by time of change."""
    return tuple(route for route, removed in tables.routes_after(tx, 0) if not removed)


def snapshot(tx: Tx, callers: tuple[Caller, ...] | None) -> Snapshot:
    """Everything that a gateway needs to serve."""
    return Snapshot(sequence=tables.sequence(tx), routes=every(tx), time=read_business_time(tx), callers=callers)


def changes(tx: Tx, after: int) -> tuple[RouteSet | RouteRemoved, ...]:
    """What changed after a sequence number; several changes of one model show as the last of them."""
    return tuple(
        RouteRemoved(sequence=route.sequence, model=route.model)
        if removed
        else RouteSet(sequence=route.sequence, route=route)
        for route, removed in tables.routes_after(tx, after)
    )


def read_business_time(tx: Tx) -> BusinessTime:
    """The business clock as gateways are told it."""
    clock = business_time.read(tx)
    return BusinessTime(now=clock.now, replayed=clock.replayed)


def _check(change: RouteChange) -> None:
    where = f"route/{change.model}"
    if change.champion is None and change.challenger is None and not change.resident:
        raise InvalidInput("a route needs a version", where=where, fix="Remove the route instead.")
    if not 0 <= change.weight_percent <= 100:
        raise InvalidInput("a weight is a percentage from 0 to 100", where=f"{where}.weight_percent")
    if change.challenger is not None and change.challenger == change.champion:
        raise InvalidInput("a version cannot challenge itself", where=f"{where}.challenger")
    if change.shadow is not None and change.shadow in {change.champion, change.challenger}:
        raise InvalidInput("a version cannot be its own shadow", where=f"{where}.shadow")


def _versions(tx: Tx, change: RouteChange, known: dict[int, ServedVersion]) -> tuple[ServedVersion, ...]:
    named = (change.champion, change.challenger, change.shadow, change.previous, *change.resident)
    numbers = dict.fromkeys(named)
    return tuple(
        known.get(number) or served.describe(tx, change.model, number) for number in numbers if number is not None
    )


def _store(tx: Tx, wanted: Route) -> Route:
    route = msgspec.structs.replace(wanted, sequence=tables.next_sequence(tx))
    tables.put_route(tx, route)
    tx.ring(ROUTES_TOPIC)
    events.append(
        tx, "serving.route_set", f"route/{route.model}",
        {
            "model": route.model,
            "champion": route.champion,
            "challenger": route.challenger,
            "weight_percent": route.weight_percent,
            "release_id": route.release_id,
            "step": route.step,
            "slow_us": route.slow_us,
            "shadow": route.shadow,
            "previous": route.previous,
            "default": route.default,
            "resident": [version.number for version in route.versions],
            "sequence": route.sequence,
        },
    )  # fmt: skip
    return route
