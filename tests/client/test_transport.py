"""What the transport repeats, what it never repeats, and what it makes of answers that are not ours."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from headrace.client.transport import Transport, retry_quietly
from headrace.errors import Conflict, DeadlineExceeded, InternalError, Unavailable

Answer = tuple[int, bytes] | None
"""Status and body; None closes the connection without a word, as a server that is killed does."""


class Server(HTTPServer):
    """Gives the answers of a list, one a request, the last one again and again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.requests: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(f"{self.command} {self.path}")
        answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        self.close_connection = True
        if answer is not None:
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names that the library calls

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    serving = Server()
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield serving
    serving.shutdown()
    thread.join()
    serving.server_close()


@pytest.fixture
def transport(server: Server) -> Iterator[Transport]:
    retry_quietly()
    made = Transport(f"http://127.0.0.1:{server.server_port}", patience_s=5.0)
    yield made
    made.close()


def test_a_change_whose_answer_is_lost_is_not_repeated(server: Server, transport: Transport) -> None:
    server.answers = [None, (200, b"1")]
    with pytest.raises(Unavailable):
        transport.call("POST", "/pay", {}, returns=int)
    assert server.requests == ["POST /pay"]


def test_what_is_harmless_to_repeat_is_repeated(server: Server, transport: Transport) -> None:
    server.answers = [None, (503, b""), (200, b"1")]
    assert transport.call("GET", "/read", returns=int) == 1
    server.answers = [None, (200, b"2")]
    assert transport.call("POST", "/set", {}, returns=int, repeatable=True) == 2
    assert server.requests == ["GET /read"] * 3 + ["POST /set"] * 2


def test_what_came_too_late_is_not_asked_again(server: Server, transport: Transport) -> None:
    error = {"code": "DEADLINE_EXCEEDED", "message": "the time is over", "where": None, "fix": None}
    server.answers = [(504, json.dumps({"error": error}).encode())]
    with pytest.raises(DeadlineExceeded):
        transport.call("GET", "/read", returns=int)
    assert server.requests == ["GET /read"]


def test_an_upload_that_can_be_sent_again_is(server: Server, transport: Transport) -> None:
    server.answers = [None, (200, b"1")]
    assert transport.upload("/blob", b"content", returns=int) == 1
    server.answers = [None, (200, b"1")]
    with pytest.raises(Unavailable):
        transport.upload("/blob", iter([b"content"]), returns=int)


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
def test_a_change_that_never_arrived_is_sent_again(
    server: Server, transport: Transport, monkeypatch: pytest.MonkeyPatch, error: type[httpx.TransportError]
) -> None:
    send = httpx.Client.request
    failures = iter([error("away"), error("away")])

    def request(client: httpx.Client, *arguments: Any, **options: Any) -> httpx.Response:
        for failure in failures:
            raise failure
        return send(client, *arguments, **options)

    monkeypatch.setattr(httpx.Client, "request", request)
    server.answers = [(200, b"1")]
    assert transport.call("POST", "/pay", {}, returns=int) == 1
    assert server.requests == ["POST /pay"]


def test_one_of_our_errors_comes_back_as_itself(server: Server, transport: Transport) -> None:
    error = {"code": "CONFLICT", "message": "it has moved on", "where": "release/1", "fix": "Look again."}
    server.answers = [(409, json.dumps({"error": error}).encode())]
    with pytest.raises(Conflict, match="it has moved on") as raised:
        transport.call("GET", "/release", returns=int)
    assert raised.value.where == "release/1"
    assert raised.value.fix == "Look again."


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize("body", [b"<html>hello</html>", b'{"error": 1}', b"[]", b'"no"'])
def test_the_answer_of_another_program_is_one_clear_error(
    server: Server, transport: Transport, status: int, body: bytes
) -> None:
    server.answers = [(status, body)]
    with pytest.raises(InternalError):
        transport.call("GET", "/", returns=int)


def test_an_address_without_its_scheme_is_told() -> None:
    transport = Transport("127.0.0.1:8470", patience_s=0.0)
    with pytest.raises(Unavailable) as raised:
        transport.call("GET", "/api/v1/clock", returns=dict)
    assert "http://127.0.0.1:8470" in str(raised.value.fix)
