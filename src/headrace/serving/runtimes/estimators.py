"""Estimators with scikit-learn's methods, however they were stored: made quick for single rows, and asked.

Rows come checked and in order, so an estimator gets a plain matrix and its own checks of names are taken off. Only
one that chooses columns by name, or has columns that are no numbers, gets a frame.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from headrace.errors import NotServed
from headrace.serving.forms.inputs import Inputs
from headrace.serving.runtimes import frames
from headrace.serving.runtimes.lightgbm_models import of_estimator
from headrace.serving.runtimes.recipe import PREDICT, Predict, Recipe
from headrace.training.answers import POSITIVE_PROBABILITY


def prediction(estimator: Any, recipe: Recipe) -> Predict:
    """How the estimator answers.

    Raises:
        NotServed: the signature's columns are not those that it was trained on, or it has no such method.
    """
    _require_columns(estimator, recipe.names)
    _use_one_thread(estimator)
    own = of_estimator(estimator)
    method = _method(estimator if own is None else own, recipe.answer)
    given = feeding(estimator, recipe)
    return lambda inputs, _params: frames.to_outputs(method(given(inputs, recipe)))


def feeding(estimator: Any, recipe: Recipe) -> Callable[[Inputs, Recipe], Any]:
    """What makes of our rows what the estimator takes: a matrix, after which it knows no names, or a frame."""
    parts = _parts(estimator)
    if not frames.all_numbers(recipe) or any(_chooses_by_name(part) for part in parts):
        return frames.to_frame
    for part in parts:
        part.__dict__.pop("feature_names_in_", None)  # else scikit-learn warns at every row
    return frames.to_matrix


def _method(estimator: Any, answer: str) -> Any:
    if answer == POSITIVE_PROBABILITY:
        return _positive_probability(estimator)
    method = getattr(estimator, answer, None)
    if method is None:
        raise NotServed(
            f"the model has no method {answer}",
            where="MLmodel.flavors.python_function.predict_fn",
            fix="Log it again without pyfunc_predict_fn, or with a method that it has.",
        )
    return method


def _positive_probability(estimator: Any) -> Any:
    """The probability of the second of two classes; all of them for more, and the value where there are none."""
    probabilities = getattr(estimator, "predict_proba", None)
    if probabilities is None or not hasattr(estimator, "classes_"):
        return getattr(estimator, PREDICT)
    if len(estimator.classes_) != 2:
        return probabilities
    return lambda features: probabilities(features)[:, 1]


def _require_columns(estimator: Any, names: tuple[str, ...]) -> None:
    trained = getattr(estimator, "feature_names_in_", None)
    if not names or type(estimator).__module__.startswith("lightgbm."):
        return  # a tensor has no names; LightGBM makes names up
    if trained is not None and tuple(trained) != names:
        raise NotServed(
            "the signature's columns are not those that the model was trained on, in that order",
            where="MLmodel.signature.inputs",
            fix="Log the model with the frame that it was trained on as input example.",
        )


def _use_one_thread(estimator: Any) -> None:
    """Starting threads costs a small batch five to ten times its prediction (scikit-learn issue 16143)."""
    for part in _parts(estimator):
        if isinstance(part.__dict__.get("n_jobs"), int):
            part.n_jobs = 1


def _chooses_by_name(part: Any) -> bool:
    if type(part).__name__ != "ColumnTransformer":
        return False
    chosen = [columns for _, _, columns in getattr(part, "transformers_", part.transformers)]
    return any(_names(columns) for columns in chosen)


def _names(columns: Any) -> bool:
    if isinstance(columns, slice):
        return isinstance(columns.start, str) or isinstance(columns.stop, str)
    if isinstance(columns, (list, tuple, np.ndarray)):
        return any(isinstance(column, str) for column in columns)
    return isinstance(columns, str)


def _parts(root: Any) -> list[Any]:
    """The estimator and everything of scikit-learn's inside it, fitted parts included."""
    found: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, (list, tuple)):
            waiting.extend(part)
        elif isinstance(part, np.ndarray):
            waiting.extend(part.ravel().tolist() if part.dtype == object else ())
        elif type(part).__module__.startswith("sklearn.") and hasattr(part, "__dict__") and id(part) not in found:
            found[id(part)] = part
            waiting.extend(vars(part).values())
    return list(found.values())
