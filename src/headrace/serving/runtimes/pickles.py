"""Estimators in pickles, which run whatever their author wrote: only in a host, and only where it is allowed."""

import pickle
from typing import Any

from headrace.errors import InternalError
from headrace.serving.runtimes import estimators
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Predict, Recipe, library


def load(files: ModelFiles, recipe: Recipe) -> Predict:
    """An estimator from a pickle or a cloudpickle.

    Raises:
        InternalError: it cannot be unpickled here.
    """
    return estimators.prediction(read(files, recipe), recipe)


def read(files: ModelFiles, recipe: Recipe) -> Any:
    """The object in a pickle.

    Raises:
        InternalError: it cannot be unpickled here.
    """
    content = files.read(recipe.file)
    if recipe.options.get("serialization") == "cloudpickle":
        library("cloudpickle")
    try:
        return pickle.loads(content)  # noqa: S301 - allowed for this version, in a process of its own
    except Exception as error:
        raise InternalError(
            f"the model could not be unpickled: {type(error).__name__}: {error}"[:500],
            where=recipe.file,
            fix="Log it from an environment whose packages its requirements.txt names.",
        ) from error
