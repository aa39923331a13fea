"""TorchScript: programs of tensors, which PyTorch's own interpreter runs; always in a host."""

import io
import zipfile
from typing import Any

import numpy as np

from headrace.errors import InternalError, ModelFault
from headrace.serving.forms.inputs import Inputs, Outputs
from headrace.serving.runtimes import frames
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Predict, Recipe, library


def load(files: ModelFiles, recipe: Recipe) -> Predict:
    """A scripted or traced module, on one thread of the processor.

    Raises:
        MissingExtra: PyTorch is not installed.
        InternalError: the file is damaged.
    """
    torch = library("torch")
    torch.set_num_threads(1)
    content = files.read(recipe.file)
    try:
        module = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
    except Exception as error:
        raise InternalError(
            f"the model could not be read ({type(error).__name__})", where=recipe.file, fix="Log it again."
        ) from error

    def predict(rows: Inputs, params: dict[str, Any] | None) -> Outputs:
        if recipe.columns:
            given = frames.to_matrix(rows, recipe).astype(np.float32)
        else:
            given = next(iter(rows.values())) if isinstance(rows, dict) else rows
        with torch.no_grad():
            found = module(torch.from_numpy(np.ascontiguousarray(given)), **(params or {}))
        if not isinstance(found, torch.Tensor):
            raise ModelFault("the model did not answer with one tensor")
        answers: Any = found.numpy()
        if not recipe.columns:
            return answers
        table = answers.reshape(len(answers), -1)  # MLflow answers a frame, its columns named by number
        return {str(place): table[:, place] for place in range(table.shape[1])}

    return predict


def is_torchscript(content: bytes) -> bool:
    """Whether a file of PyTorch's holds a program of its own, and not a pickled module."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False
    inside = {name.partition("/")[2].partition("/")[0] for name in names}
    return "code" in inside and "constants.pkl" in inside
