"""TorchScript answers from a host as it does in PyTorch; asked for with TORCH_PYTHON, since PyTorch is large."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from headrace.errors import PolicyRefused
from headrace.serving.loading.environments import Environments
from headrace.serving.loading.loader import arrange, open_model
from headrace.serving.loading.requirements import Requirements
from headrace.serving.nouns import Loading
from headrace.serving.runtimes.files import ModelFiles

PYTHON = os.environ.get("TORCH_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="TORCH_PYTHON names no Python that has PyTorch")

MAKE = """
import sys, json, torch
module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
torch.jit.save(torch.jit.script(module), sys.argv[1])
torch.save(module, sys.argv[2])
print(json.dumps(module(torch.tensor([[1.0, 2.0], [3.0, -4.0]])).tolist()))
"""
ROWS = np.array([[1.0, 2.0], [3.0, -4.0]])


class WithTorch(Environments):
    """Has PyTorch's environment built already."""

    def interpreter(self, wanted: Requirements) -> Path | None:
        return Path(PYTHON) if self.lacking(wanted) else None


def write(folder: Path, inputs: object) -> list[list[float]]:
    """A directory as MLflow writes it, with an eager module beside; what the module answers."""
    (folder / "data").mkdir(parents=True)
    command = [PYTHON, "-c", MAKE, str(folder / "data" / "model.pth"), str(folder.parent / "eager.pth")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    description = {
        "flavors": {"pytorch": {"model_data": "data"}, "python_function": {"loader_module": "mlflow.pytorch"}},
        "signature": {"inputs": json.dumps(inputs)},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(description))
    answers: list[list[float]] = json.loads(done.stdout)
    return answers


def test_a_script_answers_rows_and_tensors_and_an_eager_module_needs_leave(tmp_path: Path) -> None:
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]
    expected = write(tmp_path / "m", tensor)
    environments = WithTorch(tmp_path / "environments")
    files = ModelFiles(tmp_path / "m")
    loaded = open_model(arrange(files, signature=None, loading=Loading(), environments=environments))
    assert (loaded.runtime, loaded.hosted) == ("torchscript", True)
    np.testing.assert_allclose(np.asarray(loaded.predict({"": ROWS.astype(np.float32)})), expected, rtol=1e-6)
    columns = {"inputs": [{"name": name, "type": "double"} for name in "ab"]}
    framed = open_model(arrange(files, signature=columns, loading=Loading(), environments=environments)).predict(
        ROWS
    )
    assert isinstance(framed, dict)
    np.testing.assert_allclose(np.column_stack(list(framed.values())), expected, rtol=1e-6)
    (tmp_path / "m" / "data" / "model.pth").write_bytes((tmp_path / "eager.pth").read_bytes())
    with pytest.raises(PolicyRefused, match="pickled PyTorch module"):
        arrange(files, signature=None, loading=Loading(), environments=environments)
