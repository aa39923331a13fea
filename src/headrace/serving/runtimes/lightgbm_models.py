"""LightGBM: its own text format, which holds trees and no code, and the estimators that wrap such a booster.

A booster is asked directly: LightGBM's estimators check names and make frames at every call, which takes ten times
as long as the trees.
"""

from typing import Any

import numpy as np

from headrace.errors import InternalError, NotServed
from headrace.serving.runtimes import frames
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Predict, Recipe, library


def load(files: ModelFiles, recipe: Recipe) -> Predict:
    """A booster from its text.

    Raises:
        MissingExtra: LightGBM is not installed.
        InternalError: the file is damaged.
    """
    return prediction(read_booster(files, recipe), recipe)


def prediction(booster: Any, recipe: Recipe) -> Predict:
    """How the booster answers."""
    return lambda inputs, _params: booster.predict(frames.to_matrix(inputs, recipe), num_threads=1)


def read_booster(files: ModelFiles, recipe: Recipe) -> Any:
    """The booster of a text file."""
    lightgbm = library("lightgbm")
    content = files.read(recipe.file)
    try:
        text = content.decode("utf-8")
        _require_whole(text)
        booster = lightgbm.Booster(model_str=text)
    except (UnicodeDecodeError, ValueError, lightgbm.basic.LightGBMError) as error:
        raise InternalError(
            f"the model could not be read ({type(error).__name__})", where=recipe.file, fix="Log it again."
        ) from error
    if recipe.columns and booster.num_feature() != len(recipe.names):
        raise NotServed(
            f"the model was trained on {booster.num_feature()} columns, its signature has {len(recipe.names)}",
            where="MLmodel.signature.inputs",
            fix="Log the model with the frame that it was trained on as input example.",
        )
    return booster


class BoosterEstimator:
    """Answers as LightGBM's estimator around a booster does.

    Args:
        estimator: LightGBM's own, fitted.
    """

    def __init__(self, estimator: Any) -> None:
        self._booster = estimator.booster_
        self._labels = getattr(estimator, "_le", None)
        self._one = len(getattr(estimator, "classes_", ())) == 2
        if self._labels is not None:
            self.classes_ = estimator.classes_
            self.predict_proba = self._probabilities

    def predict(self, features: Any) -> Any:
        """Labels of a classifier, else values."""
        if self._labels is None:
            return self._booster.predict(features, num_threads=1)
        return self._labels.inverse_transform(np.argmax(self._probabilities(features), axis=1))

    def _probabilities(self, features: Any) -> Any:
        found = self._booster.predict(features, num_threads=1)
        return np.column_stack([1.0 - found, found]) if self._one else found


def of_estimator(estimator: Any) -> BoosterEstimator | None:
    """The quick form of one of LightGBM's estimators; None for anything else, and for objectives of one's own."""
    if type(estimator).__name__ not in {"LGBMClassifier", "LGBMRegressor", "LGBMRanker"}:
        return None
    if callable(getattr(estimator, "objective_", None)):
        return None
    return BoosterEstimator(estimator)


def _require_whole(text: str) -> None:
    """LightGBM 4 reads past the end of a text that was cut off within its trees."""
    if not text.startswith("tree") or "\nend of trees" not in text:
        raise ValueError("not a whole model")
