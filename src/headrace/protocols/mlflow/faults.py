"""Errors as MLflow's clients understand them: `{"error_code", "message"}` with MLflow's codes and statuses.

A client retries 408, 429 and most 5xx for minutes, so what will fail again is never answered with one of them.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from headrace.errors import (
    AlreadyExists,
    Conflict,
    HeadraceError,
    InvalidInput,
    NotAuthenticated,
    NotFound,
    NotServed,
    PermissionRefused,
    TooLarge,
    Unavailable,
)
from headrace.protocols.mlflow.prefixes import PREFIXES

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
)
_STATUSES = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "ENDPOINT_NOT_FOUND", 405: "ENDPOINT_NOT_FOUND"}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer of 400 or more on MLflow's paths."""

    error_code: str
    message: str


def speaks(path: str) -> bool:
    """Whether a path is MLflow's, so that its errors have MLflow's shape."""
    return path.startswith(PREFIXES)


def fault(problem: HeadraceError) -> tuple[Fault, int]:
    """One of our errors as MLflow says it, and the HTTP status."""
    message = problem.message if problem.fix is None else f"{problem.message} {problem.fix}"
    for kind, code, status in _CODES:
        if isinstance(problem, kind):
            return Fault(error_code=code, message=message), status
    return Fault(error_code="INTERNAL_ERROR", message=message), 500


def answer(body: Fault, status: int) -> Response[bytes]:
    """The answer that carries a fault."""
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")


def on_headrace_error(_request: Request[Any, Any, Any], problem: HeadraceError) -> Response[bytes]:
    """One of our errors."""
    return answer(*fault(problem))


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the HTTP library raised."""
    code = _STATUSES.get(error.status_code, "BAD_REQUEST")
    status = 404 if error.status_code == 405 else error.status_code
    return answer(Fault(error_code=code, message=f"{request.method} {request.url.path}: {error.detail}"), status)


def on_defect(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A defect of ours; the log has the traceback."""
    log.error("request failed", path=request.url.path, exc_info=error)
    message = "a defect of the platform; the log of control says more"
    return answer(Fault(error_code="INTERNAL_ERROR", message=message), 500)


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Response[Any]]] = {
    HeadraceError: on_headrace_error,
    HTTPException: on_http_exception,
    Exception: on_defect,
}
