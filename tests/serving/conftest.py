"""A gateway's parts put together in process, over models that the tests write."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.serving import models

from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.protocols.openinference.door import OpenInference
from headrace.serving.forms.inputs import Array
from headrace.serving.forms.json_forms import EntityValue
from headrace.serving.gateway.answering import Answering, Moment
from headrace.serving.gateway.app import Gateway
from headrace.serving.gateway.asking import Asking
from headrace.serving.gateway.circuits import Circuits
from headrace.serving.gateway.counters import Breaker, Counters
from headrace.serving.gateway.doors import Headers
from headrace.serving.gateway.explaining import Explaining
from headrace.serving.gateway.explanations import ExplanationDoor
from headrace.serving.gateway.invocations import Invocations
from headrace.serving.gateway.measures import Measures
from headrace.serving.gateway.prediction_log import PredictionLog
from headrace.serving.gateway.residency import Residency
from headrace.serving.gateway.shadowing import Shadowing
from headrace.serving.loading.loader import open_loader
from headrace.serving.loading.predictor import load_predictor
from headrace.serving.log.segments import CLOSED, read_segment, segments
from headrace.serving.nouns import (
    BusinessTime,
    GatewayReport,
    GatewayState,
    LoadedVersion,
    PredictionRecord,
    Route,
    RouteInForce,
    ServedVersion,
    ServedView,
)
from headrace.serving.runtimes.loaders import prepare_thread

WALL = datetime(2026, 1, 1, tzinfo=UTC)
BUSINESS = datetime(1997, 8, 1, tzinfo=UTC)
VIEW = ServedView(name="activity", version=1, spec={})


class EveryKeyIsItsFeatures:
    """Stands in for the online store: entity n has purchases n and spend -n."""

    def read(
        self, version: ServedVersion, names: Sequence[str], keys: Sequence[EntityValue], at: datetime
    ) -> Array:
        assert tuple(names) == models.NAMES
        assert at >= BUSINESS
        return np.array([[float(key), -float(key)] for key in keys])


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop go on until the condition holds."""
    give_up_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up_s
        await asyncio.sleep(0.005)


class Scope:
    """A request as RSGI describes it."""

    def __init__(self, method: str, path: str, headers: dict[str, str]) -> None:
        self.proto = "http"
        self.method = method
        self.path, _, self.query_string = path.partition("?")
        self.authority: str | None = None
        self.headers: Headers = headers  # type: ignore[assignment]


