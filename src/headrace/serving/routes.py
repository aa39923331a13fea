"""Serving's HTTP door in control: gateways follow the routes here and report what they have counted."""

import time
from collections.abc import AsyncIterator
from functools import partial
from typing import NamedTuple

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody
from litestar.response import Stream
from litestar.status_codes import HTTP_204_NO_CONTENT

from headrace.kernel.access import Role
from headrace.kernel.bells import Bell
from headrace.kernel.database import Transactions, Tx
from headrace.kernel.settings import Settings
from headrace.serving import reports, routing, tables
from headrace.serving.gateway.admission import login_required
from headrace.serving.nouns import (
    BusinessTime,
    Caller,
    CallersSet,
    Gateway,
    GatewayReport,
    Heartbeat,
    RouteInForce,
    StreamLine,
)

REPORTS_TOPIC = "serving.reports"
"""Rung after a gateway's report was stored; who judges a rollout may look at once."""

LOOK_S = 0.25
HEARTBEAT_S = 1.0


class _Look(NamedTuple):
    sequence: int
    time: BusinessTime
    callers: tuple[Caller, ...] | None


@get("/api/v1/routes/stream")
async def stream_routes(
    transactions: NamedDependency[Transactions], bell: NamedDependency[Bell], settings: NamedDependency[Settings]
) -> Stream:
    """The routes for a gateway, as JSON lines: all of them first, then each change, and a heartbeat each second."""
    lines = _lines(transactions, bell, with_callers=login_required(settings.host))
    return Stream(lines, media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})


@get("/api/v1/routes")
async def list_routes(transactions: NamedDependency[Transactions]) -> tuple[RouteInForce, ...]:
    """Which versions answer for which models."""
    found = await transactions.read(routing.every)
    return tuple(route.summary() for route in found)


@post("/api/v1/gateways/report", status_code=HTTP_204_NO_CONTENT, operation_id="report_gateway")
async def report(
    data: JSONBody[GatewayReport], transactions: NamedDependency[Transactions], bell: NamedDependency[Bell]
) -> None:
    """Take a gateway's state and cumulative counts."""
    await transactions.write(lambda tx: reports.record(tx, data))
    bell.ring(REPORTS_TOPIC)


@get("/api/v1/gateways")
async def list_gateways(
    transactions: NamedDependency[Transactions], alive: FromQuery[bool] = False
) -> tuple[Gateway, ...]:
    """Gateways that reported; with `alive` only those of the last seconds."""
    return tuple(await transactions.read(lambda tx: reports.gateways(tx, alive_only=alive)))


HANDLERS = [stream_routes, list_routes, report, list_gateways]

AUTHORIZATION = {
    "GET /api/v1/routes/stream": Role.SYSTEM,
    "GET /api/v1/routes": Role.VIEWER,
    "POST /api/v1/gateways/report": Role.SYSTEM,
    "GET /api/v1/gateways": Role.VIEWER,
}


async def _lines(transactions: Transactions, bell: Bell, *, with_callers: bool) -> AsyncIterator[bytes]:
    def look(tx: Tx) -> _Look:
        return _Look(
            tables.sequence(tx), routing.read_business_time(tx), tables.callers(tx) if with_callers else None
        )

    rung = bell.rung(routing.ROUTES_TOPIC)
    known = await transactions.read(lambda tx: routing.snapshot(tx, tables.callers(tx) if with_callers else None))
    yield _line(known)
    sequence, told, callers, told_s = known.sequence, known.time, known.callers, time.monotonic()
    while not bell.closed:
        await bell.wait(routing.ROUTES_TOPIC, LOOK_S, after=rung)
        rung = bell.rung(routing.ROUTES_TOPIC)
        seen = await transactions.read(look)
        news: list[StreamLine] = []
        if seen.sequence != sequence:
            changed = await transactions.read(partial(routing.changes, after=sequence))
            sequence = max([sequence, *(line.sequence for line in changed)])
            news.extend(changed)
        if seen.callers != callers:
            callers = seen.callers
            news.append(CallersSet(callers=callers))
        moved = (seen.time.replayed or told.replayed) and seen.time != told
        if moved or time.monotonic() - told_s >= HEARTBEAT_S:
            told, told_s = seen.time, time.monotonic()
            news.append(Heartbeat(sequence=sequence, time=told))
        for line in news:
            yield _line(line)


def _line(line: StreamLine) -> bytes:
    return msgspec.json.encode(line) + b"\n"
