"""The boundary around a user's function: what may come out, and whose fault it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression

from headrace.errors import UserCodeError
from headrace.project.fitted import Fitted
from headrace.project.loading import LoadedProject
from headrace.project.model import Model
from headrace.project.params import Params
from headrace.project.training_set import TrainingSet
from headrace.training.user_code import Trainer

FEATURES = np.random.default_rng(0).random((20, 2))
DATA = TrainingSet(features=FEATURES, names=("a", "b"), label=np.arange(20) % 2, entities=np.arange(20))

Function = Callable[[TrainingSet, Params], Any]


@pytest.fixture
def trainer(example: LoadedProject) -> Callable[[Function], Trainer]:
    return lambda function: Trainer(Model(function, example.models[0].declaration), Path(__file__).parent)


def test_a_classifier_of_both_outcomes_is_taken(trainer: Callable[[Function], Trainer]) -> None:
    own = trainer(lambda data, params: Fitted(DummyClassifier().fit(data.features, data.label)))
    model = own.train(DATA, {})
    assert own.score(model.estimator, FEATURES).tolist() == [0.5] * 20


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda data, params: None, "returned NoneType"),
        (lambda data, params: Fitted(LinearRegression().fit(data.features, data.label)), "no predict_proba"),
        (lambda data, params: Fitted(DummyClassifier()), "with the classes None"),
        (lambda data, params: Fitted(DummyClassifier().fit(data.features, data.label + 1)), r"classes \[1 2\]"),
        (lambda data, params: params.depth, "no parameter 'depth'"),
        (lambda data, params: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_model_is_refused(
    function: Function, complaint: str, trainer: Callable[[Function], Trainer]
) -> None:
    with pytest.raises(UserCodeError, match=complaint):
        trainer(function).train(DATA, {})


def test_leaving_the_process_is_an_error_of_the_function(trainer: Callable[[Function], Trainer]) -> None:
    def leave(data: TrainingSet, params: Params) -> Any:
        raise SystemExit("enough")

    with pytest.raises(UserCodeError, match="SystemExit: enough") as raised:
        trainer(leave).train(DATA, {})
    assert raised.value.where is not None
    assert raised.value.where.startswith("test_user_code.py:")
    assert 'raise SystemExit("enough")' in raised.value.message


@pytest.mark.parametrize("answer", [np.full((20, 2), np.nan), np.zeros((20, 3)), np.zeros(20)])
def test_answers_that_are_no_probabilities_are_refused(answer: Any, trainer: Callable[[Function], Trainer]) -> None:
    class Odd:
        def predict_proba(self, features: Any) -> Any:
            return answer

    with pytest.raises(UserCodeError, match="answers with shape"):
        trainer(lambda data, params: None).score(Odd(), FEATURES)


def test_an_estimator_that_raises_is_the_users(trainer: Callable[[Function], Trainer]) -> None:
    with pytest.raises(UserCodeError, match="NotFittedError"):
        trainer(lambda data, params: None).score(DummyClassifier(), FEATURES)
