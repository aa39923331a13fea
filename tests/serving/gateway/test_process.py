"""A gateway as a real process on a real port, with a stand-in for control that can go away and come back."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.serving import models
from tests.serving.conftest import route

from headrace.kernel.blobs import open_blob_store
from headrace.serving.log.segments import CLOSED, read_segment, segments
from headrace.serving.nouns import (
    BusinessTime,
    GatewayReport,
    GatewayState,
    Heartbeat,
    Route,
    RouteSet,
    Snapshot,
    StreamLine,
)

MAY = datetime(1997, 5, 1, tzinfo=UTC)

GATEWAY = """
import sys
from pathlib import Path
from headrace.kernel.settings import load_settings
from headrace.serving.gateway.process import run_gateway
home, url, port = sys.argv[1:]
run_gateway(load_settings(home=Path(home), url=url), name="gateway-1", port=int(port))
"""


class StandInControl:
    """Streams routes and takes reports, as control does."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.lines: list[StreamLine] = []
        self.reports: list[GatewayReport] = []
        self.port = free_port()
        self._server: ThreadingHTTPServer | None = None
        self._ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def requests(self) -> int:
        """Everything that was counted, as control would add it up."""
        counted = [counts for report in self.reports for counts in report.counts]
        newest = {(counts.version, counts.release_id, counts.step): counts.requests for counts in counted}
        return sum(newest.values())

    def start(self) -> None:
        control = self
        self._ended = ended = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                sent = 0
                self._line(control.snapshot)
                while not ended.is_set():
                    for line in control.lines[sent:]:
                        self._line(line)
                        sent += 1
                    self._line(Heartbeat(sequence=control.snapshot.sequence, time=control.snapshot.time))
                    ended.wait(0.05)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                control.reports.append(msgspec.json.decode(body, type=GatewayReport))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

            def _line(self, line: StreamLine) -> None:
                self.wfile.write(msgspec.json.encode(line) + b"\n")
                self.wfile.flush()

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self._ended.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], bool], *, within_s: float = 30) -> None:
    give_up_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


class Running:
    """The gateway process and a client of it."""

    def __init__(self, home: Path, control: StandInControl) -> None:
        self.home = home
        self.environment: dict[str, str] = {}
        self.port = free_port()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10)
        self._control = control
        self.process = self._spawn()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", GATEWAY, str(self.home), self._control.url, str(self.port)]
        return subprocess.Popen(command, env=os.environ | self.environment)

    def healthy(self) -> bool:
        try:
            return self.client.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def predict(self, number: int = 1) -> httpx.Response:
        row = {"purchases": float(number), "spend": 2.0}
        return self.client.post("/models/churn/invocations", json={"dataframe_records": [row]})

    def state(self) -> GatewayState:
        return msgspec.json.decode(self.client.get("/api/v1/gateway").content, type=GatewayState)

    def end(self, number: signal.Signals) -> int:
        os.kill(self.process.pid, number)
        return self.process.wait(20)

    def restart(self, **environment: str) -> None:
        self.environment = environment
        self.process = self._spawn()

    def logged(self) -> list[str]:
        return [
            record.prediction_id
            for paths in segments(self.home / "predictions", "churn", CLOSED).values()
            for path in paths
            for record in read_segment(path)
            if record is not None
        ]


@pytest.fixture
def routes(tmp_path: Path) -> list[Route]:
    blobs = open_blob_store(tmp_path / "home")
    estimators = [models.binary_model(), models.binary_model(flip=True), models.forest(trees=200)]
    versions = [
        models.store_version(blobs, models.write_model(tmp_path / f"model-{number}", estimator), number)
        for number, estimator in enumerate(estimators, start=1)
    ]
    return [route(*versions, champion=1, sequence=1), route(*versions, champion=2, sequence=2)]


@pytest.fixture
def control(routes: list[Route]) -> Iterator[StandInControl]:
    made = StandInControl(Snapshot(sequence=1, routes=(routes[0],), time=BusinessTime(now=MAY, replayed=True)))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def gateway(tmp_path: Path, control: StandInControl) -> Iterator[Running]:
    running = Running(tmp_path / "home", control)
    eventually(running.healthy)
    yield running
    running.client.close()
    if running.process.poll() is None:
        running.end(signal.SIGKILL)


