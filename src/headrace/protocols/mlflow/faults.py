"""Errors as MLflow's clients understand them: `{"error_code", "message"}` with MLflow's codes and statuses.

A client retries 408, 429 and most 5xx for minutes, so what will fail again is never answered with one of them.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Send

from headrace.errors import (
    AlreadyExists,
    BodyTimeout,
    Conflict,
    DeadlineExceeded,
    HeadraceError,
    InvalidInput,
    NotAuthenticated,
    NotFound,
    NotServed,
    PermissionRefused,
    TooLarge,
    Unavailable,
)
from headrace.kernel.uploads import HUNG_UP, cut_off
from headrace.protocols.mlflow.prefixes import PAGE_PATHS, PREFIXES

log = structlog.get_logger()

# the first class that an error is an instance of tells its code and status
_CODES: tuple[tuple[type[HeadraceError], str, int], ...] = (
    (InvalidInput, "INVALID_PARAMETER_VALUE", 400),
    (TooLarge, "INVALID_PARAMETER_VALUE", 400),
    (AlreadyExists, "RESOURCE_ALREADY_EXISTS", 400),  # 400, and not 409: register_model looks for it
    (NotFound, "RESOURCE_DOES_NOT_EXIST", 404),
    (NotAuthenticated, "UNAUTHENTICATED", 401),
    (PermissionRefused, "PERMISSION_DENIED", 403),
    (Conflict, "RESOURCE_CONFLICT", 409),
    (NotServed, "NOT_IMPLEMENTED", 501),
    (Unavailable, "TEMPORARILY_UNAVAILABLE", 503),
    (DeadlineExceeded, "TEMPORARILY_UNAVAILABLE", 503),
    (BodyTimeout, "TEMPORARILY_UNAVAILABLE", 503),
)
_STATUSES = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
_TRACES = ("mlflow/traces", "mlflow/unified-traces")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer of 400 or more on MLflow's paths."""

    error_code: str
    message: str


def speaks(path: str) -> bool:
    """Whether a path is MLflow's, so that its errors have MLflow's shape."""
    return path.startswith(PREFIXES) or path in PAGE_PATHS


def fault(problem: HeadraceError) -> tuple[Fault, int]:
    """One of our errors as MLflow says it, and the HTTP status."""
    message = problem.message
    if problem.fix is not None:
        stop = "" if message.endswith((".", "!", "?")) else "."
        message = f"{message}{stop} {problem.fix}"
    for kind, code, status in _CODES:
        if isinstance(problem, kind):
            return Fault(error_code=code, message=message), status
    return Fault(error_code="INTERNAL_ERROR", message=message), 500


def unserved(method: str, path: str) -> tuple[Fault, int]:
    """501 with the name of the endpoint; for traces 404, at which clients fall back to going without."""
    endpoint = f"{method} {path}"
    if any(name in path for name in _TRACES):
        return Fault(error_code="ENDPOINT_NOT_FOUND", message=f"{endpoint} is not served."), 404
    return fault(NotServed(f"{endpoint} is a part of MLflow that this server does not have.", where=endpoint))


def answer(body: Fault, status: int) -> Response[bytes]:
    """The answer that carries a fault."""
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")


def on_headrace_error(_request: Request[Any, Any, Any], problem: HeadraceError) -> Response[bytes]:
    """One of our errors."""
    return answer(*fault(problem))


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the HTTP library raised."""
    path = request.scope["path"]
    if error.detail == HUNG_UP:
        return on_headrace_error(request, cut_off())
    if error.status_code >= 500:
        return on_defect(request, error)
    if error.status_code in {404, 405}:
        return answer(*unserved(request.method, path))
    code = _STATUSES.get(error.status_code, "BAD_REQUEST")
    message = f"{request.method} {path}: {error.detail}"
    return answer(Fault(error_code=code, message=message), error.status_code)


def defect(path: str, error: Exception) -> tuple[Fault, int]:
    """A defect of ours; the log has the traceback."""
    log.error("request failed", path=path, exc_info=error)
    message = "a defect of the platform; the log of control says more"
    return Fault(error_code="INTERNAL_ERROR", message=message), 500


def on_defect(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A defect of ours."""
    return answer(*defect(request.url.path, error))


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Response[Any]]] = {
    HeadraceError: on_headrace_error,
    HTTPException: on_http_exception,
    Exception: on_defect,
}


async def send_fault(problem: HeadraceError, send: Send) -> None:
    """Answer with a fault from outside the routing."""
    body, status = fault(problem)
    content = msgspec.json.encode(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    start: HTTPResponseStartEvent = {"type": "http.response.start", "status": status, "headers": headers}
    end: HTTPResponseBodyEvent = {"type": "http.response.body", "body": content, "more_body": False}
    await send(start)
    await send(end)
