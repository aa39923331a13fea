"""Which module loads which kind of model, and what a process does to itself before it predicts."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from headrace.errors import NotServed
from headrace.serving.runtimes import (
    lightgbm_models,
    onnx_models,
    pickles,
    python_functions,
    skops_models,
    torch_models,
    xgboost_models,
)
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Predict, Recipe, library

LOADERS: dict[str, Callable[[ModelFiles, Recipe], Predict]] = {
    "lightgbm": lightgbm_models.load,
    "onnx": onnx_models.load,
    "pickle": pickles.load,
    "pyfunc": python_functions.load,
    "skops": skops_models.load,
    "torchscript": torch_models.load,
    "xgboost": xgboost_models.load,
}


def load_here(files: ModelFiles, recipe: Recipe) -> Predict:
    """Load a model into this process.

    Raises:
        HeadraceError: it cannot be loaded; the message says why.
    """
    loader = LOADERS.get(recipe.runtime)
    if loader is None:
        raise NotServed(f"there is no runtime {recipe.runtime!r}", where="runtime")
    return loader(files, recipe)


def prepare_thread(*, imported: bool = False) -> None:
    """Make the calling thread predict on one core and without scikit-learn's own checks of what we checked.

    Threads of OpenMP and scikit-learn's configuration belong to a thread, so each predicting one calls this.

    Args:
        imported: whether to look only at libraries that are imported already; others may not be needed.
    """
    for name, prepare in _PREPARATIONS.items():
        if imported and name not in sys.modules:
            continue
        with suppress(NotServed):  # it is not installed, so no model here uses it
            prepare(library(name))


_PREPARATIONS: dict[str, Callable[[Any], object]] = {
    "threadpoolctl": lambda threadpoolctl: threadpoolctl.threadpool_limits(limits=1),
    "sklearn": lambda sklearn: sklearn.set_config(assume_finite=True, skip_parameter_validation=True),
}