def test_it_follows_control_survives_it_and_loses_nothing_on_the_way_out(
    gateway: Running, control: StandInControl, routes: list[Route]
) -> None:
    answered: list[str] = []

    def ask() -> int:
        answer = gateway.predict(len(answered)).raise_for_status().json()
        answered.extend(answer["prediction_ids"])
        return int(answer["versions"][0])

    assert ask() == 1
    control.lines.append(RouteSet(sequence=2, route=routes[1]))
    eventually(lambda: ask() == 2)
    eventually(lambda: control.reports[-1].applied_sequence == 2)
    eventually(lambda: control.requests() == len(answered))
    assert gateway.state().business_now == MAY

    control.stop()
    eventually(lambda: gateway.state().control_away)
    assert ask() == 2
    control.start()
    eventually(lambda: control.requests() == len(answered))

    assert gateway.end(signal.SIGTERM) == 0
    assert sorted(gateway.logged()) == sorted(answered)


def test_killed_and_started_while_control_is_away_it_serves_what_it_knew(
    gateway: Running, control: StandInControl, routes: list[Route]
) -> None:
    control.lines.append(RouteSet(sequence=2, route=routes[1]))
    eventually(lambda: gateway.predict().json()["versions"] == [2])
    for number in range(20):
        gateway.predict(number).raise_for_status()
    eventually(lambda: len(list(gateway.home.glob("predictions/*/*/*.open"))) == 1)
    time.sleep(0.2)  # longer than records wait for the disk
    control.stop()
    assert gateway.end(signal.SIGKILL) == -signal.SIGKILL
    gateway.restart()
    eventually(gateway.healthy)
    assert gateway.predict().json()["versions"] == [2]
    assert len(gateway.logged()) >= 21
    assert gateway.state().business_now == MAY


def test_a_request_under_way_is_answered_when_it_ends(gateway: Running) -> None:
    rows = [{"purchases": float(number), "spend": 2.0} for number in range(10_000)]
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(
            gateway.client.post("/models/churn/versions/3/invocations", json={"dataframe_records": rows})
        )

    caller = threading.Thread(target=ask)
    caller.start()
    time.sleep(0.15)
    assert gateway.end(signal.SIGTERM) == 0
    caller.join()
    assert [answer.status_code for answer in answers] == [200]
    assert len(gateway.logged()) == 10_000


class Load:
    """Callers who ask again as soon as they are answered, until they are told to close, or nobody answers."""

    def __init__(self, port: int, callers: int = 4) -> None:
        self.ids: list[str] = []
        self.failed: list[object] = []
        self._port = port
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(callers)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)) as connection:
            self._ask_on(connection)

    def _ask_on(self, connection: http.client.HTTPConnection) -> None:
        body = json.dumps({"dataframe_records": [{"purchases": 1.0, "spend": 2.0}]})
        headers = {"content-type": "application/json"}
        while not self._ended.is_set():
            try:
                connection.request("POST", "/models/churn/invocations", body, headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(error)
                return
            if answer.status != 200 or answer.headers.get(
                "x-headrace-fallback"
            ):  # a default is no answer of a model
                self.failed.append(content)
                return
            self.ids += json.loads(content)["prediction_ids"]
            if answer.headers.get("connection") == "close":  # a load balancer would send the next one elsewhere
                return


def test_told_to_end_under_load_it_fails_no_request_and_logs_each(gateway: Running) -> None:
    gateway.end(signal.SIGKILL)
    gateway.restart(HEADRACE_DRAIN_S="0.7")
    eventually(gateway.healthy)
    load = Load(gateway.port)
    eventually(lambda: len(load.ids) > 100)
    os.kill(gateway.process.pid, signal.SIGTERM)
    eventually(lambda: not gateway.healthy())
    assert gateway.predict().status_code == 200  # not ready any more, but it answers who comes
    assert gateway.process.wait(20) == 0
    load.end()
    assert load.failed == []
    logged = gateway.logged()
    assert set(load.ids) <= set(logged)
    assert len(logged) == len(load.ids) + 1


def test_killed_under_load_it_counts_and_reports_what_was_lost(gateway: Running, control: StandInControl) -> None:
    """Of what was answered only the last may be missing, and no more of it than is told."""
    load = Load(gateway.port)
    eventually(lambda: len(load.ids) > 500)
    assert gateway.end(signal.SIGKILL) == -signal.SIGKILL
    load.end()
    gateway.restart()
    eventually(gateway.healthy)
    eventually(lambda: control.reports[-1].boot != control.reports[0].boot)
    told = control.reports[-1].predictions_lost
    missing = set(load.ids) - set(gateway.logged())
    assert len(missing) <= told
    assert missing <= set(load.ids[-told - 8 :])
    assert told < len(load.ids)  # what had been written is not among it
    gateway.end(signal.SIGTERM)
    gateway.restart()
    eventually(gateway.healthy)
    assert gateway.state().report.predictions_lost == told  # ever, and an orderly end adds nothing
