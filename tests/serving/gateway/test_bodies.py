"""Bodies that never come, over real sockets: they get 408, and who comes meanwhile is answered."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from tests.serving import models
from tests.serving.gateway.test_process import eventually, free_port

IDLE = 1_200
"""More than a gateway takes requests at once."""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with serving(tmp_path) as found:
        yield found


@contextmanager
def serving(tmp_path: Path, headers_timeout_s: float = 30.0) -> Iterator[int]:
    directory = models.write_model(tmp_path / "churn", models.binary_model())
    found = free_port()
    program = (
        "from headrace.serving.gateway import app, listening; app.BODY_TIMEOUT_S = 1.0; "
        f"listening.HEADERS_TIMEOUT_S = {headers_timeout_s}; "
        "from headrace.cli.main import run; run()"
    )
    command = [sys.executable, "-c", program, "serve", str(directory), "--port", str(found)]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=said, env={"HEADRACE_REQUESTS_LIMIT": "20"})

    def healthy() -> bool:
        assert process.poll() is None
        try:
            return httpx.get(f"http://127.0.0.1:{found}/ping").status_code == 200
        except httpx.TransportError:
            return False

    eventually(healthy)
    yield found
    process.terminate()
    process.wait(20)


def answer(connection: socket.socket) -> bytes:
    connection.settimeout(20)
    return connection.recv(1_000)


def test_bodies_that_never_come_give_their_places_back(port: int) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n"
    body = {"dataframe_split": {"columns": list(models.NAMES), "data": [[1.0, 2.0]]}}
    with ExitStack() as opened:
        slow = [opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(20)]
        for connection in slow:
            connection.sendall(head + b"{")
        url = f"http://127.0.0.1:{port}/invocations"
        eventually(lambda: httpx.post(url, json=body).status_code == 503)  # all places are taken
        for connection in slow:
            told = answer(connection)
            assert told.startswith(b"HTTP/1.1 408")
        assert httpx.post(url, json=body).status_code == 200


def test_connections_that_lie_open_take_no_place(port: int) -> None:
    body = {"dataframe_split": {"columns": list(models.NAMES), "data": [[1.0, 2.0]]}}
    with ExitStack() as opened:
        for place in range(IDLE):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
            if place % 2:
                connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: loc")
        for _ in range(20):
            assert httpx.post(f"http://127.0.0.1:{port}/invocations", json=body).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"P", b"PRI * HTTP/2.0\r\n", b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_connection_on_which_nothing_comes_is_closed(tmp_path: Path, sent: bytes) -> None:
    with (
        serving(tmp_path, headers_timeout_s=1.0) as port,
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.sendall(sent)
        connection.settimeout(10)
        with suppress(ConnectionResetError):
            while connection.recv(1_000):
                pass