class Exchange:
    """RSGI's other side, in memory."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts
        self.read = 0
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = b""

    async def __call__(self) -> bytes:
        return b"".join(self._parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            self.read += 1
            yield part

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        assert not self.status, "answered twice"
        self.status, self.headers, self.body = status, headers, body


class Answered(msgspec.Struct):
    """An answer of the gateway."""

    status: int
    headers: dict[str, str]
    body: Any


class Bench:
    """A gateway without sockets: routes in, requests in, answers, counts and log out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs: BlobStore = open_blob_store(root)
        self.away = False
        self.business = BUSINESS
        self.clock_was_read: Callable[[], None] = lambda: None
        self.changes = 0
        self.loaders = ThreadPoolExecutor(1, initializer=prepare_thread)
        self.loader = open_loader(root, self.blobs)
        self.residency = Residency(partial(load_predictor, self.loader), self.loaders, changed=self._changed)
        self.counters = Counters()
        self.breaker = Breaker()
        self.log = PredictionLog(root / "predictions", "gateway-1", business_time=self._business_time)
        self.circuits = Circuits()
        self.measures = Measures()
        self.shadowing = Shadowing(self.counters, self.loaders)
        answering = self.answering = Answering(
            residency=self.residency,
            features=EveryKeyIsItsFeatures(),
            counters=self.counters,
            breaker=self.breaker,
            log=self.log,
            moment=self._moment,
            asking=Asking(prepare_thread),
            shadowing=self.shadowing,
            circuits=self.circuits,
            measures=self.measures,
        )
        self.explaining = Explaining(self.loader.arrange)
        self.explained = Measures()
        self.gateway = Gateway(
            [
                Invocations(answering),
                ExplanationDoor(answering, self.explaining, self.explained),
                OpenInference(answering, ready=self.residency.settled, version="1.2.3"),
            ],
            ready=self.residency.settled,
            state=self._state,
            admit=lambda token: token or "local",
            hosts=None,
            version="1.2.3",
        )

    def version(
        self, number: int, estimator: Any, *, model: str = "churn", lookup: bool = True, required: bool = True
    ) -> ServedVersion:
        directory = models.write_model(self.root / f"{model}-{number}", estimator, required=required)
        return models.store_version(self.blobs, directory, number, views=(VIEW,) if lookup else (), model=model)

    async def settle(self, route: Route) -> None:
        self.residency.replace([route], route.sequence)
        await self.loaded()

    async def loaded(self) -> None:
        await until(self.residency.settled)

    async def post(self, path: str, body: Any, **headers: str) -> Answered:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        given = {"content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return await self.request("POST", path, content, given)

    async def get(self, path: str) -> Answered:
        return await self.request("GET", path, b"", {})

    async def request(self, method: str, path: str, content: bytes, headers: dict[str, str]) -> Answered:
        exchange = Exchange(content)
        await self.gateway.__rsgi__(Scope(method, path, headers), exchange)
        text = exchange.body
        json = dict(exchange.headers)["content-type"] == "application/json"
        decodes = json and text.strip().startswith((b"{", b"["))
        return Answered(
            status=exchange.status,
            headers=dict(exchange.headers),
            body=msgspec.json.decode(text) if decodes else text,
        )

    def logged(self, model: str = "churn") -> list[PredictionRecord]:
        """Every record of the log, which is closed for it."""
        self.log.close()
        return [
            record
            for paths in segments(self.root / "predictions", model, CLOSED).values()
            for path in paths
            for record in read_segment(path)
            if record is not None
        ]

    def _moment(self) -> Moment:
        moment = Moment(at=WALL, business_at=self.business, control_away=self.away)
        self.clock_was_read()
        return moment

    def _changed(self) -> None:
        self.changes += 1

    def _business_time(self) -> BusinessTime:
        return BusinessTime(now=self.business, replayed=True)

    def _state(self) -> RouteInForce:
        active = self.residency.active("churn")
        assert active is not None
        return active.route.summary()


def route(
    *versions: ServedVersion,
    champion: int | None = None,
    challenger: int | None = None,
    weight_percent: float = 0.0,
    sequence: int = 1,
    step: int | None = 0,
    model: str = "churn",
    previous: int | None = None,
    default: float | None = None,
) -> Route:
    return Route(
        model=model,
        champion=champion,
        challenger=challenger,
        weight_percent=weight_percent,
        salt="rel_1",
        release_id="rel_1",
        step=step,
        versions=versions,
        sequence=sequence,
        previous=previous,
        default=default,
    )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A gateway without sockets."""
    made = Bench(tmp_path)
    made.log.start()
    yield made
    made.explaining.close()
    made.answering.reading.close()
    made.log.close()
    made.loaders.shutdown()


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a test's coroutine on an event loop whose thread is set up like a gateway's."""

    def start(coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run(coroutine)

    return start


@pytest.fixture
def gateway_state() -> GatewayState:
    """What a gateway says of itself."""
    report = GatewayReport(
        gateway="gateway-1",
        boot="b",
        booted_at=WALL,
        url="http://127.0.0.1:1",
        applied_sequence=7,
        predictions_dropped=2,
        predictions_lost=4,
        loaded=(
            LoadedVersion(model="churn", number=1, runtime="skops"),
            LoadedVersion(model="churn", number=2, error="damaged"),
        ),
    )
    return GatewayState(
        ready=True,
        control_away=False,
        business_now=BUSINESS,
        routes=(),
        switched_off=("churn/2",),
        turned_away=3,
        report=report,
    )
