"""Unmodified MLflow clients keep their files in each place where a platform may have them."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from tests.object_store import ObjectStoreServer

from headrace.testing.platform import TemporaryPlatform, temporary_platform

CLIENT = Path(__file__).with_name("mlflow_files.py")
IN_PARTS = {
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
    "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": "1000000",
    "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": "700000",
    "MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE": "600000",
}

pytestmark = pytest.mark.loop


class Place(NamedTuple):
    """A platform that keeps files somewhere, and what its clients need to reach them."""

    platform: TemporaryPlatform
    start: str
    environment: dict[str, str]


@pytest.fixture(scope="module", params=["platform", "blobs in s3", "folder", "s3"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, s3_server: ObjectStoreServer
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    root = {"folder": str(folder / "runs"), "s3": "s3://bucket/peers/runs"}.get(request.param, "")
    login = s3_server.environment if "s3" in request.param else {}
    settings = {**login, "HEADRACE_ARTIFACT_ROOT": root}
    if request.param == "blobs in s3":
        settings["HEADRACE_BLOBS"] = "s3://bucket/peers/blobs"
    with temporary_platform(folder / "home", settings) as running:
        yield Place(running, root or "mlflow-artifacts:/", login if root else {})


def client(python: Path, place: Place, folder: Path, *arguments: str, **more: str) -> dict[str, Any]:
    finished = subprocess.run(
        [str(python), str(CLIENT), place.platform.url, *arguments],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "MPLCONFIGDIR": str(folder),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_S3_ENDPOINT_URL": place.environment.get("AWS_ENDPOINT_URL", ""),
            **place.environment,
            **IN_PARTS,
            **more,
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stderr
    told: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return told


def test_files_and_models(place: Place, any_mlflow_python: Path, tmp_path: Path) -> None:
    told = client(any_mlflow_python, place, tmp_path)
    assert told["artifact_uri"].startswith(place.start)
    assert len(told["loaded"]) == 3

    # and our own API sees the same files
    listing = httpx.get(f"{place.platform.url}/api/v1/runs/{told['run']}/artifacts", params={"folder": "up"})
    assert {entry["path"] for entry in listing.raise_for_status().json()} >= {"up/a", "up/large.bin", "up/empty"}
    fetched = place.platform.local.runs.download(told["run"], "up/a/b c.txt", tmp_path / "fetched")
    assert fetched.read_bytes() == b"with a space"
    version = (
        httpx.get(f"{place.platform.url}/api/v1/models/{told['model']}").raise_for_status().json()["versions"][0]
    )
    assert {file["path"] for file in version["files"]} >= {"MLmodel"}
    assert all(file["digest"].startswith("sha256:") for file in version["files"])


def test_an_experiment_names_its_own_place(place: Place, mlflow_python: Path, tmp_path: Path) -> None:
    if place.start == "mlflow-artifacts:/":
        return
    own = f"{place.start}/own"
    told = client(mlflow_python, place, tmp_path, own)
    assert told["artifact_uri"] == f"{own}/{told['run']}/artifacts"
