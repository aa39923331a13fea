"""Who is calling, and whether a browser was tricked into it: checked before any route is looked at."""

import asyncio
import base64
import hmac
from urllib.parse import urlsplit

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from headrace.errors import HeadraceError, InvalidInput, PermissionRefused
from headrace.kernel import access
from headrace.kernel.access import Principal, Role
from headrace.kernel.database import Database
from headrace.kernel.settings import Settings
from headrace.protocols.mlflow import faults
from headrace.server.problems import send_problem
from headrace.serving.admission import LOOPBACK, login_required

READING = frozenset({"GET", "HEAD", "OPTIONS"})
OWN = "/api/v1/"
JSON = "application/json"
FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})

SYSTEM = Principal(id="system", name="system", roles=(Role.SYSTEM, Role.DEVELOPER))


class Security(ASGIMiddleware):
    """Checks Host, Origin and content type, and names the principal.

    A page on another site can make a browser send simple requests here; so a request that changes something is
    refused when it comes from another origin or carries a body that a form could have sent.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._system_token = settings.system_token
        self._loopback = not login_required(settings.host)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Refuse the request, or pass it on with `principal` in its state."""
        headers = Headers.from_scope(scope)
        try:
            self._check_origin(str(scope.get("method")), str(scope.get("path")), headers)
            scope["state"]["principal"] = await self._identify(headers)
        except HeadraceError as problem:
            foreign = faults.speaks(str(scope.get("path")))  # MLflow's clients read no other shape than theirs
            await (faults.send_fault if foreign else send_problem)(problem, send)
            return
        await next_app(scope, receive, send)

    def _check_origin(self, method: str, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if self._loopback and _host_name(host) not in LOOPBACK:
            raise PermissionRefused(
                "this platform is bound to this machine and answers to no other name",
                where="Host",
                fix="Call it as 127.0.0.1 or localhost.",
            )
        if method in READING:
            return
        origin = headers.get("origin")
        if (origin is not None and _netloc(origin) != host.lower()) or headers.get(
            "sec-fetch-site", "none"
        ) not in {"none", "same-origin"}:
            raise PermissionRefused("a page of another site sent this request", where="Origin")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        # a form can only POST; what is PUT may be any file
        if method == "POST" and (kind in FORMS or (path.startswith(OWN) and kind not in {"", JSON})):
            raise InvalidInput(f"a body of type {kind} is not taken", where="Content-Type", fix=f"Send {JSON}.")

    async def _identify(self, headers: Headers) -> Principal | None:
        token = _token(headers.get("authorization", ""))
        if token is None:
            return access.LOCAL if self._loopback else None
        if self._system_token and hmac.compare_digest(token.encode(), self._system_token.encode()):
            return SYSTEM
        return await asyncio.to_thread(self._database.read, lambda tx: access.authenticate(tx, token))


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
