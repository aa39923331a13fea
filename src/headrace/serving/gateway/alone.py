"""One model served alone, without a platform: no routes to follow, no rollout, no log."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import msgspec

from headrace.errors import StartError
from headrace.kernel.clocks import SystemClock
from headrace.kernel.settings import Settings
from headrace.serving.gateway.admission import LOOPBACK, Admission, hash_token, login_required
from headrace.serving.gateway.answering import Answering, Moment
from headrace.serving.gateway.app import Gateway
from headrace.serving.gateway.asking import Asking
from headrace.serving.gateway.counters import Breaker, Counters
from headrace.serving.gateway.explaining import Explaining
from headrace.serving.gateway.explanations import ExplanationDoor
from headrace.serving.gateway.exposition import Exposition
from headrace.serving.gateway.intake import Intake
from headrace.serving.gateway.invocations import Invocations
from headrace.serving.gateway.listening import listen
from headrace.serving.gateway.measures import Measures
from headrace.serving.gateway.prediction_log import Era
from headrace.serving.gateway.process import DoorMaker
from headrace.serving.gateway.residency import Residency
from headrace.serving.loading.environments import Environments
from headrace.serving.loading.loader import arrange, load_alone
from headrace.serving.loading.predictor import Predictor
from headrace.serving.log.segments import Logged
from headrace.serving.nouns import Caller, Loading, Route, ServedVersion
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.loaders import prepare_thread
from headrace.version import VERSION


class Alone(msgspec.Struct, frozen=True, kw_only=True):
    """What `/api/v1/gateway` says of a model that is served alone."""

    model: str
    version: int
    ready: bool = True


async def serve_alone(
    files: ModelFiles,
    *,
    model: str,
    number: int,
    host: str,
    port: int,
    environments: Environments,
    allow_code: bool = False,
    token: str = "",
    limits: Settings = Settings(),  # noqa: B008 - it is frozen
    doors: Sequence[DoorMaker] = (),
    began: Callable[[Predictor], None] = lambda _: None,
) -> None:
    """Serve one model until SIGTERM or SIGINT.

    Args:
        files: of the model.
        model: its name.
        number: of its version.
        host: address to bind to.
        port: where.
        environments: where the model's libraries are, or are put.
        allow_code: whether it may run code of its author's when it is loaded, as pickles do.
        token: what callers must send when `host` is not this machine alone.
        limits: how long requests have, how many there may be, and how long it drains.
        doors: wire formats beside that of `invocations`.
        began: called with the loaded model as the server starts.

    Raises:
        StartError: it would be open to others without a login.
        HeadraceError: it cannot be loaded; the message says why.
    """
    if login_required(host) and not token:
        raise StartError(
            "bound to the network, callers need a token",
            where=host,
            fix="Set HEADRACE_TOKEN to a long secret that callers send as a bearer token.",
        )
    prepare_thread()
    secret = Caller(token_hash=hash_token(token), principal_id="caller")
    version = ServedVersion(model=model, number=number, digest="", files=())
    predictor = Predictor(version, load_alone(files, environments, allow_code=allow_code))
    pool = ThreadPoolExecutor(1, "predictor", initializer=prepare_thread)
    residency = Residency(lambda _: predictor, pool, changed=lambda: None)
    residency.replace([Route(model=model, champion=number, salt="", versions=(version,), sequence=1)], 1)
    clock = SystemClock()

    measures, explained = Measures(), Measures()
    explaining = _explaining(files, environments, allow_code=allow_code)
    intake = Intake(requests=limits.requests_limit)
    answering = Answering(
        residency=residency,
        features=None,
        counters=Counters(),
        breaker=Breaker(),
        log=_NoLog(clock.now()),
        moment=lambda: _moment(clock),
        asking=Asking(prepare_thread, crowded=intake.is_crowded),
        measures=measures,
        timeout_s=limits.request_timeout_s,
    )
    own = (Invocations(answering, alone=model), ExplanationDoor(answering, explaining, explained, alone=model))
    gateway = Gateway(
        [*own, *(make(answering, residency.settled) for make in doors)],
        ready=residency.settled,
        state=lambda: Alone(model=model, version=number),
        admit=Admission(login_required=login_required(host), find={secret.token_hash: secret}.get),
        hosts=None if login_required(host) else LOOPBACK,
        version=VERSION,
        intake=intake,
        metrics=Exposition(measures, explained=explained),
    )
    try:
        await listen(gateway, host=host, port=port, began=lambda: began(predictor), drain_s=limits.drain_s)
    finally:
        explaining.close()
        answering.reading.close()
        pool.shutdown()


def _moment(clock: SystemClock) -> Moment:
    now = clock.now()
    return Moment(at=now, business_at=now, control_away=False)


def _explaining(files: ModelFiles, environments: Environments, *, allow_code: bool) -> Explaining:
    loading = Loading(code=allow_code)
    return Explaining(lambda _: arrange(files, signature=None, loading=loading, environments=environments))


class _NoLog:
    """Predictions of a model that is served alone are not kept."""

    def __init__(self, began: datetime) -> None:
        self._era = Era(began)

    def begin(self) -> Era:
        return self._era

    def end(self, era: Era) -> None:
        pass

    def append(self, logged: Logged) -> None:
        pass
