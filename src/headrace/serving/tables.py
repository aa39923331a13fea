"""Serving's tables: routes in one order of changes, gateways, and the counts that they report."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.kernel.schema import Document, Instant, metadata, workspace_column
from headrace.kernel.tables import principals, tokens
from headrace.serving.nouns import (
    SIGNALLED_UNITS,
    Caller,
    Compared,
    Counts,
    Gateway,
    GatewayReport,
    LoadedVersion,
    Route,
    ServedVersion,
    Signal,
    Trip,
    VersionCounts,
)

INSERTED_AT_ONCE = 500

LATE_REPORTS = timedelta(seconds=5)
"""For so long after a new boot a report of the one before may still be on its way."""

NO_RELEASE = ""
NO_STEP = -1

route_sequence = sa.Table(
    "serving_route_sequence",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
)

routes = sa.Table(
    "serving_routes",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("model", sa.String(256), primary_key=True),
    sa.Column("champion", sa.Integer, nullable=True),
    sa.Column("challenger", sa.Integer, nullable=True),
    sa.Column("weight_percent", sa.Float, nullable=False),
    sa.Column("salt", sa.String(256), nullable=False),
    sa.Column("release_id", sa.String(64), nullable=True),
    sa.Column("step", sa.Integer, nullable=True),
    sa.Column("slow_us", sa.BigInteger, nullable=True),
    sa.Column("shadow", sa.Integer, nullable=True),
    sa.Column("shadow_percent", sa.Float, nullable=False),
    sa.Column("previous", sa.Integer, nullable=True),
    sa.Column("default", sa.Float, nullable=True),
    sa.Column("versions", Document, nullable=False),
    sa.Column("removed", sa.Boolean, nullable=False),  # kept, so that the stream can tell of it
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Index("ix_serving_routes_sequence", "workspace", "sequence"),
)

gateways = sa.Table(
    "serving_gateways",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("boot", sa.String(64), nullable=False),
    sa.Column("booted_at", Instant, nullable=False),
    sa.Column("url", sa.String(512), nullable=False),
    sa.Column("last_seen", Instant, nullable=False),
    sa.Column("applied_sequence", sa.BigInteger, nullable=False),
    sa.Column("logged_until", Instant, nullable=True),
    sa.Column("predictions_dropped", sa.BigInteger, nullable=False),
    sa.Column("shadows_dropped", sa.BigInteger, nullable=False),
    sa.Column("predictions_lost", sa.BigInteger, nullable=False),
    sa.Column("loaded", Document, nullable=False),
    sa.Column("trips", Document, nullable=False),
    sa.Column("units_per_s", Document, nullable=False),
)

allowances = sa.Table(
    "serving_allowances",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("model", sa.String(256), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.Column("code", sa.Boolean, nullable=False),
    sa.Column("types", Document, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("allowed_by", sa.String(256), nullable=False),
    sa.Column("allowed_at", Instant, nullable=False),
)

preparations = sa.Table(
    "serving_preparations",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("model", sa.String(256), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.Column("job_id", sa.String(64), nullable=False),
    sa.Column("prepared", Document, nullable=True),
    sa.Column("at", Instant, nullable=True),
)

counters = sa.Table(
    "serving_counters",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("gateway", sa.String(128), primary_key=True),
    sa.Column("boot", sa.String(64), primary_key=True),
    sa.Column("release_id", sa.String(64), primary_key=True),  # NO_RELEASE outside a release
    sa.Column("step", sa.Integer, primary_key=True),  # NO_STEP outside a rollout
    sa.Column("model", sa.String(256), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("faults", sa.BigInteger, nullable=False),
    sa.Column("invalid", sa.BigInteger, nullable=False),
    sa.Column("fallbacks", sa.BigInteger, nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("failed_units", sa.BigInteger, nullable=False),
    sa.Column("invalid_units", sa.BigInteger, nullable=False),
    sa.Column("slow_units", sa.BigInteger, nullable=False),
    sa.Column("fallback_units", sa.BigInteger, nullable=False),
    sa.Column("latency_us_sum", sa.BigInteger, nullable=False),
    sa.Column("named", Document, nullable=False),
    sa.Column("latency_counts", Document, nullable=False),
    sa.Column("compared", Document, nullable=True),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Index("ix_serving_counters_release", "workspace", "release_id", "step", "version"),
    sa.Index("ix_serving_counters_version", "workspace", "model", "version"),
)

feedback_sequence = sa.Table(
    "serving_feedback_sequence",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
)

feedback = sa.Table(
    "serving_feedback",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("prediction_id", sa.String(128), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("value", Document, nullable=False),
    sa.Column("number", sa.Float, nullable=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("by", sa.String(256), nullable=False),
    sa.Column("metadata", Document, nullable=False),
    sa.Column("effective", sa.Boolean, nullable=False),
    # what its prediction's log says; null while it waits
    sa.Column("joined_at", Instant, nullable=True),
    sa.Column("model", sa.String(256), nullable=True),
    sa.Column("version", sa.Integer, nullable=True),
    sa.Column("arm", sa.String(32), nullable=True),
    sa.Column("propensity", sa.Float, nullable=True),
    sa.Column("release_id", sa.String(64), nullable=True),
    sa.Column("step", sa.Integer, nullable=True),
    sa.Column("purpose", sa.String(32), nullable=True),
    sa.Column("predicted_at", Instant, nullable=True),
    sa.Column("output", sa.Float, nullable=True),
    # how it is looked for
    sa.Column("looks", sa.Integer, nullable=False),
    sa.Column("look_at", Instant, nullable=True),
    sa.Column("batch", sa.BigInteger, nullable=True),
    sa.Index("ix_serving_feedback_digest", "workspace", "digest", unique=True),
    sa.Index("ix_serving_feedback_prediction", "workspace", "prediction_id", "name"),
    sa.Index("ix_serving_feedback_model", "workspace", "model", "name", "joined_at"),
    sa.Index("ix_serving_feedback_look", "workspace", "look_at"),
    sa.Index("ix_serving_feedback_batch", "workspace", "batch"),
)

queries = sa.Table(
    "serving_queries",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("job_id", sa.String(64), primary_key=True),
    sa.Column("answer", Document, nullable=False),
    sa.Column("at", Instant, nullable=False),
)

retention = sa.Table(
    "serving_retention",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("data_class", sa.String(32), primary_key=True),
    sa.Column("model", sa.String(256), primary_key=True),  # empty for all
    sa.Column("keep", sa.String(32), nullable=False),
    sa.Column("set_by", sa.String(256), nullable=False),
    sa.Column("set_at", Instant, nullable=False),
)

signalled_units = sa.Table(
    "serving_signalled_units",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("release_id", sa.String(64), primary_key=True),
    sa.Column("signal", sa.String(32), primary_key=True),
    sa.Column("unit", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),  # a shadow fails beside its champion
)
# a unit that meets several gateways, or comes again in a later step, is one piece of evidence

COUNTED = (
    "requests", "faults", "invalid", "fallbacks", "units", *SIGNALLED_UNITS.values(), "latency_us_sum",
)  # fmt: skip


class SignalledCount(NamedTuple):
    """Units that gave a signal on a version in a step, and how many of them had given it in an earlier one."""

    step: int
    version: int
    signal: Signal
    units: int
    again: int


def sequence(tx: Tx) -> int:
    """The newest route change; 0 before the first."""
    statement = sa.select(route_sequence.c.sequence).where(route_sequence.c.workspace == tx.workspace)
    return tx.execute(statement).scalar() or 0


def next_sequence(tx: Tx) -> int:
    """Take the next place in the order of route changes; held until the transaction ends."""
    statement = insert(tx, route_sequence).values(workspace=tx.workspace, sequence=1)
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=["workspace"], set_={"sequence": route_sequence.c.sequence + 1}
        )
    )
    return sequence(tx)


def put_route(tx: Tx, route: Route, *, removed: bool = False) -> None:
    """Store a model's route, replacing the one before."""
    values = {
        "champion": route.champion,
        "challenger": route.challenger,
        "weight_percent": route.weight_percent,
        "salt": route.salt,
        "release_id": route.release_id,
        "step": route.step,
        "slow_us": route.slow_us,
        "shadow": route.shadow,
        "shadow_percent": route.shadow_percent,
        "previous": route.previous,
        "default": route.default,
        "versions": route.versions,
        "removed": removed,
        "sequence": route.sequence,
        "changed_at": tx.now,
    }
    statement = insert(tx, routes).values(workspace=tx.workspace, model=route.model, **values)
    tx.execute(statement.on_conflict_do_update(index_elements=["workspace", "model"], set_=values))


