"""The gateway's HTTP door: a bare ASGI application, since this is the path where microseconds are counted.

Bad requests are 4xx, failures of a model 5xx, and no error holds input data or a traceback.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

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
from headrace.serving.answering import Answering, Question
from headrace.serving.nouns import Purpose

log = structlog.get_logger()

BODY_LIMIT_BYTES = 16 << 20
UNIT_LENGTH = 1_000

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = Mapping[bytes, bytes]

_JSON = b"application/json"
_INVOCATIONS = re.compile(r"/models/(?P<model>[^/]+)(?:/versions/(?P<number>[0-9]{1,9}))?/invocations")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")


class Gateway:
    """The ASGI application.

    Args:
        answering: answers invocations.
        ready: whether requests can be answered.
        state: what `/api/v1/gateway` shows.
        admit: takes a bearer token (None: the request has none) and raises `NotAuthenticated` to refuse it.
        hosts: names that a request may call this gateway by; None for any. A gateway bound to loopback knows its
            names, so that a web page cannot reach it through a name of its own.
        version: the platform's version.
    """

    def __init__(
        self,
        answering: Answering,
        *,
        ready: Callable[[], bool],
        state: Callable[[], msgspec.Struct],
        admit: Callable[[str | None], None],
        hosts: frozenset[str] | None,
        version: str,
    ) -> None:
        self._answering = answering
        self._ready = ready
        self._state = state
        self._admit = admit
        self._hosts = hosts
        self._version = version
        self.draining = False
        """Set while the process ends: it is not ready any more, but answers what comes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        try:
            status, content_type, content = await self._answer(scope, headers, receive)
        except HeadraceError as problem:
            status, content_type, content = problem.status, _JSON, _problem(problem)
        except Exception:  # a defect of ours must not close the connection in silence
            log.exception("request failed", path=scope["path"], request_id=request_id.decode())
            defect = InternalError("a defect of the gateway; its log says more")
            status, content_type, content = defect.status, _JSON, _problem(defect)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", content_type),
                    (b"content-length", b"%d" % len(content)),
                    (b"x-request-id", request_id),
                ],
            }
        )
        body = b"" if scope["method"] == "HEAD" else content
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive) -> tuple[int, bytes, bytes]:
        self._check_host(headers)
        method, path = scope["method"], scope["path"]
        if method == "POST":
            found = _INVOCATIONS.fullmatch(path)
            if found is not None:
                self._admit(_token(headers))
                question = await _question(found, headers, receive)
                return 200, _JSON, await self._answering.answer(question)
        elif method in {"GET", "HEAD"}:
            if path in {"/health", "/ping"}:
                return self._health()
            if path == "/version":
                return 200, _JSON, self._version.encode()
            if path == "/api/v1/gateway":
                self._admit(_token(headers))
                return 200, _JSON, msgspec.json.encode(self._state())
        raise NotFound(
            f"there is nothing at {method} {path[:200]}",
            where="path",
            fix="Predictions are at POST /models/<name>/invocations.",
        )

    def _health(self) -> tuple[int, bytes, bytes]:
        if self.draining or not self._ready():
            raise Unavailable("not ready yet", where="gateway", fix="Ask again in a moment.")
        return 200, _JSON, b"\n"

    def _check_host(self, headers: Headers) -> None:
        if self._hosts is None:
            return
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
        if name not in self._hosts:
            raise PermissionRefused(
                "this gateway is bound to this machine and answers to no other name",
                where="Host",
                fix="Call it as 127.0.0.1 or localhost.",
            )


async def _question(found: re.Match[str], headers: Headers, receive: Receive) -> Question:
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != _JSON:
        raise InvalidInput(
            "the body must be JSON", where="Content-Type", fix="Send Content-Type: application/json."
        )
    number = found["number"]
    unit = headers.get(b"x-unit", b"").decode("latin-1") or None
    if unit is not None and len(unit) > UNIT_LENGTH:
        raise TooLarge(f"a unit has at most {UNIT_LENGTH} characters", where="X-Unit")
    return Question(
        model=found["model"],
        number=None if number is None else int(number),
        body=await _body(headers, receive),
        unit=unit,
        purpose=_purpose(headers, pinned=number is not None),
    )


def _purpose(headers: Headers, *, pinned: bool) -> Purpose:
    given = headers.get(b"x-headrace-purpose")
    if given is None:
        return Purpose.LIVE
    try:
        purpose = Purpose(given.decode("latin-1"))
    except ValueError:
        raise InvalidInput(
            "there is no such purpose", where="X-Headrace-Purpose", fix=f"Use one of {', '.join(Purpose)}."
        ) from None
    if purpose is Purpose.STAGING and not pinned:
        raise InvalidInput(
            "a staging request names its version, or it would count for the rollout",
            where="X-Headrace-Purpose",
            fix="Send it to /models/<name>/versions/<number>/invocations.",
        )
    return purpose


async def _body(headers: Headers, receive: Receive) -> bytes:
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > BODY_LIMIT_BYTES:
        raise _too_large()
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > BODY_LIMIT_BYTES:
            raise _too_large()
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInput("the caller went away before the body was complete", where="body")
        part: bytes = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > BODY_LIMIT_BYTES:
            raise _too_large()
    return b"".join(parts)


def _too_large() -> TooLarge:
    return TooLarge(f"a body has at most {BODY_LIMIT_BYTES} bytes", where="body", fix="Send fewer rows at once.")


def _token(headers: Headers) -> str | None:
    scheme, _, credentials = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None


def _request_id(headers: Headers) -> bytes:
    given = headers.get(b"x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else new_hex().encode()


def _problem(problem: HeadraceError) -> bytes:
    return msgspec.json.encode(
        {
            "error": {
                "code": problem.code,
                "message": problem.message,
                "where": problem.where,
                "fix": problem.fix,
            }
        }
    )
