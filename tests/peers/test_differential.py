"""The same calls to a real MLflow server and to ours: the same statuses, the same codes, the same answers.

Ids, times and addresses differ from server to server; lists of metrics, params and tags have no order; of refusals
the status and the code are compared, the words are ours. Every other difference is meant, and is listed here.
"""

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from headrace.testing.platform import TemporaryPlatform, temporary_platform

from . import differential_cases, differential_faults
from .differential_cases import Call

UNSTABLE = frozenset(
    {
        "artifact_location",
        "artifact_uri",
        "creation_time",
        "creation_timestamp",
        "creation_timestamp_ms",
        "last_update_time",
        "last_updated_timestamp",
        "last_updated_timestamp_ms",
        "next_page_token",
        "root_uri",
        "user_id",  # of models: MLflow without a login has none
        "workspace",  # only the newest server has it
    }
)
LONG = 6_000  # MLflow cuts params off here without a word; we keep them whole
UNORDERED = ("metrics", "params", "tags")

REPEATED_NAME = "we name the conflict; MLflow shows an error of its database"
REPEATED = "again is no change; MLflow shows an error of its database"
CHECKED = "we refuse what cannot be meant; MLflow takes it for nothing"
MEANT = {
    ("experiments/update", "new_name=first"): REPEATED_NAME,
    ("experiments/restore", "again"): "we say that it is active; MLflow, that there is none",
    ("metrics/get-history", "run_id=none"): "there is no such run; MLflow finds no points of it",
    ("runs/update", "SLEEPING"): CHECKED,
    ("metrics/get-history-bulk", "run_id="): "served at both prefixes; MLflow has it for its own pages alone",
    ("metrics/get-history-bulk", "metric_key=acc"): "likewise",
    ("runs/search", "metrics.loss < 0.3 metrics.loss > 0.1"): "two comparisons need a word between them",
    ("runs/search", "['metrics.loss', 'metrics.loss DESC']"): "a caller's mistake is 400 here, 500 there",
    ("runs/search", "status IN ("): "lists are compared with every text; in MLflow with run_id alone",
    ("runs/search", "NOTHING"): CHECKED,
    ("registered-models/search", "max_results=0"): CHECKED,
    ("logged-models/{model}/tags", "'u'"): "we answer with the model, as the protocol says",
    ("runs/get", "{infinite}"): "infinities are kept; MLflow has the largest number in their place",
    ("runs/search", "metrics.i0 <= 1.7976931348623157e308"): "likewise",
    ("runs/get", "{bare}"): "bare NaN and Infinity are kept; MLflow takes them, too, and stores a 0 at the time 0",
    ("runs/get", "{logged}"): "what is logged again is there once; MLflow has it twice",
    ("runs/outputs", "{retried}"): REPEATED,
    ("logged-models/{clf}/params", "'k'"): REPEATED,
}


@pytest.fixture(scope="module")
def real(mlflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real MLflow server on an empty database."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [mlflow_python.with_name("mlflow"), "server", "--backend-store-uri", "sqlite:///mlflow.db"]
    command += ["--port", port, "--workers", 1]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(part) for part in command], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            _await(port, folder / "log")
            yield port
        finally:
            server.terminate()
            server.wait(timeout=30)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    """A platform on which nothing has happened."""
    with temporary_platform(tmp_path_factory.mktemp("ours") / "home") as running:
        yield running


def _await(port: int, log: Path) -> None:
    for _ in range(240):
        try:
            if _send(port, Call("GET", "../../../health", {}), {})[0] == 200:
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-2000:])


def _send(port: int, call: Call, names: dict[str, str]) -> tuple[int, Any]:
    path = "/health" if call.path.endswith("health") else f"/api/2.0/mlflow/{_filled(call.path, names)}"
    fields = _filled(call.fields, names)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    if call.method == "GET":
        connection.request("GET", f"{path}?{urlencode(fields, doseq=True)}" if fields else path)
    else:
        connection.request(call.method, path, json.dumps(fields), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    try:
        body = json.loads(content)
    except ValueError:
        body = content.decode(errors="replace")
    if call.keep:
        found = body
        for step in call.at:
            found = found[step]
        names[call.keep] = found
    return answer.status, body


def _filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        for name, found in names.items():
            value = value.replace("{" + name + "}", found)
        return value
    if isinstance(value, dict):
        return {key: _filled(each, names) for key, each in value.items()}
    return [_filled(each, names) for each in value] if isinstance(value, list) else value


def _stable(value: Any, names: dict[str, str]) -> Any:
    """An answer without what differs from server to server."""
    if isinstance(value, dict):
        if value.get("key") == "mlflow.log-model.history":  # MLflow writes it anew, with fields that are empty
            entries = [{key: each for key, each in entry.items() if each} for entry in json.loads(value["value"])]
            value = {**value, "value": str([sorted(entry.items()) for entry in entries])}
        kept = {key: _stable(each, names) for key, each in value.items() if key not in UNSTABLE}
        for key in UNORDERED:
            if isinstance(kept.get(key), list):
                kept[key] = sorted(kept[key], key=lambda each: json.dumps(each, sort_keys=True))
        return {key: each for key, each in kept.items() if each not in ([], {}, "")}
    if isinstance(value, list):
        return [_stable(each, names) for each in value]
    if isinstance(value, str):
        for name, found in names.items():
            if len(found) > 5:  # a number of one digit stands for nothing by itself
                value = value.replace(found, "{" + name + "}")
        return value[:LONG]
    return value


def _alike(theirs: tuple[int, Any], ours: tuple[int, Any]) -> bool:
    if theirs[0] >= 400 and ours[0] >= 400 and isinstance(theirs[1], dict):
        return theirs[0] == ours[0] and theirs[1]["error_code"] == ours[1]["error_code"]
    return theirs == ours


@pytest.mark.loop
def test_the_same_calls_have_the_same_answers(real: int, ours: TemporaryPlatform) -> None:
    port = int(ours.url.rpartition(":")[2])
    their_names: dict[str, str] = {}
    our_names: dict[str, str] = {}
    unmet = dict(MEANT)
    unexpected = []
    restored = 0
    calls = [*differential_cases.CALLS, *differential_faults.CALLS]
    for call in calls:
        theirs = _send(real, call, their_names)
        mine = _send(port, call, our_names)
        theirs, mine = (
            (theirs[0], _stable(theirs[1], their_names)),
            (mine[0], _stable(mine[1], our_names)),
        )
        asked = str(call.fields) + " " + "&".join(f"{key}={value}" for key, value in call.fields.items())
        if call.path == "experiments/restore":
            restored += 1
            asked = "again" if restored % 2 == 0 else asked
        if _alike(theirs, mine):
            continue
        reasons = [found for found in MEANT if found[0] == call.path and found[1] in asked]
        for found in reasons:
            unmet.pop(found, None)
        if not reasons:
            unexpected.append(f"{call.method} {call.path} {call.fields}\n  MLflow {theirs}\n  ours   {mine}")
    assert not unexpected, f"{len(unexpected)} of {len(calls)} calls\n" + "\n".join(unexpected)
    assert not unmet, "these differ no longer: take them off the list"
