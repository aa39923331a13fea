"""Many who write at once, and a control that dies under them: what was acknowledged is there, once and whole."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.testing.platform import TemporaryPlatform, temporary_platform

from .wire import CONTROL_ALONE, PATIENCE_S, call, new_run, port_of, run_of

pytestmark = pytest.mark.loop

MLFLOW = "/api/2.0/mlflow"
PROCESSES = 50
BATCHES = 8
POINTS = 5


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    with temporary_platform(tmp_path_factory.mktemp("writers") / "home", CONTROL_ALONE) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TemporaryPlatform]:
    """A platform of its own, on each database."""
    environment = dict(CONTROL_ALONE)
    if request.param == "postgresql":
        environment["HEADRACE_DATABASE"] = request.getfixturevalue("empty_postgresql")
    with temporary_platform(tmp_path / "home", environment) as running:
        yield running


def history_of(url: str, run_id: str, key: str) -> list[tuple[int, float]]:
    page = call(url, "GET", f"/api/v1/runs/{run_id}/metrics/{key}").json
    assert page["next_cursor"] == ""
    return [(point["step"], point["value"]) for point in page["points"]]


def test_of_two_values_of_one_param_exactly_one_is_taken(platform: TemporaryPlatform) -> None:
    """Each client holds an open connection, and both send at the same moment, time and again."""
    run_id = new_run(platform.url)
    rounds, clients = 40, 3
    start = threading.Barrier(clients)
    answers: list[list[tuple[int, Any]]] = [[] for _ in range(clients)]

    def write(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port_of(platform.url), timeout=PATIENCE_S)
        for number in range(rounds):
            pair = {"key": f"p{number}", "value": f"of {client}"}
            single, batch = {"run_id": run_id, **pair}, {"run_id": run_id, "params": [pair], "tags": [pair]}
            path, body = [("log-parameter", single), ("log-batch", batch)][(client + number) % 2]
            start.wait(PATIENCE_S)
            connection.request("POST", f"{MLFLOW}/runs/{path}", json.dumps(body))
            answer = connection.getresponse()
            answers[client].append((answer.status, json.loads(answer.read())))
        connection.close()

    threads = [threading.Thread(target=write, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    params = run_of(platform.url, run_id)["params"]
    for number in range(rounds):
        winners = [client for client in range(clients) if answers[client][number] == (200, {})]
        assert len(winners) == 1, [found[number] for found in answers]
        assert params[f"p{number}"] == f"of {winners[0]}"
        for client in range(clients):
            if client not in winners:
                status, fault = answers[client][number]
                assert (status, fault["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
                assert fault["message"].startswith("Changing param values is not allowed.")
    assert len(params) == rounds


WRITER = """
import http.client, json, sys
port, name, run_id, batches, points = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
def send(method, path, body):
    connection.request(method, path, body)
    answer = connection.getresponse()
    content = answer.read().decode()
    print(json.dumps([path, answer.status, content]), flush=True)
print("ready", flush=True)
sys.stdin.readline()
body = {"experiment_id": "0", "tags": [{"key": "of", "value": name}]}
send("POST", "/api/2.0/mlflow/runs/create", json.dumps(body))
for batch in range(batches):
    step = int(name) * batches + batch
    metrics = [{"key": f"m{m}", "value": step + m / 10, "timestamp": 1, "step": step} for m in range(points)]
    pair = {"key": f"{name} {batch}", "value": name}
    body = {"run_id": run_id, "metrics": metrics, "params": [pair], "tags": [pair]}
    send("POST", "/api/2.0/mlflow/runs/log-batch", json.dumps(body))
