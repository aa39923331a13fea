"""Whatever a real MLflow saved is loaded, and answers what MLflow's own scoring server answers, to the last bit."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.errors import ModelFault, PolicyRefused
from headrace.serving.forms.inputs import row_answers
from headrace.serving.forms.json_forms import Forms
from headrace.serving.loading.environments import Environments
from headrace.serving.loading.loader import LoadedModel, arrange, open_model
from headrace.serving.loading.requirements import Requirements
from headrace.serving.nouns import Loading
from headrace.serving.runtimes.files import ModelFiles

HERE = {
    "labels",
    "probabilities",
    "named-labels",
    "bands",
    "values",
    "xgboost-labels",
    "xgboost-values",
    "xgboost-booster",
    "lightgbm-booster",
    "lightgbm-labels",
    "texts",
    "tensor",
    "xgboost-tensor",
    "lightgbm-tensor",
}
"""Loaded into the gateway's own process; the others run code and are hosted."""
HOSTED = {"pickled", "python-frame", "python-code", "python-doubles", "python-numbers"}


class PeerEnvironments(Environments):
    """Has MLflow's environment built already, whatever is asked for."""

    def __init__(self, folder: Path, python: Path) -> None:
        super().__init__(folder)
        self._peer = python

    def interpreter(self, wanted: Requirements) -> Path | None:
        return self._peer if self.lacking(wanted) else None


@pytest.fixture(scope="module")
def saved(mlflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of every kind that MLflow saved, with what it answers."""
    folder = tmp_path_factory.mktemp("saved")
    script = Path(__file__).with_name("mlflow_models.py")
    subprocess.run([mlflow_python, script, folder], check=True, capture_output=True)
    return folder


def load(folder: Path, python: Path, tmp_path: Path, *, code: bool) -> LoadedModel:
    environments = PeerEnvironments(tmp_path / "environments", python)
    files = ModelFiles(folder / "model")
    return open_model(arrange(files, signature=None, loading=Loading(code=code), environments=environments))


def expected(path: Path, loaded: LoadedModel) -> tuple[Any, dict[str, Any] | None, list[Any]]:
    """The rows and params of a request, decoded as a gateway does, and what MLflow answered."""
    content = msgspec.json.decode(path.read_bytes())
    if "inputs" in content["body"]:
        return {"": np.array(content["body"]["inputs"])}, None, content["predictions"]
    asked = Forms(loaded.signature).decode(msgspec.json.encode(content["body"]))
    return asked.rows, asked.params, content["predictions"]


@pytest.mark.parametrize("name", sorted(HERE | HOSTED))
def test_answers_are_mlflows(saved: Path, mlflow_python: Path, tmp_path: Path, name: str) -> None:
    loaded = load(saved / name, mlflow_python, tmp_path, code=True)
    assert loaded.hosted is (name in HOSTED)
    rows, params, predictions = expected(saved / name / "expected.json", loaded)
    assert row_answers(loaded.predict(rows, params)) == predictions


def test_params_of_a_request_reach_a_python_model(saved: Path, mlflow_python: Path, tmp_path: Path) -> None:
    loaded = load(saved / "python-code", mlflow_python, tmp_path, code=True)
    rows, params, predictions = expected(saved / "python-code" / "with-params.json", loaded)
    assert params == {"factor": 3.0}
    assert row_answers(loaded.predict(rows, params)) == predictions


def test_a_python_model_meets_no_null_where_its_signature_has_whole_numbers(
    saved: Path, mlflow_python: Path, tmp_path: Path
) -> None:
    loaded = load(saved / "python-numbers", mlflow_python, tmp_path, code=True)
    rows, _, _ = expected(saved / "python-numbers" / "expected.json", loaded)
    rows[3, loaded.signature.names.index("age")] = np.nan
    with pytest.raises(ModelFault, match="null in a column of whole numbers"):
        loaded.predict(rows, None)


@pytest.mark.parametrize("name", sorted(HOSTED))
def test_what_runs_code_is_refused_without_leave(
    saved: Path, mlflow_python: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(PolicyRefused, match="runs code when loaded"):
        load(saved / name, mlflow_python, tmp_path, code=False)
