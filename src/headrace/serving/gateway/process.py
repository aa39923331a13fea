"""A gateway process: everything of the serving room that runs beside control, put together and taken down."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog
import uvloop

from headrace.client.transport import Transport
from headrace.kernel.blobs import open_blob_store
from headrace.kernel.clocks import Clock, SystemClock
from headrace.kernel.ids import new_hex
from headrace.kernel.settings import Settings, http_address
from headrace.serving.feedback_nouns import Submitted, Taken
from headrace.serving.gateway.admission import LOOPBACK, Admission, hash_token, login_required
from headrace.serving.gateway.answering import Answering, FeatureReader, Moment
from headrace.serving.gateway.app import Gateway
from headrace.serving.gateway.asking import Asking
from headrace.serving.gateway.circuits import Circuits
from headrace.serving.gateway.counters import Breaker, Counters, Rates
from headrace.serving.gateway.doors import Door
from headrace.serving.gateway.explaining import Explaining
from headrace.serving.gateway.explanations import ExplanationDoor
from headrace.serving.gateway.exposition import Exposition
from headrace.serving.gateway.feedback_door import FeedbackDoor
from headrace.serving.gateway.feedback_journal import FeedbackJournal
from headrace.serving.gateway.intake import Intake
from headrace.serving.gateway.invocations import Invocations
from headrace.serving.gateway.listening import listen
from headrace.serving.gateway.measures import Measures
from headrace.serving.gateway.online_features import open_feature_reader
from headrace.serving.gateway.prediction_log import PredictionLog
from headrace.serving.gateway.reporter import News, Reporter
from headrace.serving.gateway.residency import Residency
from headrace.serving.gateway.route_follower import RouteFollower
from headrace.serving.gateway.shadowing import Shadowing
from headrace.serving.gateway.tracing import open_tracing
from headrace.serving.loading.loader import open_loader
from headrace.serving.loading.predictor import load_predictor
from headrace.serving.nouns import (
    Caller,
    GatewayReport,
    GatewayState,
    Heartbeat,
    Route,
    RouteRemoved,
    RouteSet,
    Snapshot,
    StreamLine,
)
from headrace.serving.runtimes.loaders import prepare_thread
from headrace.version import VERSION

log = structlog.get_logger()

STREAM_TIMEOUT_S = 5.0
SHADOW_PATIENCE_S = 2.0
REPORT_PATIENCE_S = 1e-6
"""One attempt: what a lost report said, the next one says again."""

FEEDBACK_PATH = "/api/v1/feedback/journal"

DoorMaker = Callable[[Answering, Callable[[], bool]], Door]
"""Makes a door of what answers and of what tells whether the gateway is ready."""


class GatewayProcess:
    """One gateway: its parts, and the order in which they start and end.

    Args:
        settings: of this process; `url` is control's address, `home` the platform's.
        name: the gateway's name; it keeps its state from one life to the next.
        port: where it listens.
        features: reads features of entities.
        clock: wall time.
        doors: wire formats beside that of `invocations`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        port: int,
        features: FeatureReader,
        clock: Clock,
        doors: Sequence[DoorMaker] = (),
    ) -> None:
        self._settings = settings
        self._name = name
        self._port = port
        self._clock = clock
        self._boot = new_hex()
        self._booted_at = clock.now()
        self._changes = 0
        token = settings.token or settings.system_token
        self._stream_transport = Transport(settings.url, token, timeout_s=STREAM_TIMEOUT_S)
        self._report_transport = Transport(
            settings.url, token, timeout_s=STREAM_TIMEOUT_S, patience_s=REPORT_PATIENCE_S
        )
        self._loaders = ThreadPoolExecutor(1, "loader", initializer=prepare_thread)
        home = settings.home
        loader = open_loader(home, open_blob_store(home, settings.blobs))
        self._residency = Residency(partial(load_predictor, loader), self._loaders, changed=self._changed)
        self._counters = Counters()
        self._rates = Rates()
        self._breaker = Breaker()
        self._circuits = Circuits()
        self._measures = Measures()
        self._explained = Measures()
        self._explaining = Explaining(loader.arrange)
        self._intake = Intake(requests=settings.requests_limit)
        self._asking = Asking(prepare_thread, crowded=self._intake.is_crowded)
        self._follower = RouteFollower(
            self._stream_transport,
            _folder(home, name) / "routes.json",
            received=self._received,
            wall=clock.now,
        )
        self._log = PredictionLog(home / "predictions", name, business_time=self._follower.business_time)
        self._journal = FeedbackJournal(home / "feedback", name, self._bring)
        self._shadows = ThreadPoolExecutor(1, "shadow", initializer=prepare_thread)
        self._shadowing = Shadowing(self._counters, self._shadows)
        answering = Answering(
            residency=self._residency,
            features=features,
            counters=self._counters,
            breaker=self._breaker,
            log=self._log,
            moment=self._moment,
            asking=self._asking,
            shadowing=self._shadowing,
            circuits=self._circuits,
            measures=self._measures,
            timeout_s=settings.request_timeout_s,
        )
        self._reading = answering.reading
        self._tracing = open_tracing(settings, gateway=name)
        self._gateway = Gateway(
            [
                Invocations(answering),
                ExplanationDoor(answering, self._explaining, self._explained),
                FeedbackDoor(self._journal, self._moment),
                *(make(answering, self._ready) for make in doors),
            ],
            ready=self._ready,
            state=self._state,
            admit=Admission(login_required=login_required(settings.host), find=self._find_caller),
            hosts=None if login_required(settings.host) else LOOPBACK,
            version=VERSION,
            intake=self._intake,
            metrics=Exposition(self._measures, self._state, explained=self._explained),
            tracing=None if self._tracing is None else self._tracing.begin,
        )
        self._told_callers: tuple[Caller, ...] | None = None
        self._callers: dict[str, Caller] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready_once = False

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then answer what is under way, write the log and report once more."""
        prepare_thread()
        self._loop = asyncio.get_running_loop()
        self._log.start()
        self._journal.start()
        known = self._follower.start()
        if known is not None:
            self._residency.replace(known.routes, known.sequence)
        reporter = Reporter(self._report_transport, report=self._report, news=self._news)
        reporting = self._loop.create_task(reporter.run())
        try:
            await listen(
                self._gateway,
                host=self._settings.host,
                port=self._port,
                began=lambda: log.info("gateway is listening", port=self._port),
                drain_s=self._settings.drain_s,
            )
        finally:
            reporting.cancel()
            self._follower.stop()
            self._residency.close()
            self._explaining.close()
            self._reading.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._shadowing.finish(), SHADOW_PATIENCE_S)
            await asyncio.to_thread(self._log.close)
            await asyncio.to_thread(self._journal.close)
            await reporter.send()
            if self._tracing is not None:
                await asyncio.to_thread(self._tracing.close)
            self._loaders.shutdown(wait=False, cancel_futures=True)
            self._shadows.shutdown(wait=False, cancel_futures=True)
            self._stream_transport.close()
            self._report_transport.close()

    def _received(self, line: StreamLine) -> None:
        """On the follower's thread: hand the line to the event loop, which owns the routes."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._apply, line)

    def _apply(self, line: StreamLine) -> None:
        match line:
            case Snapshot():
                for route in line.routes:
                    self._begin(route)
                self._residency.replace(line.routes, line.sequence)
            case RouteSet():
                self._begin(line.route)
                self._residency.set(line.route, line.sequence)
            case RouteRemoved():
                self._counters.forget_units(line.model, but_of=None)
                self._residency.remove(line.model, line.sequence)
            case Heartbeat():
                self._residency.retry()
            case _:
                pass

    def _begin(self, route: Route) -> None:
        """A route that control has set anew closes the breaker and ends former releases; the same one does not."""
        if self._residency.wanted_sequence(route.model) != route.sequence:
            self._breaker.close(route.model)
            self._circuits.forget(route.model)
            self._counters.forget_units(route.model, but_of=route.release_id)

    def _changed(self) -> None:
        self._changes += 1

    def _moment(self) -> Moment:
        return Moment(
            at=self._clock.now(),
            business_at=self._follower.business_time().now,
            control_away=self._follower.control_away(),
        )

    def _ready(self) -> bool:
        """Ready once the first routes are settled, and from then on: a later version may load beside serving."""
        self._ready_once = self._ready_once or self._residency.settled()
        return self._ready_once

    def _find_caller(self, token_hash: str) -> Caller | None:
        if self._settings.system_token and token_hash == hash_token(self._settings.system_token):
            return Caller(token_hash=token_hash, principal_id="system")
        known = self._follower.known
        callers = None if known is None else known.callers
        if callers is not self._told_callers:
            self._told_callers = callers
            self._callers = {caller.token_hash: caller for caller in callers or ()}
        caller = self._callers.get(token_hash)
        if caller is None or (caller.expires_at is not None and caller.expires_at <= self._clock.now()):
            return None
        return caller

    def _news(self) -> News:
        replayed = self._follower.known is not None and self._follower.known.time.replayed
        state = (
            self._changes,
            self._log.dropped,
            len(self._breaker.trips()),
            self._log.logged_until if replayed else None,  # without a replay it is news all the time
        )
        return News(self._counters.revision, state)

    def _bring(self, items: Sequence[Submitted]) -> None:
        """On the journal's thread: hand feedback to control."""
        self._report_transport.call("POST", FEEDBACK_PATH, items, returns=Taken)

    def _report(self, since: int = 0) -> GatewayReport:
        return GatewayReport(
            gateway=self._name,
            boot=self._boot,
            booted_at=self._booted_at,
            url=self._settings.gateway_url or http_address(self._settings.host, self._port),
            applied_sequence=self._residency.applied_sequence(),
            logged_until=self._log.logged_until,
            predictions_dropped=self._log.dropped,
            predictions_lost=self._log.lost,
            shadows_dropped=self._shadowing.dropped,
            loaded=self._residency.loaded(),
            trips=self._breaker.trips(),
            units_per_s=self._rates.look(self._counters.visits, time.monotonic()),
            counts=self._counters.totals(since),
        )

    def _state(self) -> GatewayState:
        return GatewayState(
            ready=self._ready(),
            control_away=self._follower.control_away(),
            business_now=self._follower.business_time().now,
            routes=tuple(active.route.summary() for active in self._residency.all_active()),
            switched_off=tuple(f"{each.model}/{each.version}" for each in self._circuits.open()),
            rows_waiting=self._asking.rows_waiting,
            requests=self._intake.requests,
            turned_away=self._intake.turned_away,
            report=self._report(),
        )


def run_gateway(settings: Settings, *, name: str, port: int, doors: Sequence[DoorMaker] = ()) -> None:
    """Run a gateway until SIGTERM.

    Args:
        settings: of this process; `url` is control's address.
        name: the gateway's name, for example `gateway-1`.
        port: where it listens.
        doors: wire formats beside that of `invocations`.
    """
    features = open_feature_reader(settings)
    gateway = GatewayProcess(settings, name=name, port=port, features=features, clock=SystemClock(), doors=doors)
    uvloop.run(gateway.run())


def _folder(home: Path, name: str) -> Path:
    return home / "gateways" / name
