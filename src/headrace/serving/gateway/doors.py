"""What the gateway and its doors say to each other. A door knows one wire format and nothing of sockets."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

import msgspec

from headrace.errors import HeadraceError

JSON = "application/json"


class Headers(Protocol):
    """The headers of a request, by lower-case name."""

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a header."""
        ...


class Trace(Protocol):
    """The span of a request, where somebody collects them."""

    def tell(self, model: str, version: int | None, arm: str) -> None:
        """Who answered, or should have."""
        ...

    def end(self, status: int) -> None:
        """The request is answered."""
        ...


class Incoming(NamedTuple):
    """A request whose body has been read."""

    headers: Headers
    body: bytes
    query: str
    trace: Trace | None = None
    caller: str = ""
    """Whose request it is."""


class Response(NamedTuple):
    """An answer."""

    body: bytes
    content_type: str = JSON
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Incoming], Awaitable[Response]]


class Door(Protocol):
    """One wire format."""

    def find(self, method: str, path: str) -> Handler | None:
        """What answers at this path; None when it is none of this door's."""
        ...

    def problem(self, error: HeadraceError) -> Response:
        """An error in the format of this door, without input data or a traceback."""
        ...


def problem(error: HeadraceError) -> Response:
    """An error in the shape that all of the platform's own routes have."""
    content = {"code": error.code, "message": error.message, "where": error.where, "fix": error.fix}
    return Response(msgspec.json.encode({"error": content}), status=error.status)
