"""Errors on the wire: one JSON shape for every route, and no traceback or input data in it."""

import re
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Send

from headrace.errors import HeadraceError, InternalError, InvalidInput, NotFound, TooLarge
from headrace.kernel.uploads import HUNG_UP, cut_off
from headrace.protocols.mlflow import faults

log = structlog.get_logger()

_IN_BODY = re.compile(r"(?P<message>.*) - at `\$\.data\.?(?P<where>.*)`", re.DOTALL)
"""How msgspec tells where a body does not fit; Litestar takes a field for a dependency that has the same name."""

IN_OPENAPI = "Routes and fields are described in /api/openapi.json."


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, where, and what to do."""

    code: str
    message: str
    where: str | None = None
    fix: str | None = None


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer of 400 or more."""

    error: Problem


def body_of(problem: HeadraceError) -> ProblemBody:
    """The wire form of one of our errors."""
    return ProblemBody(
        error=Problem(code=problem.code, message=problem.message, where=problem.where, fix=problem.fix)
    )


async def send_problem(problem: HeadraceError, send: Send) -> None:
    """Answer with a problem from outside Litestar's routing."""
    content = msgspec.json.encode(body_of(problem))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    start: HTTPResponseStartEvent = {"type": "http.response.start", "status": problem.status, "headers": headers}
    body: HTTPResponseBodyEvent = {"type": "http.response.body", "body": content, "more_body": False}
    await send(start)
    await send(body)


def on_headrace_error(_request: Request[Any, Any, Any], problem: HeadraceError) -> Response[ProblemBody]:
    """One of our errors, as it is."""
    return Response(body_of(problem), status_code=problem.status, media_type="application/json")


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """What the HTTP library raised: no route, a bad parameter, a body that does not decode."""
    path = request.scope["path"]
    if faults.speaks(path):
        return faults.on_http_exception(request, error)
    problem: HeadraceError
    if error.detail == HUNG_UP:
        problem = cut_off()
    elif (misfit := _IN_BODY.fullmatch(str(error.__cause__))) is not None:
        problem = InvalidInput(misfit["message"], where=misfit["where"] or "body", fix=IN_OPENAPI)
    elif error.status_code >= 500:
        return on_defect(request, error)
    elif isinstance(error, ValidationException):
        found = [item for item in error.extra or [] if isinstance(item, dict)]
        where = ", ".join(str(item.get("key", "")) for item in found)
        detail = "; ".join(str(item.get("message", "")) for item in found)
        problem = InvalidInput(detail or error.detail, where=where or "body", fix=IN_OPENAPI)
    elif error.status_code in {404, 405}:
        problem = NotFound(f"there is nothing at {request.method} {path}", fix=IN_OPENAPI)
    elif error.status_code == 413:
        problem = TooLarge("the body is larger than this route takes")
    else:
        problem = InvalidInput(error.detail, where="request")
    return on_headrace_error(request, problem)


def on_deep_nesting(request: Request[Any, Any, Any], _error: RecursionError) -> Response[Any]:
    """A body that no decoder follows to its end."""
    problem = InvalidInput("the body is nested too deeply", where="body", fix=IN_OPENAPI)
    answer = faults.on_headrace_error if faults.speaks(request.scope["path"]) else on_headrace_error
    return answer(request, problem)


def on_defect(request: Request[Any, Any, Any], error: Exception) -> Response[ProblemBody]:
    """Anything else is ours: the log has the traceback, the caller a reference."""
    reference = request.headers.get("x-request-id", "")
    log.error("request failed", path=request.scope["path"], request_id=reference, exc_info=error)
    return on_headrace_error(request, InternalError("a defect of the platform; the log of control says more"))
