"""An unmodified MLflow client logs by autologging, registers, and loads the same model back."""

import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest

from headrace.testing.platform import TemporaryPlatform

CLIENT = Path(__file__).with_name("mlflow_client.py")


@pytest.mark.loop
def test_an_unmodified_client_is_at_home(mlflow_python: Path, platform: TemporaryPlatform, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MPLCONFIGDIR": str(tmp_path),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # an answer of 5xx shall fail the test, not be waited out
    }
    finished = subprocess.run(
        [str(mlflow_python), str(CLIENT), platform.url],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stderr
    seen = json.loads(finished.stdout.splitlines()[-1])
    assert len(seen["loaded"]) == 7

    # what the client logged is there for our own API too
    run = httpx.get(f"{platform.url}/api/v1/runs/{seen['run']}").raise_for_status().json()
    assert run["params"] == {"depth": "3", "kind": "line"}
    assert run["metrics"]["nan"]["value"] == "NaN"
    model = httpx.get(f"{platform.url}/api/v1/models/iris").raise_for_status().json()
    assert [version["number"] for version in model["versions"]] == [2, 1]
    assert model["versions"][0]["stage"] == "Staging"
