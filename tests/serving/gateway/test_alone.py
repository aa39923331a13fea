"""A model served alone, as a real process, at the paths of MLflow's scoring server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.serving import models
from tests.serving.gateway.test_process import eventually, free_port

from headrace.training.answers import BACKGROUND_FILE

HEADRACE = Path(sys.executable).with_name("headrace")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    directory = models.write_model(tmp_path / "churn", models.binary_model())
    background = {"columns": list(models.NAMES), "data": models.features()[:20].tolist()}
    (directory / BACKGROUND_FILE).write_text(json.dumps(background))
    port = free_port()
    command = [str(HEADRACE), "serve", str(directory), "--port", str(port)]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=said)
    address = f"http://127.0.0.1:{port}"

    def healthy() -> bool:
        assert process.poll() is None
        try:
            return httpx.get(f"{address}/ping").status_code == 200
        except httpx.TransportError:
            return False

    eventually(healthy)
    yield address
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(20) == 0
    assert "/invocations" in (tmp_path / "said").read_text()


def test_a_directory_answers_at_mlflows_paths_and_at_our_own(address: str) -> None:
    body = {"dataframe_split": {"columns": list(models.NAMES), "data": [[1.0, 2.0]]}}
    expected = models.binary_model().predict_proba(np.array([[1.0, 2.0]]))[:, 1].tolist()
    for path in ("/invocations", "/models/churn/invocations", "/models/churn/versions/1/invocations"):
        answer = httpx.post(address + path, json=body)
        assert answer.json()["predictions"] == pytest.approx(expected)
    for path in ("/explain", "/models/churn/explain", "/models/churn/versions/1/explain"):
        (explained,) = httpx.post(address + path, json=body, timeout=60).json()["explanations"]
        assert explained["prediction"] == pytest.approx(expected[0])
        assert 1 / (1 + np.exp(-explained["sum"])) == pytest.approx(expected[0])
    assert 'headrace_explanation_duration_seconds_count{method="linear"' in httpx.get(f"{address}/metrics").text
    refused = httpx.post(f"{address}/invocations", json={"dataframe_records": [{"purchases": 1}]})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "BAD_REQUEST")
    entities = httpx.post(f"{address}/invocations", json={"entities": {"customer_id": [1]}})
    assert entities.status_code == 400
    assert httpx.get(f"{address}/v2/models/churn").json()["versions"] == ["1"]
    assert httpx.get(f"{address}/api/v1/gateway").json() == {"model": "churn", "version": 1, "ready": True}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-folder"], "models:/NAME/NUMBER"),
        (["models:/churn/3"], "no platform runs here"),
        (["churn", "--host", "0.0.0.0"], "HEADRACE_TOKEN"),
    ],
)
def test_what_cannot_be_served_says_what_to_do(arguments: list[str], words: str, tmp_path: Path) -> None:
    models.write_model(tmp_path / "churn", models.binary_model())
    ended = subprocess.run(
        [HEADRACE, "serve", *arguments, "--port", "0"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert words in " ".join(ended.stderr.split())
