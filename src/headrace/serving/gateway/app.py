"""The gateway's HTTP door, on Granian's own interface (RSGI): the path where microseconds are counted.

Bad requests are 4xx, failures of a model 5xx, and no error holds input data or a traceback.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from headrace.errors import (
    HeadraceError,
    InternalError,
    InvalidInput,
    NotFound,
    PermissionRefused,
    TooLarge,
    Unavailable,
)
from headrace.kernel.ids import new_hex
from headrace.serving.gateway import doors
from headrace.serving.gateway.bodies import Bodies
from headrace.serving.gateway.doors import Door, Handler, Headers, Incoming, Response, Trace
from headrace.serving.gateway.intake import Intake

log = structlog.get_logger()

BODY_LIMIT_BYTES = 16 << 20
LARGE_BODY_BYTES = 64 << 10
"""A body above this counts for what all bodies together may take."""
BODY_TIMEOUT_S = 30.0
"""A body that has not come by then gives up its place. Headers have as long, see `listening`."""
HOSTS_LIMIT = 100
"""Ways to write the names of this gateway that are remembered."""
_NO_BODY = frozenset({"GET", "HEAD"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)


class Scope(Protocol):
    """What RSGI says of a request."""

    proto: str
    method: str
    path: str
    query_string: str
    authority: str | None
    headers: Headers


class Exchange(Protocol):
    """RSGI's other side: gives the body and takes the answer."""

    def __call__(self) -> Awaitable[bytes]:
        """The whole body."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in parts."""
        ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer."""
        ...


class Gateway:
    """The RSGI application.

    Args:
        open_doors: the wire formats, asked in their order.
        ready: whether requests can be answered.
        state: what `/api/v1/gateway` shows.
        admit: takes a bearer token (None: the request has none) and tells whose it is; it may raise.
        hosts: names that a request may call this gateway by; None for any. A gateway bound to loopback knows its
            names, so that a web page cannot reach it through a name of its own.
        version: the platform's version.
        intake: how much is taken at once.
        metrics: what `/metrics` shows, and its type.
        tracing: begins a request's span; None where nobody collects them.
    """

    def __init__(
        self,
        open_doors: Sequence[Door],
        *,
        ready: Callable[[], bool],
        state: Callable[[], msgspec.Struct],
        admit: Callable[[str | None], str],
        hosts: frozenset[str] | None,
        version: str,
        intake: Intake | None = None,
        metrics: Callable[[], tuple[bytes, str]] | None = None,
        tracing: Callable[[str, Headers], Trace] | None = None,
    ) -> None:
        self._doors = tuple(open_doors)
        self._ready = ready
        self._state = state
        self._admit = admit
        self._hosts = hosts
        self._hosts_seen: set[str] = set()
        self._version = version
        self._intake = Intake() if intake is None else intake
        self._bodies = Bodies(BODY_TIMEOUT_S)
        self._metrics = metrics
        self._tracing = tracing
        self.draining = False
        """Set while the process ends: it is not ready any more, but answers what comes."""

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        """Answer one request."""
        if scope.proto != "http":
            return
        method, path, headers = scope.method, scope.path, scope.headers  # each is made anew when asked for
        given = headers.get("x-request-id")
        request_id = given if given is not None and _REQUEST_ID.fullmatch(given) else new_hex()
        refuse = doors.problem
        try:
            if self._hosts is not None:
                self._check_host(headers.get("host") or scope.authority or "")
            for door in self._doors:
                handler = door.find(method, path)
                if handler is not None:
                    refuse = door.problem
                    caller = self._admit(_token(headers))
                    response = await self._handle(handler, scope, headers, exchange, caller)
                    break
            else:
                response = self._answer(scope)
        except HeadraceError as problem:
            response = _refusal(refuse(problem), problem)
        except Exception:  # a defect of ours must not close the connection in silence
            log.exception("request failed", path=path, request_id=request_id)
            response = refuse(InternalError("a defect of the gateway; its log says more"))
        content = b"" if method == "HEAD" else response.body
        told = [("content-type", response.content_type), ("x-request-id", request_id), *response.headers]
        if self.draining:
            told.append(("connection", "close"))  # whoever asks next asks another gateway
        exchange.response_bytes(response.status, told, content)

    async def _handle(
        self, handler: Handler, scope: Scope, headers: Headers, exchange: Exchange, caller: str
    ) -> Response:
        """Let a door answer, while there is room."""
        self._intake.enter()
        try:
            if scope.method in _NO_BODY:
                return await handler(Incoming(headers, b"", scope.query_string, None, caller))
            announced = _announced(headers)
            if announced is None or announced > LARGE_BODY_BYTES:
                return await self._handle_large(handler, scope, exchange, announced, caller)
            body = await self._bodies.wait(_whole(exchange))
            incoming = Incoming(headers, body, scope.query_string, None, caller)
            if self._tracing is None:
                return await handler(incoming)
            return await self._traced(handler, incoming, scope)
        finally:
            self._intake.leave()

    async def _handle_large(
        self, handler: Handler, scope: Scope, exchange: Exchange, announced: int | None, caller: str
    ) -> Response:
        size_bytes = BODY_LIMIT_BYTES if announced is None else announced
        self._intake.hold(size_bytes)
        try:
            body = await self._bodies.wait(_parts(exchange) if announced is None else _whole(exchange))
            return await self._traced(
                handler, Incoming(scope.headers, body, scope.query_string, caller=caller), scope
            )
        finally:
            self._intake.release(size_bytes)

    async def _traced(self, handler: Handler, incoming: Incoming, scope: Scope) -> Response:
        if self._tracing is None:
            return await handler(incoming)
        trace = self._tracing(scope.path, incoming.headers)
        status = 500
        try:
            response = await handler(incoming._replace(trace=trace))
            status = response.status
        except HeadraceError as problem:
            status = problem.status
            raise
        finally:
            trace.end(status)
        return response

    def _answer(self, scope: Scope) -> Response:
        """Everything that is no prediction."""
        if scope.method in {"GET", "HEAD"}:
            if scope.path in {"/health", "/ping"}:
                return self._health()
            if scope.path == "/version":
                return Response(self._version.encode())
            if scope.path == "/metrics" and self._metrics is not None:
                self._admit(_token(scope.headers))
                content, content_type = self._metrics()
                return Response(content, content_type)
            if scope.path == "/api/v1/gateway":
                self._admit(_token(scope.headers))
                return Response(msgspec.json.encode(self._state()))
        raise NotFound(
            f"there is nothing at {scope.method} {scope.path[:200]}",
            where="path",
            fix="Predictions are at POST /models/<name>/invocations; for all else, call the platform.",
        )

    def _health(self) -> Response:
        if self.draining or not self._ready():
            raise Unavailable("not ready yet", where="gateway", fix="Ask again in a moment.")
        return Response(b"\n")

    def _check_host(self, given: str) -> None:
        if given in self._hosts_seen:
            return
        host = given.lower()
        name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
        if name not in (self._hosts or ()):
            raise PermissionRefused(
                "this gateway is bound to this machine and answers to no other name",
                where="Host",
                fix="Call it as 127.0.0.1 or localhost.",
            )
        if len(self._hosts_seen) < HOSTS_LIMIT:
            self._hosts_seen.add(given)


def _announced(headers: Headers) -> int | None:
    """The size of the body, as far as it is told and not too large."""
    announced = headers.get("content-length")
    if announced is None or not announced.isdigit():
        return None
    size_bytes = int(announced)
    if size_bytes > BODY_LIMIT_BYTES:
        raise _too_large()
    return size_bytes


async def _whole(exchange: Exchange) -> bytes:
    """A body that has told its size."""
    try:
        return await exchange()
    except RuntimeError as error:
        raise _gone() from error


async def _parts(exchange: Exchange) -> bytes:
    """A body that may be of any size, as far as it is not too large."""
    parts, size = [], 0
    try:
        async for part in exchange:
            parts.append(bytes(part))
            size += len(part)
            if size > BODY_LIMIT_BYTES:
                raise _too_large()
    except RuntimeError as error:
        raise _gone() from error
    return b"".join(parts)


def _refusal(response: Response, problem: HeadraceError) -> Response:
    """Tell who may come again when."""
    if not isinstance(problem, Unavailable):
        return response
    return response._replace(headers=(*response.headers, ("retry-after", str(problem.retry_after_s))))


def _gone() -> InvalidInput:
    return InvalidInput("the caller went away before the body was complete", where="body")


def _too_large() -> TooLarge:
    return TooLarge(f"a body has at most {BODY_LIMIT_BYTES} bytes", where="body", fix="Send fewer rows at once.")


def _token(headers: Headers) -> str | None:
    given = headers.get("authorization")
    if given is None:
        return None
    scheme, _, credentials = given.partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None
