"""The one boundary around a user's training function: what goes in, what may come out, whose fault it is."""

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import UserCodeError
from headrace.project.fitted import Fitted
from headrace.project.model import Model
from headrace.project.params import Params
from headrace.project.search import ParameterValue
from headrace.project.training_set import TrainingSet

SHOWN_FRAMES = 5
"""How many of the user's own lines an error shows."""


class Trainer:
    """Calls a model's training function and scores what it returns.

    Args:
        model: the loaded model.
        root: the folder of the project's code, whose lines an error shows.
    """

    def __init__(self, model: Model, root: Path) -> None:
        self._model = model
        self._root = root.resolve()

    def train(self, data: TrainingSet, params: Mapping[str, ParameterValue]) -> Fitted:
        """Calls the training function.

        Raises:
            UserCodeError: it raised, or returned something else than a fitted binary classifier.
        """
        try:
            fitted: object = self._model(data, Params(params))
        except (Exception, SystemExit) as error:
            raise self._blamed(error) from error
        if not isinstance(fitted, Fitted):
            raise self._refused(f"returned {type(fitted).__name__}", "End it with return hr.Fitted(estimator).")
        if not hasattr(fitted.estimator, "predict_proba"):
            raise self._refused(
                f"returned a {type(fitted.estimator).__name__}, which has no predict_proba",
                "Use a classifier; for a support vector machine, wrap it in CalibratedClassifierCV.",
            )
        classes = getattr(fitted.estimator, "classes_", None)
        if classes is None or list(classes) != [0, 1]:
            raise self._refused(
                f"returned an estimator with the classes {classes}", "Fit it on data.label as it is."
            )
        return fitted

    def score(self, estimator: Any, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probabilities of class 1, shape (rows,).

        Raises:
            UserCodeError: the estimator raised, or answered with something else than probabilities.
        """
        try:
            answers = np.asarray(estimator.predict_proba(features), dtype=np.float64)
        except Exception as error:
            raise self._blamed(error) from error
        if answers.shape != (len(features), 2) or not np.isfinite(answers).all():
            raise self._refused(
                f"returned an estimator that answers with shape {answers.shape} or without numbers",
                "predict_proba must give one finite probability for each row and class.",
            )
        scores: npt.NDArray[np.float64] = answers[:, 1]
        return scores

    def _refused(self, message: str, fix: str) -> UserCodeError:
        declaration = self._model.declaration
        return UserCodeError(
            f"the training function {declaration.function} {message}", where=declaration.declared_at, fix=fix
        )

    def _blamed(self, error: BaseException) -> UserCodeError:
        declaration = self._model.declaration
        own = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).is_relative_to(self._root)
        ][-SHOWN_FRAMES:]
        lines = "".join(
            f"\n    {Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}" for frame in own
        )
        where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else declaration.declared_at
        return UserCodeError(
            f"the training function {declaration.function} raised {type(error).__name__}: {error}{lines}",
            where=where,
            fix="Correct it there; the run's artifact training.log has the whole traceback.",
        )
