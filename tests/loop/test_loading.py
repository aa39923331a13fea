"""Models from elsewhere, on a whole platform: made ready by a worker, served, and made faster meanwhile."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import skops.io
import yaml
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headrace.errors import PermissionRefused
from headrace.registry.nouns import ModelFile, RegisterVersion, Version
from headrace.sdk.platform import Platform
from headrace.serving.nouns import LoadedVersion
from headrace.testing.platform import TemporaryPlatform, temporary_platform

pytestmark = pytest.mark.loop

NAMES = ("age", "income")
ROWS = np.random.default_rng(4).normal(size=(300, 2)) * [10, 1e4]
MODEL = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)).fit(ROWS, ROWS[:, 0] > 0)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    with temporary_platform(tmp_path_factory.mktemp("loading") / "home") as running:
        yield running


def directory(folder: Path, **sklearn: Any) -> Path:
    """A model directory as MLflow writes it, with the first rows as its example."""
    folder.mkdir()
    (folder / "input_example.json").write_text(json.dumps({"columns": NAMES, "data": ROWS[:60].tolist()}))
    description = {
        "flavors": {
            "python_function": {"loader_module": "mlflow.sklearn", "predict_fn": "predict_proba"},
            "sklearn": sklearn,
        },
        "saved_input_example_info": {"artifact_path": "input_example.json", "type": "dataframe"},
        "signature": {"inputs": json.dumps([{"name": name, "type": "double"} for name in NAMES])},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(description))
    return folder


def register(platform: Platform, name: str, folder: Path) -> Version:
    """Send a directory's files and register them as a version."""
    files = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        platform.transport.upload(f"/api/v1/blobs/{digest}", content, returns=dict)
        files.append(ModelFile(path=path.name, digest=digest, size_bytes=len(content)))
    request = RegisterVersion(model=name, files=tuple(files), source=f"file://{folder.name}")
    return platform.transport.call("POST", f"/api/v1/models/{name}/versions", request, returns=Version)


def held(platform: Platform, name: str) -> LoadedVersion | None:
    """The version as the gateway holds it."""
    return next((each for gateway in platform.gateways() for each in gateway.loaded if each.model == name), None)


def probabilities(platform: TemporaryPlatform, name: str) -> Any:
    body = {"dataframe_records": [dict(zip(NAMES, row, strict=True)) for row in ROWS[:50].tolist()]}
    answer = httpx.post(f"{platform.gateway_url}/models/{name}/versions/1/invocations", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["predictions"])


def headrace(platform: TemporaryPlatform, *arguments: str) -> str:
    """What the command line prints."""
    environment = os.environ | {"HEADRACE_URL": platform.url, "COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "headrace", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout


def test_a_version_is_served_and_then_served_faster(platform: TemporaryPlatform, tmp_path: Path) -> None:
    folder = directory(tmp_path / "forest", pickled_model="model.skops", serialization_format="skops")
    skops.io.dump(MODEL, folder / "model.skops")
    local = platform.local
    register(local, "forest", folder)
    local.open_release("forest", 1)
    local.wait_for(
        lambda: held(local, "forest"), lambda each: each is not None and not each.error, "it to be served"
    )
    np.testing.assert_allclose(probabilities(platform, "forest"), MODEL.predict_proba(ROWS[:50]), atol=2e-6)
    local.wait_for(
        lambda: held(local, "forest"), lambda each: each is not None and each.runtime == "onnx", "its faster form"
    )
    np.testing.assert_allclose(probabilities(platform, "forest"), MODEL.predict_proba(ROWS[:50]), atol=2e-6)
    prepared = local.loading.of("forest", 1).preparation
    assert prepared is not None
    assert prepared.prepared is not None
    report = prepared.prepared.report
    assert report is not None
    assert report.rows_from == {"input example": 60}
    assert report.chosen == "mixed"
    kinds = [event.type for event in local.events(subject="version/forest/1")]
    assert "serving.version_prepared" in kinds
    shown = headrace(platform, "models", "show", "forest@1")
    assert "served as    mixed (skops)" in shown
    assert "60 of its input example" in shown
    assert "answers differ" in shown
    assert "served as    mixed (skops)" in headrace(platform, "models", "optimize", "forest@1")


def test_a_pickle_waits_for_leave_and_is_served_once_it_is_given(
    platform: TemporaryPlatform, tmp_path: Path
) -> None:
    folder = directory(tmp_path / "pickled", pickled_model="model.pkl", serialization_format="pickle")
    (folder / "model.pkl").write_bytes(pickle.dumps(MODEL))
    local = platform.local
    register(local, "pickled", folder)
    local.open_release("pickled", 1)
    refused = local.wait_for(lambda: held(local, "pickled"), lambda each: each is not None, "an answer on it")
    assert refused is not None
    assert "headrace models allow" in str(refused.error)
    dana, ravi = platform.person("dana", "developer"), platform.person("ravi", "approver")
    with pytest.raises(PermissionRefused):
        dana.loading.allow("pickled", 1, code=True, reason="mine")
    assert "may load code, by local" in headrace(
        platform, "models", "allow", "pickled@1", "--pickle", "--reason", "I trained it myself"
    )
    assert ravi.loading.allow("pickled", 1, code=True, reason="so did I").allowed_by == "local"
    local.wait_for(
        lambda: held(local, "pickled"), lambda each: each is not None and not each.error, "it to be served"
    )
    np.testing.assert_allclose(probabilities(platform, "pickled"), MODEL.predict_proba(ROWS[:50]), atol=2e-6)
    assert "nothing is allowed" in headrace(platform, "models", "forbid", "pickled@1", "--reason", "enough")
    gone = local.wait_for(
        lambda: held(local, "pickled"), lambda each: each is not None and bool(each.error), "it to be let go"
    )
    assert gone is not None
