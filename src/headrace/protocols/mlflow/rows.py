"""MLflow's endpoints past the router: a request is found in a table, decoded, worked and encoded, and nothing else.

Clients log metric by metric and page by page through these; what a router does for each request would cost more
than most of the work itself.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from litestar.types import ASGIApp, HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

from headrace.errors import HeadraceError, InvalidInput, TooLarge
from headrace.kernel.access import Role
from headrace.kernel.database import Transactions
from headrace.protocols.mlflow import faults
from headrace.protocols.mlflow.decoding import decode_call
from headrace.protocols.mlflow.endpoints import Endpoint
from headrace.protocols.mlflow.prefixes import both

BODY_LIMIT_BYTES = 16 * 1024**2

Admit = Callable[[Scope, Role], Transactions]
"""Tells on whose behalf a request is, or refuses it."""

_PARAMETER = re.compile(r"\{(\w+):str\}")


class Rows:
    """An ASGI application that serves endpoints and passes everything else on.

    Args:
        endpoints: what is served.
        admit: asked before a body is read.
        otherwise: where everything else goes.
    """

    def __init__(self, endpoints: Sequence[Endpoint[Any]], admit: Admit, otherwise: ASGIApp) -> None:
        self._admit = admit
        self._otherwise = otherwise
        placed = [(each.method, path, each) for each in endpoints for path in both(each.path)]
        self._plain = {(method, path): each for method, path, each in placed if "{" not in path}
        self._shaped = [(method, _shape(path), each) for method, path, each in placed if "{" in path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or pass it on."""
        method, path = str(scope.get("method", "")), str(scope.get("path", ""))
        found = self._plain.get((method, path))
        parameters: Mapping[str, str] = {}
        if found is None:
            found, parameters = self._by_shape(method, path)
        if found is None:
            await self._otherwise(scope, receive, send)
            return
        try:
            transactions = self._admit(scope, found.needed)
            body = b"" if method == "GET" else await _body(receive)
            request = decode_call(method, scope["query_string"], body, parameters, found.request)
            run = transactions.write if found.writes else transactions.read
            content = msgspec.json.encode(await run(lambda tx: found.work(tx, request)))
            status = 200
        except HeadraceError as problem:
            content, status = _fault(*faults.fault(problem))
        except RecursionError:
            content, status = _fault(*faults.fault(InvalidInput("the body is nested too deeply", where="body")))
        except Exception as error:  # noqa: BLE001 - a defect is logged, and answered as one
            content, status = _fault(*faults.defect(path, error))
        await _answer(send, content, status)

    def _by_shape(self, method: str, path: str) -> tuple[Endpoint[Any] | None, Mapping[str, str]]:
        for wanted, shape, endpoint in self._shaped:
            if wanted == method and (match := shape.fullmatch(path)):
                return endpoint, match.groupdict()
        return None, {}


def _shape(path: str) -> re.Pattern[str]:
    """A path with parameters, such as `mlflow/logged-models/{model_id:str}`, as an expression."""
    parts = _PARAMETER.split(path)
    return re.compile("".join(f"(?P<{part}>[^/]+)" if at % 2 else re.escape(part) for at, part in enumerate(parts)))


async def _body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size_bytes = 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise InvalidInput("the body was cut off", where="body", fix="Send the whole request again.")
        chunks.append(event["body"])
        size_bytes += len(event["body"])
        if size_bytes > BODY_LIMIT_BYTES:
            problem = f"the body is larger than {BODY_LIMIT_BYTES} bytes"
            raise TooLarge(problem, where="body", fix="Send it in parts.")
        if not event["more_body"]:
            return b"".join(chunks)


def _fault(fault: faults.Fault, status: int) -> tuple[bytes, int]:
    return msgspec.json.encode(fault), status


async def _answer(send: Send, content: bytes, status: int) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    start: HTTPResponseStartEvent = {"type": "http.response.start", "status": status, "headers": headers}
    end: HTTPResponseBodyEvent = {"type": "http.response.body", "body": content, "more_body": False}
    await send(start)
    await send(end)