send("PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/of/{name}", name)
"""


def test_fifty_processes_write_at_once(on_sqlite: TemporaryPlatform) -> None:
    url, log = on_sqlite.url, on_sqlite.launched.home / "logs" / "control.log"
    run_id = new_run(url)
    command = [sys.executable, "-I", "-S", "-c", WRITER, str(port_of(url))]
    writers = [
        subprocess.Popen(
            [*command, str(number), run_id, str(BATCHES), str(POINTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:  # they begin together: none has written before all are there
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=4 * PATIENCE_S)[0] for writer in writers]
    assert {writer.returncode for writer in writers} == {0}
    answers = [json.loads(line) for lines in said for line in lines.splitlines()]
    assert Counter(status for _, status, _ in answers) == {200: PROCESSES * (BATCHES + 2)}, answers

    steps = range(PROCESSES * BATCHES)
    for point in range(POINTS):
        assert history_of(url, run_id, f"m{point}") == [(step, step + point / 10) for step in steps]
    pairs = {f"{number} {batch}": str(number) for number in range(PROCESSES) for batch in range(BATCHES)}
    run = run_of(url, run_id)
    assert (run["params"], run["tags"]) == (pairs, pairs)
    files = call(url, "GET", f"/api/v1/runs/{run_id}/artifacts?folder=of").json
    assert {entry["path"] for entry in files} == {f"of/{number}" for number in range(PROCESSES)}
    found = call(url, "POST", "/api/v1/runs/search", {"filter": "tags.`of` LIKE '%'"}).json["runs"]
    assert sorted(int(each["tags"]["of"]) for each in found) == list(range(PROCESSES))
    acknowledged = {json.loads(body)["run"]["info"]["run_id"] for path, _, body in answers if "create" in path}
    assert {each["id"] for each in found} == acknowledged
    report = on_sqlite.local.verify_audit()
    assert report.verified, report.problems
    assert "locked" not in log.read_text()
    assert "request failed" not in log.read_text()


class Writer(threading.Thread):
    """Logs batch after batch, each once, whether an answer comes or not; knows what was acknowledged."""

    def __init__(self, url: str, run_id: str, stop: threading.Event) -> None:
        super().__init__()
        self.url = url
        self.run_id = run_id
        self.stop = stop
        self.sent = 0
        self.acknowledged: list[int] = []
        self.files: list[int] = []
        self.surprises: list[Any] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port_of(self.url), timeout=PATIENCE_S)
        while not self.stop.is_set():
            number, self.sent = self.sent, self.sent + 1
            for kind, method, path, body in (
                (self.acknowledged, "POST", f"/api/v1/runs/{self.run_id}/batch", json.dumps(batch(number))),
                (self.files, "PUT", f"/api/v1/runs/{self.run_id}/artifacts/f/{number}", str(number)),
            ):
                try:
                    connection.request(method, path, body)
                    answer = connection.getresponse()
                    content = answer.read()
                except (OSError, http.client.HTTPException):  # control is dead, or has died meanwhile
                    connection.close()
                    self.stop.wait(0.02)
                    continue
                if answer.status == 200:
                    kind.append(number)
                else:
                    self.surprises.append((path, answer.status, content))
        connection.close()


def batch(number: int) -> dict[str, Any]:
    """Enough points that a batch is many statements and many pages of the database."""
    metrics = [{"key": f"m{point % 7}", "value": point, "step": number * 100 + point} for point in range(100)]
    return {"metrics": metrics, "params": {f"p{number}": number}, "tags": {f"t{number}": "x" * 500}}


def test_kill_9_of_control_in_the_middle_of_batches(platform: TemporaryPlatform) -> None:
    url = platform.url
    stop = threading.Event()
    writers = [Writer(url, new_run(url), stop) for _ in range(4)]
    for writer in writers:
        writer.start()
    try:
        killed = set()
        for _ in range(3):
            before = [len(writer.acknowledged) for writer in writers]
            deadline = time.monotonic() + PATIENCE_S
            while any(len(writer.acknowledged) < seen + 5 for writer, seen in zip(writers, before, strict=True)):
                assert time.monotonic() < deadline, "control does not answer the writers"
                time.sleep(0.01)
            killed.add(platform.launched.kill("control"))
        assert len(killed) == 3
    finally:
        stop.set()
        for writer in writers:
            writer.join(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while not answers(url):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    for writer in writers:
        assert writer.surprises == []
        run = run_of(url, writer.run_id)
        keys = [f"m{point}" for point in range(7)]
        points = {(key, step) for key in keys for step, _ in history_of(url, writer.run_id, key)}
        listed = {entry["path"] for entry in call(url, "GET", f"{files_of(writer)}?folder=f").json}
        for number in range(writer.sent):
            wanted = batch(number)
            there = [(point["key"], point["step"]) in points for point in wanted["metrics"]]
            there += [f"p{number}" in run["params"], f"t{number}" in run["tags"]]
            assert len(set(there)) == 1, f"half of batch {number}"
            assert there[0] or number not in writer.acknowledged, f"batch {number} was acknowledged and is gone"
        assert len(points) == 100 * len(run["params"])
        for number in writer.files:
            assert f"f/{number}" in listed, f"file {number} was acknowledged and is gone"
        for path in listed:
            assert call(url, "GET", f"{files_of(writer)}/{path}").body == path.removeprefix("f/").encode()
    assert list((platform.launched.home / "blobs" / "staging").iterdir()) == []
    report = platform.local.verify_audit()
    assert report.verified, report.problems
    assert report.events >= sum(len(writer.files) for writer in writers)


def files_of(writer: Writer) -> str:
    return f"/api/v1/runs/{writer.run_id}/artifacts"


def answers(url: str) -> bool:
    try:
        return call(url, "GET", "/health").status == 200
    except OSError:
        return False
