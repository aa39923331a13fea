"""The control process: one HTTP application over every room's verbs, and the loops beside it. Runs no user code."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from headrace.errors import HeadraceError
from headrace.kernel import audit, checkpoints, migrate, subscriptions
from headrace.kernel.access import Principal
from headrace.kernel.bells import Bell
from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.kernel.checkpoints import SigningKey
from headrace.kernel.clocks import Clock, SystemClock
from headrace.kernel.database import Database, Transactions, Tx
from headrace.kernel.roots import ArtifactRoots, open_roots
from headrace.kernel.settings import Settings
from headrace.server import composition
from headrace.server.authorization import Authorize
from headrace.server.loops import Chore, Loops, looks
from headrace.server.offline import require_admin
from headrace.server.problems import on_deep_nesting, on_defect, on_headrace_error, on_http_exception
from headrace.server.security import Security
from headrace.serving.admission import login_required
from headrace.tracking import experiments
from headrace.tracking.files import Files
from headrace.version import VERSION

log = structlog.get_logger()

SMALL_BODY_BYTES = 16 * 1024**2
CHECKPOINT_LOOK_S = 2.0
CHECKPOINT_LATEST_S = 60.0

ANYONE = Principal(id="anonymous", name="anonymous", roles=())


def build(
    settings: Settings,
    database: Database,
    *,
    blobs: BlobStore,
    roots: ArtifactRoots,
    bell: Bell,
    clock: Clock,
    signing_key: SigningKey,
) -> Litestar:
    """The control application.

    Args:
        settings: of this process.
        database: opened and migrated.
        blobs: the platform's blob store.
        roots: where clients may keep files themselves.
        bell: rung by verbs after commits, heard by streams.
        clock: wall time.
        signing_key: signs checkpoints of the audit chain.
    """
    handlings = {handling.kind.name: handling for handling in composition.HANDLINGS}
    signed = checkpoints.checkpoints_path(settings.home)

    signing = threading.Lock()  # two checkpoints at once would name the same predecessor

    def sign(every: int) -> None:
        with signing:
            audit.sign_checkpoint(database, signed, signing_key, every=every if signed.exists() else 1)

    loops = Loops(
        database,
        looks(list(composition.SUBSCRIBERS), handlings, list(composition.LOOKS)),
        [
            Chore("audit checkpoints by length", CHECKPOINT_LOOK_S, partial(sign, settings.checkpoint_every)),
            Chore("audit checkpoints by time", CHECKPOINT_LATEST_S, partial(sign, 1)),
        ],
    )

    @asynccontextmanager
    async def running(_app: Litestar) -> AsyncIterator[None]:
        loops.start()
        yield
        await loops.stop()
        await asyncio.to_thread(sign, 1)

    return Litestar(
        route_handlers=list(composition.HANDLERS),
        dependencies=_dependencies(settings, database, blobs, roots, bell, clock),
        middleware=[Security(settings, database)],
        guards=[Authorize(composition.authorization())],
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
        openapi_config=OpenAPIConfig(
            title="Headrace",
            version=VERSION,
            path="/api",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
        ),
        request_max_body_size=SMALL_BODY_BYTES,
        logging_config=None,
    )


def _dependencies(
    settings: Settings, database: Database, blobs: BlobStore, roots: ArtifactRoots, bell: Bell, clock: Clock
) -> dict[str, Provide]:
    """What routes may ask for by name."""

    def principal(request: Request[Any, Any, Any]) -> Principal:
        found = request.scope["state"].get("principal")
        return found if isinstance(found, Principal) else ANYONE

    def transactions(request: Request[Any, Any, Any]) -> Transactions:
        who = principal(request)
        return Transactions(database, actor=who.id, workspace=who.workspace)

    constants: dict[str, Callable[[], object]] = {
        "settings": lambda: settings,
        "blobs": lambda: blobs,
        "bell": lambda: bell,
        "clock": lambda: clock,
    }
    limit_bytes = settings.upload_limit_bytes

    def files(request: Request[Any, Any, Any]) -> Files:
        return Files(transactions(request), blobs, roots, limit_bytes=limit_bytes)

    provided = {name: Provide(give, sync_to_thread=False) for name, give in constants.items()}
    provided["principal"] = Provide(principal, sync_to_thread=False)
    provided["transactions"] = Provide(transactions, sync_to_thread=False)
    provided["files"] = Provide(files, sync_to_thread=False)
    return provided


def run(settings: Settings, _name: str, port: int) -> None:
    """Run the control process on `port` until SIGTERM."""
    database = migrate.open_database(settings)
    clock = SystemClock()
    try:
        if login_required(settings.host):
            require_admin(database, settings.host)
        roots = open_roots(settings)
        database.write(partial(_prepare, roots.default), actor="system")
        signing_key = checkpoints.open_signing_key(settings.home)
        blobs = open_blob_store(settings.home, settings.blobs)
        bell = Bell()
        app = build(settings, database, blobs=blobs, roots=roots, bell=bell, clock=clock, signing_key=signing_key)
        asyncio.run(_serve(app, settings, port, bell))
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
