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
def test_an_unmodified_client_is_at_home(
    any_mlflow_python: Path, platform: TemporaryPlatform, tmp_path: Path
) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MPLCONFIGDIR": str(tmp_path),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # an answer of 5xx shall fail the test, not be waited out
    }
    finished = subprocess.run(
        [str(any_mlflow_python), str(CLIENT), platform.url],
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
    assert (run["metrics"]["loss"]["min"], run["metrics"]["loss"]["max"]["step"]) == (
        {"value": 1 / 3, "step": 2},
        0,
    )
    model = httpx.get(f"{platform.url}/api/v1/models/{seen['model']}").raise_for_status().json()
    assert [version["number"] for version in model["versions"]] == [2, 1]
    assert model["versions"][0]["stage"] == "Staging"

    # and so is what the versions were made from and need, though the client registered them
    local = platform.local
    for number in (1, 2):
        version = local.wait_for(
            lambda number=number: local.version(seen["model"], number),  # type: ignore[misc]
            lambda found: found.environment_digest is not None,
            "the packages of a version to be read",
        )
        needs = local.environment(version.environment_digest or "")
        assert needs.python
        assert {"scikit-learn", "mlflow"} <= needs.packages.keys()
        lineage = local.lineage.of(f"{seen['model']}@{number}")
        assert f"run/{version.run_id}" in {node.subject for node in lineage.nodes}
    using = local.lineage.versions_using(package="scikit-learn>=1")
    assert {(use.model, use.number) for use in using} >= {(seen["model"], 1), (seen["model"], 2)}


@pytest.mark.loop
@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/api/2.0/mlflow/runs/get", {"Host": "evil.example"}, 403, "PERMISSION_DENIED"),
        ("GET", "/api/2.0/mlflow/runs/get", {"Authorization": "Bearer nothing"}, 401, "UNAUTHENTICATED"),
        ("GET", "/api/2.0/mlflow/runs/get?run_id=none", {}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/api/3.0/mlflow/traces", {}, 404, "ENDPOINT_NOT_FOUND"),
    ],
)
def test_every_error_on_mlflows_paths_has_mlflows_shape(
    platform: TemporaryPlatform, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = httpx.request(method, f"{platform.url}{path}", headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert set(answer.json()) == {"error_code", "message"}


@pytest.mark.loop
def test_a_viewer_is_refused_in_mlflows_words(platform: TemporaryPlatform) -> None:
    platform.local.access.add("vera", ["viewer"])
    secret = platform.local.access.issue_token("vera").secret
    answer = httpx.post(
        f"{platform.url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, auth=("vera", secret)
    )
    assert answer.status_code == 403
    assert answer.json()["error_code"] == "PERMISSION_DENIED"
    assert "developer" in answer.json()["message"]


@pytest.mark.loop
def test_the_probes_answer(platform: TemporaryPlatform) -> None:
    assert httpx.get(f"{platform.url}/health").text == "OK"
    assert httpx.get(f"{platform.url}/version").text.startswith("3.")