def routes_after(tx: Tx, after: int) -> list[tuple[Route, bool]]:
    """Routes changed after a sequence number, oldest change first, each with whether it was removed."""
    statement = (
        sa.select(routes)
        .where(routes.c.workspace == tx.workspace, routes.c.sequence > after)
        .order_by(routes.c.sequence)
    )
    return [(_route(row), row.removed) for row in tx.execute(statement)]


def route(tx: Tx, model: str) -> Route | None:
    """A model's present route."""
    statement = sa.select(routes).where(
        routes.c.workspace == tx.workspace, routes.c.model == model, routes.c.removed.is_(False)
    )
    row = tx.execute(statement).first()
    return None if row is None else _route(row)


def put_gateway(tx: Tx, report: GatewayReport) -> bool:
    """Store a gateway's state; False when a later boot of it has reported in the last seconds.

    By the clock alone the one that was started before the clock was set back would count as the later one for ever.
    """
    statement = sa.select(gateways.c.boot, gateways.c.booted_at, gateways.c.last_seen).where(
        gateways.c.workspace == tx.workspace, gateways.c.name == report.gateway
    )
    known = tx.execute(statement).first()
    if (
        known is not None
        and known.boot != report.boot
        and known.booted_at > report.booted_at
        and abs(tx.now - known.last_seen) <= LATE_REPORTS
    ):
        return False
    values = {
        "boot": report.boot,
        "booted_at": report.booted_at,
        "url": report.url,
        "last_seen": tx.now,
        "applied_sequence": report.applied_sequence,
        "logged_until": report.logged_until,
        "predictions_dropped": report.predictions_dropped,
        "shadows_dropped": report.shadows_dropped,
        "predictions_lost": report.predictions_lost,
        "loaded": report.loaded,
        "trips": report.trips,
        "units_per_s": report.units_per_s,
    }
    upsert = insert(tx, gateways).values(workspace=tx.workspace, name=report.gateway, **values)
    tx.execute(upsert.on_conflict_do_update(index_elements=["workspace", "name"], set_=values))
    return True


