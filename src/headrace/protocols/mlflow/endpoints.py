"""An endpoint is a row: method, path, request, verb, role. `rows` serves them, all alike."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from litestar import Response
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from headrace.kernel.access import Role
from headrace.kernel.database import Tx
from headrace.protocols.mlflow.faults import EXCEPTION_HANDLERS

R = TypeVar("R", bound=msgspec.Struct)

Answer = dict[str, Any]


class Endpoint(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """One endpoint of MLflow's REST protocol.

    Attributes:
        path: below the prefixes, such as `mlflow/runs/get`.
        request: what it is sent; fields that MLflow knows and we need not are left out.
        work: decoded request to answer, inside a transaction.
        writes: whether it changes anything.
        role: what a caller needs; None: a viewer to read and a developer to write.
    """

    method: str
    path: str
    request: type[R]
    work: Callable[[Tx, R], Answer]
    writes: bool = False
    role: Role | None = None

    @property
    def needed(self) -> Role:
        """The role that a caller needs."""
        return self.role or (Role.DEVELOPER if self.writes else Role.VIEWER)


def reading(method: str, path: str, request: type[R], work: Callable[[Tx, R], Answer]) -> Endpoint[R]:
    """An endpoint that changes nothing."""
    return Endpoint(method=method, path=path, request=request, work=work)


def writing(method: str, path: str, request: type[R], work: Callable[[Tx, R], Answer]) -> Endpoint[R]:
    """An endpoint that changes something."""
    return Endpoint(method=method, path=path, request=request, work=work, writes=True)


def governed(method: str, path: str, request: type[R], work: Callable[[Tx, R], Answer]) -> Endpoint[R]:
    """An endpoint that changes what policies govern: the verb says who may, whatever role that takes."""
    return Endpoint(method=method, path=path, request=request, work=work, writes=True, role=Role.VIEWER)


def encode(answer: Answer) -> Response[bytes]:
    """An answer: always 200, since MLflow's clients take nothing else."""
    return Response(msgspec.json.encode(answer), status_code=200, media_type="application/json")


def mounted(
    methods: str | Sequence[str], paths: list[str], **options: Any
) -> Callable[[Callable[..., Any]], HTTPRouteHandler]:
    """A decorator that puts a function at MLflow's paths, with MLflow's errors, out of our OpenAPI."""

    def mount(serve: Callable[..., Any]) -> HTTPRouteHandler:
        return HTTPRouteHandler(
            paths,
            http_method=[HttpMethod(method) for method in ([methods] if isinstance(methods, str) else methods)],
            status_code=200,
            include_in_schema=False,
            exception_handlers=EXCEPTION_HANDLERS,
            **options,
        )(serve)

    return mount
