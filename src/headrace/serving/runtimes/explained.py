"""What of a model is explained: which numbers, by which names, and whether it has contributions of its own."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.errors import NotServed
from headrace.serving.forms.inputs import Inputs, Outputs
from headrace.serving.runtimes import (
    estimators,
    frames,
    lightgbm_models,
    loaders,
    own_contributions,
    pickles,
    separable,
    skops_models,
    xgboost_models,
)
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.own_contributions import PROBABILITY, RAW, VALUE, Way
from headrace.serving.runtimes.recipe import PREDICT, Predict, Recipe
from headrace.serving.runtimes.tree_paths import Columns
from headrace.training.answers import POSITIVE_PROBABILITY

PREDICT_PROBA = "predict_proba"
Floats = npt.NDArray[np.float64]


class View(NamedTuple):
    """The numbers in a model's answers.

    Attributes:
        labels: of the numbers: classes, or names of outputs.
        scale: of the numbers: probability, raw or value.
        read: an answer as numbers of shape (rows, labels).
    """

    labels: list[Any]
    scale: str
    read: Callable[[Outputs], Floats]


class Subject(NamedTuple):
    """A model as it is explained.

    Attributes:
        predict: as it answers callers.
        ask: as it is asked here: for the likelihoods of its classes, where it has them.
        view: the numbers in what it is asked; None: that shows in what it answers.
        own: name, source and way of its own contributions, if it has them.
        prepared: rows as the part that has them takes them.
        sources: for each column of that part, the feature that it is made of.
        told: what it was asked to what callers get, where that follows from it.
    """

    predict: Predict
    ask: Predict
    view: View | None = None
    own: tuple[str, str, Way] | None = None
    prepared: Callable[[Inputs], Any] = lambda inputs: inputs
    sources: tuple[int, ...] = ()
    told: Callable[[Outputs], Outputs] | None = None


def subject_of(files: ModelFiles, recipe: Recipe) -> Subject:
    """A model, loaded to be explained.

    Raises:
        HeadraceError: it cannot be loaded; the message says why.
    """
    matrix = partial(frames.to_matrix, recipe=recipe)
    every = tuple(range(len(recipe.names)))
    if recipe.runtime == "xgboost":
        booster = xgboost_models.read_booster(files, recipe)
        way = own_contributions.of_xgboost(booster, xgboost_models.rounds(booster, recipe))
        predict = ask = xgboost_models.prediction(booster, recipe)
        if recipe.options["model_class"] in xgboost_models.CLASSIFIERS:
            ask = xgboost_models.prediction(booster, replace(recipe, answer=PREDICT_PROBA))
            return Subject(predict, ask, None, way, matrix, every)
        likely = own_contributions.objective_of_xgboost(booster) == "binary:logistic"
        return Subject(predict, ask, _OF_ONE if likely else None, way, matrix, every)
    if recipe.runtime == "lightgbm":
        booster = lightgbm_models.read_booster(files, recipe)
        predict = lightgbm_models.prediction(booster, recipe)
        likely = own_contributions.objective_of_lightgbm(booster)[:1] == ["binary"]
        way = own_contributions.of_lightgbm(booster)
        return Subject(predict, predict, _OF_ONE if likely else None, way, matrix, every)
    if recipe.runtime == "skops":
        content = files.read(recipe.file)
        skops_models.require_modest(content, recipe.file)
        return _of_estimator(skops_models.read(content, recipe), recipe)
    if recipe.runtime == "pickle":
        return _of_estimator(pickles.read(files, recipe), recipe)
    predict = loaders.load_here(files, recipe)
    return Subject(predict, predict)


def _of_estimator(estimator: Any, recipe: Recipe) -> Subject:
    predict = estimators.prediction(estimator, recipe)
    given = estimators.feeding(estimator, recipe)
    classes: Any = getattr(estimator, "classes_", None)
    ask, view, told = predict, None, None
    if isinstance(classes, list):
        raise NotServed("explanations are of models that answer one question, and this one answers several")
    if classes is not None and callable(getattr(estimator, "predict_proba", None)):
        ask = estimators.prediction(estimator, replace(recipe, answer=PREDICT_PROBA))
        view = View(np.asarray(classes).tolist(), PROBABILITY, _plain)
        told = _TOLD.get((recipe.answer, len(classes) == 2))
    elif classes is not None and callable(getattr(estimator, "decision_function", None)):
        decide = estimator.decision_function
        ask = lambda inputs, _params: np.asarray(decide(given(inputs, recipe)))  # noqa: E731
        view = View(np.asarray(classes).tolist(), RAW, partial(_decided, classes=len(classes)))
    elif recipe.answer != PREDICT and callable(getattr(estimator, PREDICT, None)):
        ask = estimators.prediction(estimator, replace(recipe, answer=PREDICT))
    steps = [step for _, step in estimator.steps] if type(estimator).__name__ == "Pipeline" else [estimator]
    sources = separable.of_steps(steps[:-1], list(range(len(recipe.names))), recipe.names)
    own = None if sources is None else own_contributions.way_of(steps[-1], _made_of(sources, recipe))
    if own is None or sources is None:
        return Subject(predict, ask, view, told=told)

    def prepared(inputs: Inputs) -> Any:
        rows = given(inputs, recipe)
        for step in steps[:-1]:
            if step is not None and step != "passthrough":
                rows = step.transform(rows)
        return rows

    return Subject(predict, ask, view, own, prepared, tuple(sources), told)


def _made_of(sources: list[int], recipe: Recipe) -> Columns | None:
    """What the columns before the last step were made of, where that is not each of its own."""
    features = len(recipe.names)
    return None if sources == list(range(features)) else Columns(sources, features)


def view_of(answers: Outputs, background: Outputs | None) -> View:
    """The numbers in answers of which nothing else is known.

    Args:
        answers: to the rows that are explained.
        background: to the background, if there is one.

    Raises:
        NotServed: there are none.
    """
    known = [answers] if background is None else [answers, background]
    if isinstance(answers, dict):
        names = [name for name, values in answers.items() if np.asarray(values).dtype.kind == "f"]
        if names:
            return _of_floats([_stacked(each, names) for each in known], _titles(answers, names), names)
        first = next(iter(answers))
        return _of_labels([each[first] for each in known if isinstance(each, dict)], lambda found: found[first])
    array: Any = np.asarray(answers)
    if array.dtype.kind == "f":
        numbers = [_plain(each) for each in known]
        return _of_floats(numbers, list(range(numbers[0].shape[1])), None)
    return _of_labels(known, lambda found: found)


def _of_floats(numbers: list[Floats], labels: list[Any], names: list[str] | None) -> View:
    read = _plain if names is None else partial(_stacked, names=names)
    shares = numbers[0].shape[1] > 1 and all(
        (each >= 0).all() and np.allclose(each.sum(axis=1), 1.0, atol=1e-4) for each in numbers
    )
    return View(labels, PROBABILITY if shares else VALUE, read)


def _of_labels(known: list[Any], take: Callable[[Any], Any]) -> View:
    """Of a model that answers labels, it is explained whether it gives one."""
    if any(np.asarray(each).ndim != 1 for each in known):
        raise NotServed("explanations are of answers that are numbers, or one label a row")
    labels = sorted({value for each in known for value in np.asarray(each).tolist()}, key=str)

    def read(outputs: Outputs) -> Floats:
        found = np.asarray(take(outputs)).tolist()
        return np.array([[float(value == label) for label in labels] for value in found]).reshape(
            len(found), len(labels)
        )

    return View(labels, PROBABILITY, read)


def _plain(outputs: Any) -> Floats:
    array: Any = np.asarray(outputs, dtype=np.float64)
    return array.reshape(len(array), -1)


def _decided(outputs: Any, classes: int) -> Floats:
    """One number stands for two classes."""
    found = _plain(outputs)
    return np.concatenate([-found, found], axis=1) if classes == 2 and found.shape[1] == 1 else found


_TOLD: dict[tuple[str, bool], Callable[[Any], Any]] = {
    (PREDICT_PROBA, True): lambda likelihoods: likelihoods,
    (PREDICT_PROBA, False): lambda likelihoods: likelihoods,
    (POSITIVE_PROBABILITY, True): lambda likelihoods: likelihoods[:, 1],
    (POSITIVE_PROBABILITY, False): lambda likelihoods: likelihoods,
}
"""From the likelihoods of classes to what callers get, by how the model answers and whether classes are two."""

_OF_ONE = View([1], PROBABILITY, _plain)
"""One number, which is the probability of the second of two classes."""


def _stacked(outputs: Any, names: list[str]) -> Floats:
    return np.concatenate([_plain(outputs[name]) for name in names], axis=1)


def _titles(outputs: Any, names: list[str]) -> list[Any]:
    titles: list[Any] = []
    for name in names:
        width = _plain(outputs[name]).shape[1]
        titles += [name] if width == 1 else [f"{name}[{place}]" for place in range(width)]
    return titles