def put_counts(tx: Tx, gateway: str, boot: str, counts: VersionCounts) -> None:
    """Store cumulative counts; an older report never takes back what a newer one has said."""
    values: dict[str, Any] = {name: getattr(counts, name) for name in COUNTED}
    values |= {"latency_counts": counts.latency_counts, "compared": counts.compared, "updated_at": tx.now}
    if counts.named is not None:
        values["named"] = counts.named
    statement = insert(tx, counters).values(
        workspace=tx.workspace,
        gateway=gateway,
        boot=boot,
        release_id=counts.release_id or NO_RELEASE,
        step=NO_STEP if counts.step is None else counts.step,
        model=counts.model,
        version=counts.version,
        **({"named": ()} | values),
    )
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=["workspace", "gateway", "boot", "release_id", "step", "model", "version"],
            set_=values,
            where=counters.c.requests + counters.c.fallbacks < counts.requests + counts.fallbacks,
        )
    )


def add_signalled(tx: Tx, counts: VersionCounts) -> None:
    """Remember units that gave a signal; what is known already changes nothing."""
    if not counts.signalled or counts.release_id is None:
        return
    given = [
        {
            "workspace": tx.workspace,
            "release_id": counts.release_id,
            "signal": each.signal.value,
            "unit": each.unit,
            "step": NO_STEP if counts.step is None else counts.step,
            "version": counts.version,
        }
        for each in counts.signalled
    ]
    for start in range(0, len(given), INSERTED_AT_ONCE):
        chunk = given[start : start + INSERTED_AT_ONCE]
        tx.execute(insert(tx, signalled_units).values(chunk).on_conflict_do_nothing())


