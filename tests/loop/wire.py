"""Control alone, and requests to it as bytes: what no client library would send."""

import http.client
import json
import socket
from typing import Any, NamedTuple
from urllib.parse import urlsplit

CONTROL_ALONE = {"HEADRACE_GATEWAYS": "0", "HEADRACE_WORKERS": "0"}
PATIENCE_S = 60.0
JSON = "application/json"


class Answer(NamedTuple):
    """What came back; a status of 0 means that nothing did."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def port_of(url: str) -> int:
    return int(urlsplit(url).port or 0)


def call(url: str, method: str, path: str, body: Any = None, *, content: bytes | None = None) -> Answer:
    """One request on a connection of its own, never repeated; a body is sent as JSON, content as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(url), timeout=PATIENCE_S)
    try:
        if body is not None:
            connection.request(method, path, json.dumps(body).encode(), {"Content-Type": JSON})
        else:
            connection.request(method, path, content)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    finally:
        connection.close()


def send(url: str, request: bytes) -> Answer:
    """Send a request as bytes, and wait for the answer; it has to ask for the connection to be closed."""
    with socket.create_connection(("127.0.0.1", port_of(url)), timeout=PATIENCE_S) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65_536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return Answer(int(head.split(b" ", 2)[1]), body) if head else Answer(0, b"")


def request_of(method: str, target: str, content: bytes = b"") -> bytes:
    """A request whose target is sent as it is, whatever is in it."""
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(content)}"
    return f"{head}\r\n\r\n".encode("latin-1") + content


def cut_off(url: str, request: str, rest: bytes, *, hangs_up: bool) -> None:
    """Send a request whose body is not whole, then close the connection, or only one's own side of it."""
    head = f"{request} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    with socket.create_connection(("127.0.0.1", port_of(url)), timeout=PATIENCE_S) as connection:
        connection.sendall(head + rest)
        if not hangs_up:
            connection.shutdown(socket.SHUT_WR)
            status = connection.recv(65_536)
            assert status == b"" or status.startswith(b"HTTP/1.1 400 "), status


def new_run(url: str) -> str:
    """A run of the experiment 0."""
    answer = call(url, "POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "0"})
    assert answer.status == 200, answer.body
    run_id: str = answer.json["run"]["info"]["run_id"]
    return run_id


def run_of(url: str, run_id: str) -> dict[str, Any]:
    """A run with what it logged, by our own door."""
    answer = call(url, "GET", f"/api/v1/runs/{run_id}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found
