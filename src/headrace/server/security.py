"""Who is calling, and whether a browser was tricked into it: checked before any route is looked at."""

import asyncio
import base64
import hmac
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from litestar.types import ASGIApp, Receive, Scope, Send

from headrace.errors import HeadraceError, InvalidInput, PermissionRefused
from headrace.kernel import access
from headrace.kernel.access import Principal, Role
from headrace.kernel.database import Database
from headrace.kernel.settings import Settings
from headrace.protocols.mlflow import faults
from headrace.server.problems import send_problem
from headrace.serving.gateway.admission import LOOPBACK, login_required

READING = frozenset({"GET", "HEAD", "OPTIONS"})
OWN = "/api/v1/"
JSON = "application/json"
_READ = frozenset({b"host", b"origin", b"sec-fetch-site", b"content-type", b"authorization"})
FORM = "application/x-www-form-urlencoded"
FORMS = frozenset({FORM, "multipart/form-data", "text/plain"})
TICKETED_FORM = re.compile(r"/approvals/[\w-]{1,64}/decide", re.ASCII)
"""The one page with a form: what it sends carries a ticket, which no other site can know."""

SYSTEM = Principal(id="system", name="system", roles=(Role.SYSTEM, Role.DEVELOPER))


class Security:
    """An ASGI application that checks Host, Origin and content type, and names the principal for the one behind it.

    A page on another site can make a browser send simple requests here; so a request that changes something is
    refused when it comes from another origin or carries a body that a form could have sent.
    """

    def __init__(self, settings: Settings, database: Database, guarded: ASGIApp) -> None:
        self._database = database
        self._guarded = guarded
        self._system_token = settings.system_token
        self._loopback = not login_required(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on with `principal` in its state."""
        headers = {name: value for name, value in scope["headers"] if name in _READ}
        path = str(scope.get("path"))
        try:
            self._check_origin(str(scope.get("method")), path, headers)
            scope["state"]["principal"] = await self._identify(headers)
        except HeadraceError as problem:
            foreign = faults.speaks(path)  # MLflow's clients read no other shape than theirs
            await (faults.send_fault if foreign else send_problem)(problem, send)
            return
        await self._guarded(scope, receive, send)

    def _check_origin(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        if self._loopback and not _is_loopback(host):
            raise PermissionRefused(
                "this platform is bound to this machine and answers to no other name",
                where="Host",
                fix="Call it as 127.0.0.1 or localhost.",
            )
        if method in READING:
            return
        origin = headers.get(b"origin")
        foreign = origin is not None and _netloc(origin.decode("latin-1")) != host.lower()
        if foreign or headers.get(b"sec-fetch-site", b"none") not in {b"none", b"same-origin"}:
            raise PermissionRefused("a page of another site sent this request", where="Origin")
        kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        if kind == FORM and TICKETED_FORM.fullmatch(path):
            return
        # a form can only POST; what is PUT may be any file
        if method == "POST" and (kind in FORMS or (path.startswith(OWN) and kind not in {"", JSON})):
            raise InvalidInput(f"a body of type {kind} is not taken", where="Content-Type", fix=f"Send {JSON}.")

    async def _identify(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        token = _token(headers.get(b"authorization", b"").decode("latin-1"))
        if token is None:
            return access.LOCAL if self._loopback else None
        if self._system_token and hmac.compare_digest(token.encode(), self._system_token.encode()):
            return SYSTEM
        return await asyncio.to_thread(self._database.read, lambda tx: access.authenticate(tx, token))


@lru_cache(maxsize=64)
def _is_loopback(host: str) -> bool:
    return _host_name(host) in LOOPBACK


def _token(authorization: str) -> str | None:
    """The token of a Bearer header, or the password of a Basic one, as MLflow's clients send it.

    None without a header; a header that cannot be read is a token that nobody has.
    """
    if not authorization:
        return None
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
        except ValueError:  # no base64, or no text
            return ""
    return ""


def _host_name(host: str) -> str:
    """The name in a Host header, without its port; empty when it cannot be read."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _netloc(origin: str) -> str | None:
    """Host and port of an Origin header; None when it cannot be read."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
