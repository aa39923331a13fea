"""The stream of routes: all first, then what changes, and the time; and the door for reports."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import TestClient
from tests.conftest import START
from tests.serving.test_routing import add_versions

from headrace.kernel import access, business_time
from headrace.kernel.access import Role
from headrace.kernel.bells import Bell
from headrace.kernel.database import Database, Transactions
from headrace.kernel.settings import Settings
from headrace.serving import routes, routing
from headrace.serving.gateway.admission import hash_token
from headrace.serving.nouns import (
    CallersSet,
    Gateway,
    GatewayReport,
    Heartbeat,
    RouteChange,
    RouteInForce,
    RouteRemoved,
    RouteSet,
    Snapshot,
    StreamLine,
)

Run = Callable[[Coroutine[Any, Any, None]], None]


class Stream:
    """Reads lines of the stream, letting the test change things in between."""

    def __init__(self, database: Database, host: str = "127.0.0.1") -> None:
        self.database = database
        self.bell = database.bell
        self._host = host
        self._lines: AsyncIterator[bytes] | None = None

    async def next(self) -> StreamLine:
        """The next line that is no heartbeat of wall time."""
        if self._lines is None:
            handler: Any = routes.stream_routes.fn
            settings = Settings(host=self._host)
            response = await handler(Transactions(self.database, actor="gateway"), self.bell, settings)
            self._lines = response.iterator
        assert self._lines is not None
        while True:
            line = await asyncio.wait_for(anext(self._lines), 10)
            decoded: StreamLine = msgspec.json.decode(line, type=StreamLine)
            if not isinstance(decoded, Heartbeat) or decoded.time.replayed:
                return decoded

    async def change(self, **change: Any) -> None:
        wanted = RouteChange(model="churn", **change)
        await asyncio.to_thread(self.database.write, lambda tx: routing.set_route(tx, wanted), actor="ana")


@pytest.fixture(autouse=True)
def registered(database: Database) -> None:
    database.write(add_versions, actor="ana")


def test_everything_comes_first_and_then_each_change(database: Database, run: Run) -> None:
    async def scenario() -> None:
        stream = Stream(database)
        await stream.change(champion=1)
        first = await stream.next()
        assert isinstance(first, Snapshot)
        assert ([route.champion for route in first.routes], first.sequence, first.callers) == ([1], 1, None)
        await stream.change(champion=1, challenger=2, weight_percent=5.0, release_id="rel_1", step=0)
        changed = await stream.next()
        assert isinstance(changed, RouteSet)
        assert (changed.sequence, changed.route.challenger) == (2, 2)
        await asyncio.to_thread(database.write, lambda tx: routing.remove(tx, "churn"), actor="ana")
        assert await stream.next() == RouteRemoved(sequence=3, model="churn")

    run(scenario())


def test_a_change_is_told_at_once_and_not_when_somebody_looks(
    database: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "LOOK_S", 60.0)

    async def scenario() -> None:
        stream = Stream(database)
        await stream.next()
        waiting = asyncio.create_task(stream.next())
        await asyncio.sleep(0.05)
        await stream.change(champion=1)
        assert isinstance(await asyncio.wait_for(waiting, 10), RouteSet)
        await asyncio.to_thread(database.write, lambda tx: routing.remove(tx, "churn"), actor="ana")
        assert isinstance(await asyncio.wait_for(stream.next(), 10), RouteRemoved)

    run(scenario())


def test_the_stream_ends_with_the_process(database: Database, run: Run) -> None:
    async def scenario() -> None:
        stream = Stream(database)
        await stream.next()
        stream.bell.close()
        with pytest.raises(StopAsyncIteration):
            await stream.next()

    run(scenario())


def test_a_replay_that_moves_the_clock_is_told_at_once(database: Database, run: Run) -> None:
    async def scenario() -> None:
        stream = Stream(database)
        assert isinstance(await stream.next(), Snapshot)
        for days in (0, 31):
            moment = START + timedelta(days=days)
            await asyncio.to_thread(
                database.write,
                lambda tx, to=moment: business_time.move(tx, to),
                actor="ana",
            )
            told = await stream.next()
            assert isinstance(told, Heartbeat)
            assert (told.time.now, told.time.replayed) == (moment, True)

    run(scenario())


def test_where_a_login_is_required_callers_are_told_by_their_hashes(database: Database, run: Run) -> None:
    def make(name: str) -> access.IssuedToken:
        def work(tx: Any) -> access.IssuedToken:
            access.create_principal(tx, name, [Role.VIEWER])
            return access.issue_token(tx, name)

        return database.write(work, actor="root")

    ana = make("ana")

    async def scenario() -> None:
        stream = Stream(database, host="0.0.0.0")
        first = await stream.next()
        assert isinstance(first, Snapshot)
        assert first.callers is not None
        assert [caller.token_hash for caller in first.callers] == [hash_token(ana.secret)]
        assert ana.secret not in str(first)
        ben = await asyncio.to_thread(make, "ben")
        told = await stream.next()
        assert isinstance(told, CallersSet)
        assert [caller.principal_id for caller in told.callers or ()] == ["ana", "ben"]
        await asyncio.to_thread(database.write, lambda tx: access.revoke_token(tx, ben.id), actor="root")
        told = await stream.next()
        assert isinstance(told, CallersSet)
        assert [caller.principal_id for caller in told.callers or ()] == ["ana"]

    run(scenario())


@pytest.fixture
def client(database: Database) -> Iterator[TestClient[Litestar]]:
    def transactions() -> Transactions:
        return Transactions(database, actor="system-gateway-1")

    app = Litestar(
        route_handlers=routes.HANDLERS,
        dependencies={
            "transactions": Provide(transactions, sync_to_thread=False),
            "bell": Provide(Bell, sync_to_thread=False),
            "settings": Provide(Settings, sync_to_thread=False),
        },
        openapi_config=None,
    )
    with TestClient(app) as made:
        yield made


def test_a_report_is_taken_and_shown(client: TestClient[Litestar], database: Database) -> None:
    report = GatewayReport(
        gateway="gateway-1", boot="b", booted_at=START, url="http://127.0.0.1:1", applied_sequence=4
    )
    answer = client.post("/api/v1/gateways/report", content=msgspec.json.encode(report))
    assert (answer.status_code, answer.content) == (204, b"")
    (gateway,) = msgspec.json.decode(client.get("/api/v1/gateways?alive=true").content, type=list[Gateway])
    assert (gateway.name, gateway.applied_sequence, gateway.last_seen) == ("gateway-1", 4, START)


def test_routes_are_listed_without_their_files(client: TestClient[Litestar], database: Database) -> None:
    change = RouteChange(model="churn", champion=1)
    database.write(lambda tx: routing.set_route(tx, change), actor="ana")
    (found,) = msgspec.json.decode(client.get("/api/v1/routes").content, type=list[RouteInForce])
    assert (found.model, found.champion, found.sequence) == ("churn", 1, 1)


def test_every_route_has_its_line_in_the_authorization_table() -> None:
    served = {
        f"{method} {path}"
        for handler in routes.HANDLERS
        for method in handler.http_methods
        for path in handler.paths
    }
    assert served == set(routes.AUTHORIZATION)