def count_signalled(tx: Tx, release_id: str) -> list[SignalledCount]:
    """Units with a name that gave signals in a release, by step and version."""
    mine = sa.and_(signalled_units.c.workspace == tx.workspace, signalled_units.c.release_id == release_id)
    first = (
        sa.select(
            signalled_units.c.signal, signalled_units.c.unit, sa.func.min(signalled_units.c.step).label("step")
        )
        .where(mine)
        .group_by(signalled_units.c.signal, signalled_units.c.unit)
        .subquery()
    )
    again = sa.case((signalled_units.c.step > first.c.step, 1), else_=0)
    statement = (
        sa.select(
            signalled_units.c.step,
            signalled_units.c.version,
            signalled_units.c.signal,
            sa.func.count().label("units"),
            sa.func.sum(again).label("again"),
        )
        .join_from(
            signalled_units,
            first,
            sa.and_(signalled_units.c.signal == first.c.signal, signalled_units.c.unit == first.c.unit),
        )
        .where(mine)
        .group_by(signalled_units.c.step, signalled_units.c.version, signalled_units.c.signal)
    )
    return [
        SignalledCount(row.step, row.version, Signal(row.signal), int(row.units), int(row.again))
        for row in tx.execute(statement)
    ]


def releases_with_units(tx: Tx, *, silent_since: datetime) -> list[str]:
    """Releases that no route is part of and that have counted nothing since, whose units are still remembered."""
    routed = sa.select(routes.c.release_id).where(
        routes.c.workspace == tx.workspace, routes.c.release_id.is_not(None)
    )
    remembered = sa.exists().where(
        signalled_units.c.workspace == counters.c.workspace,
        signalled_units.c.release_id == counters.c.release_id,
    )
    statement = (
        sa.select(counters.c.release_id)
        .where(counters.c.workspace == tx.workspace, counters.c.release_id.not_in(routed), remembered)
        .group_by(counters.c.release_id)
        .having(sa.func.max(counters.c.updated_at) < silent_since)
        .order_by(counters.c.release_id)
    )
    return list(tx.execute(statement).scalars())


def forget_units(tx: Tx, release_id: str) -> None:
    """Forget which units gave signals in a release."""
    mine = sa.and_(signalled_units.c.workspace == tx.workspace, signalled_units.c.release_id == release_id)
    tx.execute(sa.delete(signalled_units).where(mine))


class CounterRow(NamedTuple):
    """What all lives of one gateway counted, one life a row."""

    step: int
    version: int
    counts: Counts
    """Without the units that have a name."""
    named: tuple[int, ...]
    compared: Compared | None


def counter_rows(tx: Tx, release_id: str) -> list[CounterRow]:
    """Everything that was counted in a release."""
    statement = sa.select(counters).where(counters.c.workspace == tx.workspace, counters.c.release_id == release_id)
    return [
        CounterRow(
            row.step,
            row.version,
            _counts(row),
            msgspec.convert(row.named, tuple[int, ...]),
            msgspec.convert(row.compared, Compared | None),
        )
        for row in tx.execute(statement)
    ]


