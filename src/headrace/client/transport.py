"""The HTTP transport: one call, one answer or one of our errors; safe calls are tried again.

A call that changes something is repeated only when it never reached the server, or when the caller says that
repeating it is harmless.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import msgspec
import stamina

from headrace.errors import DeadlineExceeded, HeadraceError, InternalError, Unavailable, every_error

T = TypeVar("T")

READING = frozenset({"GET", "HEAD"})
GATEWAY_TROUBLE = frozenset({502, 503, 504})


class _TryAgain(Exception):
    def __init__(self, problem: HeadraceError) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Transport:
    """Calls one platform. Thread-safe; keeps its connections until `close`.

    Args:
        url: control's address, for example `http://127.0.0.1:8470`.
        token: bearer token; empty on a loopback platform without logins.
        timeout_s: seconds for one attempt.
        patience_s: seconds for which calls that may be repeated are tried again while the server is away; 0 for
            one attempt.
    """

    def __init__(self, url: str, token: str = "", *, timeout_s: float = 60.0, patience_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self.token = token
        self.patience_s = patience_s
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
        )

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        returns: type[T],
        query: Mapping[str, Any] | None = None,
        repeatable: bool | None = None,
    ) -> T:
        """Send `body` as JSON and decode the answer into `returns` (`type(None)` for none).

        Args:
            method: HTTP method.
            path: path below the platform's address.
            body: anything msgspec encodes; None sends no body.
            returns: type of the answer.
            query: query parameters; None values are left out.
            repeatable: whether repeating is harmless even if the first attempt arrived; default: GET is.

        Raises:
            HeadraceError: the class whose code the server answered with.
            Unavailable: the server cannot be reached.
        """
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        parameters = {name: value for name, value in (query or {}).items() if value is not None}
        response = self._send(
            method,
            path,
            repeatable=method in READING if repeatable is None else repeatable,
            content=content,
            headers=headers,
            params=parameters or None,  # httpx takes an empty mapping for no query at all, also for one in the path
        )
        return decode(response.content, returns)

    def upload(self, path: str, content: bytes | Iterable[bytes], *, returns: type[T]) -> T:
        """PUT raw bytes; an iterable is streamed and sent once, bytes may be sent again."""
        response = self._send(
            "PUT",
            path,
            repeatable=isinstance(content, bytes),
            content=content,
            headers={"Content-Type": "application/octet-stream"},
        )
        return decode(response.content, returns)

    @contextmanager
    def download(self, path: str) -> Iterator[Iterator[bytes]]:
        """GET raw bytes as a stream of chunks."""
        try:
            with self._http.stream("GET", path) as response:
                if response.status_code >= 400:
                    response.read()
                    raise problem_of(response)
                yield response.iter_bytes()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _send(self, method: str, path: str, *, repeatable: bool, **request: Any) -> httpx.Response:
        try:
            for attempt in stamina.retry_context(
                on=_TryAgain,
                attempts=None if self.patience_s else 1,
                timeout=self.patience_s or None,
                wait_initial=0.05,
                wait_max=1.0,
                wait_jitter=0.1,
            ):
                with attempt:
                    return self._once(method, path, repeatable=repeatable, **request)
        except _TryAgain as gave_up:
            raise gave_up.problem from gave_up
        raise InternalError("the retry loop ended without an answer")

    def _once(self, method: str, path: str, *, repeatable: bool, **request: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:  # it never arrived
            raise _TryAgain(self._unreachable(error)) from error
        except httpx.TransportError as error:
            problem = self._unreachable(error)
            if repeatable:
                raise _TryAgain(problem) from error
            raise problem from error
        if response.status_code >= 400:
            refused = problem_of(response)
            again = response.status_code in GATEWAY_TROUBLE and not isinstance(refused, DeadlineExceeded)
            if again and repeatable:
                raise _TryAgain(refused)
            raise refused
        return response

    def _unreachable(self, error: Exception) -> Unavailable:
        fix = "Start it with `headrace up`, or set HEADRACE_URL to where it runs."
        if isinstance(error, httpx.UnsupportedProtocol):
            fix = "Give an address with http:// or https://, such as http://127.0.0.1:8470."
        return Unavailable(
            f"the platform does not answer: {str(error) or type(error).__name__}", where=self.url, fix=fix
        )


def retry_quietly() -> None:
    """Keep stamina from logging every attempt of this process; the last failure is raised anyway."""
    stamina.instrumentation.set_on_retry_hooks(())


def decode(content: bytes, returns: type[T]) -> T:
    """The body as `returns`; an empty body is None.

    Raises:
        InternalError: it is something else.
    """
    try:
        return msgspec.json.decode(content or b"null", type=returns)
    except msgspec.DecodeError as error:
        raise InternalError(
            f"the answer cannot be read: {error}",
            where=getattr(returns, "__name__", str(returns)),
            fix="Is it Headrace that answers at this address, and of the same version as this client?",
        ) from error


def problem_of(response: httpx.Response) -> HeadraceError:
    """Our error for an answer of 400 or more: the class that its code names."""
    return problem_from(response.status_code, response.content, str(response.request.url))


def problem_from(status: int, content: bytes, where: str) -> HeadraceError:
    """Our error for a status and a body, whichever client they came through."""
    try:
        error = msgspec.json.decode(content)["error"]
        kind = every_error().get(error["code"], HeadraceError)
        return kind(error["message"], where=error.get("where"), fix=error.get("fix"))
    except (msgspec.DecodeError, KeyError, TypeError):
        return InternalError(f"the server answered {status} without saying why", where=where)
