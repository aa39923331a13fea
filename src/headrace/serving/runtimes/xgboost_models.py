"""XGBoost's own JSON and UBJSON formats, which hold trees and no code.

The booster is asked directly, in place of XGBoost's scikit-learn classes, so that scikit-learn is not needed and no
frame is made; labels are drawn from its answers as those classes do.
"""

import json
from typing import Any

import numpy as np

from headrace.errors import InternalError, NotServed
from headrace.serving.runtimes import frames
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import PREDICT, Predict, Recipe, library
from headrace.training.answers import POSITIVE_PROBABILITY

BOOSTER = "xgboost.core.Booster"
CLASSIFIERS = frozenset({"xgboost.sklearn.XGBClassifier", "xgboost.sklearn.XGBRFClassifier"})
CLASSES = frozenset(
    {
        BOOSTER,
        *CLASSIFIERS,
        "xgboost.sklearn.XGBModel",
        "xgboost.sklearn.XGBRegressor",
        "xgboost.sklearn.XGBRFRegressor",
        "xgboost.sklearn.XGBRanker",
    }
)


def load(files: ModelFiles, recipe: Recipe) -> Predict:
    """A booster, answering as the class that it was logged as.

    Raises:
        MissingExtra: XGBoost is not installed.
        NotServed: its class is none of XGBoost's, or its columns are not the signature's.
        InternalError: the file is damaged.
    """
    return prediction(read_booster(files, recipe), recipe)


def prediction(booster: Any, recipe: Recipe) -> Predict:
    """How the booster answers."""
    values = _values(booster, recipe)
    if recipe.options["model_class"] in CLASSIFIERS:
        values = _of_classifier(values, recipe.answer)
    return lambda inputs, _params: values(frames.to_matrix(inputs, recipe))


def read_booster(files: ModelFiles, recipe: Recipe) -> Any:
    """The booster of a file."""
    if recipe.options["model_class"] not in CLASSES:
        raise NotServed(
            f"the model is a {str(recipe.options['model_class'])[:200]}, which is none of XGBoost's classes",
            where="MLmodel.flavors.xgboost.model_class",
            fix="Log a Booster or one of XGBoost's own estimators.",
        )
    xgboost = library("xgboost")
    content = files.read(recipe.file)
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(content))
        booster.set_param({"nthread": 1})
        names = booster.feature_names
        columns = booster.num_features()
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        raise InternalError(
            f"the model could not be read ({type(error).__name__})", where=recipe.file, fix="Log it again."
        ) from error
    other = (names is not None and tuple(names) != recipe.names) or columns != len(recipe.names)
    if recipe.columns and other:
        raise NotServed(
            "the signature's columns are not those that the model was trained on, in that order",
            where="MLmodel.signature.inputs",
            fix="Log the model with the frame that it was trained on as input example.",
        )
    return booster


def _values(booster: Any, recipe: Recipe) -> Any:
    """What the booster answers, with the trees that its class would use."""
    until = rounds(booster, recipe)
    kind = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"]
    if kind == "gblinear":
        matrix = library("xgboost").DMatrix
        return lambda rows: booster.predict(matrix(rows), validate_features=False)
    return lambda rows: booster.inplace_predict(rows, iteration_range=(0, until), validate_features=False)


def rounds(booster: Any, recipe: Recipe) -> int:
    """How many rounds of trees answer; 0 for all."""
    if recipe.options["model_class"] == BOOSTER or booster.attr("best_iteration") is None:
        return 0
    return int(booster.attr("best_iteration")) + 1  # the classes stop where training found the best


def _of_classifier(values: Any, answer: str) -> Any:
    """Labels or probabilities, as XGBoost's classifiers make them of a booster's values."""

    def probabilities(rows: Any) -> Any:
        found = values(rows)
        return found if found.ndim == 2 and found.shape[1] > 1 else np.column_stack([1.0 - found, found])

    def positive(rows: Any) -> Any:
        found = values(rows)
        return found if found.ndim == 1 else found[:, 1] if found.shape[1] == 2 else found

    def labels(rows: Any) -> Any:
        found = values(rows)
        if found.ndim == 2 and found.shape[1] > 1:
            return np.argmax(found, axis=1)
        return (found.reshape(len(found)) > 0.5).astype(np.int64)

    if answer == PREDICT:
        return labels
    return positive if answer == POSITIVE_PROBABILITY else probabilities