def latency_counts(tx: Tx, model: str, version: int, *, release_id: str | None = None) -> dict[int, int]:
    """How many rows a version took how long for, by bucket; of one release, or of all that was ever counted."""
    statement = sa.select(counters.c.latency_counts).where(
        counters.c.workspace == tx.workspace, counters.c.model == model, counters.c.version == version
    )
    if release_id is not None:
        statement = statement.where(counters.c.release_id == release_id)
    found: Counter[int] = Counter()
    for document in tx.execute(statement).scalars():
        found.update(msgspec.convert(document, dict[int, int], strict=False))
    return dict(found)


def sum_outside(tx: Tx, model: str, version: int) -> Counts:
    """Counts of a version outside of releases, summed over gateways and their boots."""
    outside = counters.c.release_id == NO_RELEASE
    return _summed(tx, counters.c.model == model, counters.c.version == version, outside)


def sum_version(tx: Tx, model: str, version: int) -> Counts:
    """Counts of a version in all releases and outside of them, summed over gateways and their boots."""
    return _summed(tx, counters.c.model == model, counters.c.version == version)


def _summed(tx: Tx, *which: sa.ColumnElement[bool]) -> Counts:
    statement = sa.select(
        *(sa.func.coalesce(sa.func.sum(counters.c[name]), 0).label(name) for name in COUNTED)
    ).where(counters.c.workspace == tx.workspace, *which)
    row = tx.execute(statement).one()
    return _counts(row)


def list_gateways(tx: Tx, *, seen_since: datetime | None = None) -> Sequence[Gateway]:
    """Gateways by name; with `seen_since` only those heard of since then (wall time)."""
    statement = sa.select(gateways).where(gateways.c.workspace == tx.workspace).order_by(gateways.c.name)
    if seen_since is not None:
        statement = statement.where(gateways.c.last_seen >= seen_since)
    return [_gateway(row) for row in tx.execute(statement)]


def callers(tx: Tx) -> tuple[Caller, ...]:
    """Every token that works, by its hash, so that gateways can tell callers while control is away."""
    statement = (
        sa.select(tokens.c.digest, tokens.c.principal_id, tokens.c.expires_at, principals.c.roles)
        .join_from(
            tokens,
            principals,
            sa.and_(principals.c.workspace == tokens.c.workspace, principals.c.id == tokens.c.principal_id),
        )
        .where(
            tokens.c.workspace == tx.workspace,
            tokens.c.revoked_at.is_(None),
            sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > tx.now),
            principals.c.disabled_at.is_(None),
        )
        .order_by(tokens.c.id)
    )
    return tuple(
        Caller(
            token_hash=row.digest,
            principal_id=row.principal_id,
            expires_at=row.expires_at,
            may_read=bool(row.roles),
        )
        for row in tx.execute(statement)
    )


def _counts(row: sa.Row[Any]) -> Counts:
    return msgspec.convert({name: int(getattr(row, name)) for name in COUNTED}, Counts)


def _route(row: sa.Row[Any]) -> Route:
    return Route(
        model=row.model,
        champion=row.champion,
        challenger=row.challenger,
        weight_percent=row.weight_percent,
        salt=row.salt,
        release_id=row.release_id,
        step=row.step,
        slow_us=row.slow_us,
        shadow=row.shadow,
        shadow_percent=row.shadow_percent,
        previous=row.previous,
        default=row.default,
        versions=msgspec.convert(row.versions, tuple[ServedVersion, ...]),
        sequence=row.sequence,
    )


def _gateway(row: sa.Row[Any]) -> Gateway:
    return Gateway(
        name=row.name,
        boot=row.boot,
        booted_at=row.booted_at,
        url=row.url,
        last_seen=row.last_seen,
        applied_sequence=row.applied_sequence,
        logged_until=row.logged_until,
        predictions_dropped=row.predictions_dropped,
        shadows_dropped=row.shadows_dropped,
        predictions_lost=row.predictions_lost,
        loaded=msgspec.convert(row.loaded, tuple[LoadedVersion, ...]),
        trips=msgspec.convert(row.trips, tuple[Trip, ...]),
        units_per_s=row.units_per_s,
    )
