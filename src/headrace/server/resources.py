"""What the control process holds open, and what of it routes may ask for by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from litestar import Request
from litestar.di import Provide
from litestar.types import Scope

from headrace.kernel import checkpoints
from headrace.kernel.access import Principal
from headrace.kernel.bells import Bell
from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.kernel.checkpoints import SigningKey
from headrace.kernel.clocks import Clock, SystemClock
from headrace.kernel.database import Database, Transactions
from headrace.kernel.roots import ArtifactRoots, open_roots
from headrace.kernel.settings import Settings
from headrace.kernel.tickets import Tickets, open_tickets
from headrace.tracking.files import Files

ANYONE = Principal(id="anonymous", name="anonymous", roles=())


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the control process holds open.

    Attributes:
        database: opened and migrated.
        roots: where clients may keep files themselves.
        bell: rung by verbs after commits, heard by streams.
        clock: wall time.
        signing_key: signs checkpoints of the audit chain.
        tickets: proofs for callers without a login.
    """

    settings: Settings
    database: Database
    blobs: BlobStore
    roots: ArtifactRoots
    bell: Bell
    clock: Clock
    signing_key: SigningKey
    tickets: Tickets


def open_resources(settings: Settings, database: Database) -> Resources:
    """Open everything but the database.

    Raises:
        InvalidInput: a setting names no place.
        StartError: a key is damaged, or readable by others.
    """
    return Resources(
        settings=settings,
        database=database,
        blobs=open_blob_store(settings.home, settings.blobs),
        roots=open_roots(settings),
        bell=database.bell,
        clock=SystemClock(),
        signing_key=checkpoints.open_signing_key(settings.home),
        tickets=open_tickets(settings.home),
    )


def address_of(settings: Settings, scope: Scope) -> str:
    """The address for links in an answer: the one that is set, or the one that the caller used."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    return f"{scope.get('scheme', 'http')}://{host}"


def dependencies(resources: Resources) -> dict[str, Provide]:
    """What routes may ask for by name: the resources, and what is bound to who is asking."""

    def principal(request: Request[Any, Any, Any]) -> Principal:
        found = request.scope["state"].get("principal")
        return found if isinstance(found, Principal) else ANYONE

    def transactions(request: Request[Any, Any, Any]) -> Transactions:
        who = principal(request)
        here = partial(address_of, resources.settings, request.scope)
        return Transactions(resources.database, actor=who.id, workspace=who.workspace, address=here)

    def files(request: Request[Any, Any, Any]) -> Files:
        limit_bytes = resources.settings.upload_limit_bytes
        return Files(transactions(request), resources.blobs, resources.roots, limit_bytes=limit_bytes)

    constants = ("settings", "blobs", "bell", "clock", "tickets")
    provided = {name: Provide(_always(getattr(resources, name)), sync_to_thread=False) for name in constants}
    for give in (principal, transactions, files):
        provided[give.__name__] = Provide(give, sync_to_thread=False)
    return provided


def _always(value: object) -> Callable[[], object]:
    return lambda: value
