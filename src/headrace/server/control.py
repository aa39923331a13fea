"""The control process: one HTTP application over every room's verbs, and the loops beside it. Runs no user code."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import Scope

from headrace.errors import HeadraceError
from headrace.kernel import audit, checkpoints, migrate, subscriptions
from headrace.kernel.access import Role
from headrace.kernel.bells import Bell
from headrace.kernel.database import Blocking, Database, Transactions, Tx
from headrace.kernel.settings import Settings
from headrace.project.durations import parse_duration
from headrace.protocols.mlflow import routes as mlflow_routes
from headrace.protocols.mlflow.rows import Rows
from headrace.server import composition, openapi
from headrace.server.authorization import Authorize, admitted
from headrace.server.loops import SYSTEM, Chore, Loops, looks
from headrace.server.measuring import Measuring
from headrace.server.offline import require_admin
from headrace.server.problems import on_deep_nesting, on_defect, on_headrace_error, on_http_exception
from headrace.server.resources import Resources, address_of, dependencies, open_resources
from headrace.server.security import Security
from headrace.serving.gateway.admission import login_required
from headrace.tracking import experiments, sweeping

log = structlog.get_logger()

SMALL_BODY_BYTES = 16 * 1024**2
CHECKPOINT_LOOK_S = 2.0
CHECKPOINT_LATEST_S = 60.0
RETENTION_LOOK_S = 6 * 3600.0


def build(resources: Resources) -> Litestar:
    """The control application over what the process holds open."""
    settings, database = resources.settings, resources.database
    table = composition.authorization()
    handlings = {handling.kind.name: handling for handling in composition.HANDLINGS}
    signed = checkpoints.checkpoints_path(settings.home)

    signing = threading.Lock()  # two checkpoints at once would name the same predecessor

    def sign(every: int) -> None:
        with signing:
            audit.sign_checkpoint(database, signed, resources.signing_key, every=every if signed.exists() else 1)

    chores = [
        Chore("audit checkpoints by length", CHECKPOINT_LOOK_S, partial(sign, settings.checkpoint_every)),
        Chore("audit checkpoints by time", CHECKPOINT_LATEST_S, partial(sign, 1)),
    ]
    if settings.retention:
        retention = parse_duration(settings.retention, where="HEADRACE_RETENTION", field="retention")
        sweep = partial(sweeping.sweep, Blocking(database, actor=SYSTEM), resources.blobs, retention)
        chores.append(Chore("retention", RETENTION_LOOK_S, sweep))
    loops = Loops(database, looks(list(composition.SUBSCRIBERS), handlings, list(composition.LOOKS)), chores)

    @asynccontextmanager
    async def running(_app: Litestar) -> AsyncIterator[None]:
        loops.start()
        yield
        await loops.stop()
        await asyncio.to_thread(sign, 1)

    app = Litestar(
        route_handlers=list(composition.HANDLERS),
        dependencies=dependencies(resources),
        guards=[Authorize(table)],
        exception_handlers={
            HeadraceError: on_headrace_error,
            HTTPException: on_http_exception,
            RecursionError: on_deep_nesting,
            Exception: on_defect,
        },
        lifespan=[running],
        state=State(
            {
                "handlings": handlings,
                "subscribers": composition.SUBSCRIBERS,
                "verify_audit": lambda: audit.verify(database, signed),
            }
        ),
        openapi_config=openapi.config(table),
        request_max_body_size=SMALL_BODY_BYTES,
        logging_config=None,
    )
    rows = Rows(mlflow_routes.ENDPOINTS, partial(_admit, settings, database), app.asgi_handler)
    measuring = Measuring(Security(settings, database, rows))
    app.state["metrics"] = measuring.tell
    app.asgi_handler = measuring
    return app


def _admit(settings: Settings, database: Database, scope: Scope, needed: Role) -> Transactions:
    """On whose behalf a request is served past the router."""
    route = f"{scope.get('method')} {scope['path']}"
    principal = admitted(scope["state"].get("principal"), needed, route)
    here = partial(address_of, settings, scope)
    return Transactions(database, actor=principal.id, workspace=principal.workspace, address=here)


def run(settings: Settings, _name: str, port: int) -> None:
    """Run the control process on `port` until SIGTERM."""
    database = migrate.open_database(settings)
    try:
        if login_required(settings.host):
            require_admin(database, settings.host)
        resources = open_resources(settings, database)
        database.write(partial(_prepare, resources.roots.default), actor="system")
        uvloop.run(_serve(build(resources), settings, port, resources.bell))
    finally:
        database.close()


def _prepare(artifact_root: str, tx: Tx) -> None:
    """What must be there before the first request."""
    experiments.keep_files_at(tx, artifact_root)
    subscriptions.enroll(tx, composition.SUBSCRIBERS)
    experiments.ensure_default(tx)


async def _serve(app: Litestar, settings: Settings, port: int, bell: Bell) -> None:
    server = Server(
        app, address=settings.host, port=port, interface=Interfaces.ASGI, log_enabled=False, websockets=False
    )

    def end() -> None:
        bell.close()  # the server waits for every answer under way, and a stream has no end of its own
        server.stop()  # type: ignore[no-untyped-call]

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    log.info("control is ready", port=port)
    await server.serve()
