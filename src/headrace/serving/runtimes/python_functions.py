"""What only MLflow itself can load: Python models, models from code, and flavors that we have no hand for.

They run code, so they come here only in a host, where it is allowed, in an environment that holds their MLflow.
"""

import tempfile
from pathlib import Path
from typing import Any

from headrace.errors import InternalError
from headrace.serving.inputs import Inputs, Outputs
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

    def predict(rows: Inputs, params: dict[str, Any] | None) -> Outputs:
        if recipe.columns:
            given = frames.to_frame(rows, recipe)
        elif isinstance(rows, dict) and set(rows) == {""}:
            given = rows[""]
        else:
            given = rows
        return frames.to_outputs(model.predict(given, params=params))

    return predict
