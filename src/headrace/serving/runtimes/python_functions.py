"""What only MLflow itself can load: Python models, models from code, and flavors that we have no hand for.

They run code, so they come here only in a host, where it is allowed, in an environment that holds their MLflow.
"""

import copy
import tempfile
from pathlib import Path
from typing import Any

from headrace.errors import InternalError, ModelFault
from headrace.serving.forms.inputs import Inputs, Outputs, nulls
from headrace.serving.runtimes import frames
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Predict, Recipe, library


def load(files: ModelFiles, recipe: Recipe) -> Predict:
    """A model as MLflow's own scoring server holds it; it reads a copy of the verified files.

    Raises:
        MissingExtra: MLflow is not installed.
        InternalError: MLflow cannot load it here.
    """
    pyfunc = library("mlflow.pyfunc")
    folder = tempfile.mkdtemp(prefix="headrace-model-")  # a model may read from it at any time
    files.copy_to(Path(folder))
    try:
        model = pyfunc.load_model(folder, suppress_warnings=True)
    except Exception as error:
        raise InternalError(
            f"MLflow could not load the model: {type(error).__name__}: {error}"[:500],
            where="MLmodel",
            fix="Log it from an environment whose packages its requirements.txt names.",
        ) from error

    trusted = bool(recipe.columns) and frames.all_numbers(recipe)
    if trusted:
        _trust_frames(model)
    whole = [place for place, (_, kind) in enumerate(recipe.columns) if kind in frames.WHOLE]

    def predict(rows: Inputs, params: dict[str, Any] | None) -> Outputs:
        if recipe.columns:
            given = frames.to_frame(rows, recipe)
            if trusted and whole and nulls(rows, recipe.names)[:, whole].any():
                raise ModelFault("the model takes no null in a column of whole numbers")
        elif isinstance(rows, dict) and set(rows) == {""}:
            given = rows[""]
        else:
            given = rows
        return frames.to_outputs(model.predict(given, params=params))

    return predict


def _trust_frames(model: Any) -> None:
    """Have MLflow take the columns of numbers that we give it as they are: they have the signature's types already.

    It would look at every column again, which takes a hundred times as long as many a model does.
    """
    signature = copy.copy(model.metadata.signature)
    if signature is not None:
        signature.inputs = None
        model.metadata.signature = signature
