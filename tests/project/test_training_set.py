"""What a training function gets: arrays that fit, a split by entity, parameters by name."""

import numpy as np
import pytest

from headrace.errors import InvalidInput, ProjectError
from headrace.project.fitted import Fitted
from headrace.project.params import Params
from headrace.project.training_set import TrainingSet

ENTITIES = np.repeat(np.arange(100), 3)
DATA = TrainingSet(
    features=np.arange(600, dtype=np.float64).reshape(300, 2),
    names=("a", "b"),
    label=ENTITIES % 2,
    entities=ENTITIES,
)


def test_a_split_keeps_each_entity_on_one_side() -> None:
    rest, drawn = DATA.split(0.25, seed=1)
    assert len(rest) + len(drawn) == len(DATA)
    assert len(drawn) == 75
    assert not set(rest.entities) & set(drawn.entities)
    assert (np.diff(rest.features[:, 0]) > 0).all()
    np.testing.assert_array_equal(drawn.label, drawn.entities % 2)


def test_a_seed_repeats_a_split() -> None:
    first, again, other = (DATA.split(0.5, seed=seed)[1].entities for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0])
def test_an_impossible_split_is_refused(fraction: float) -> None:
    with pytest.raises(InvalidInput, match="cannot split"):
        DATA.split(fraction)


def test_both_sides_have_somebody() -> None:
    two = TrainingSet(features=np.zeros((2, 1)), names=("a",), label=np.zeros(2), entities=np.array(["x", "y"]))
    assert [len(part) for part in two.split(0.99)] == [1, 1]
    assert [len(part) for part in two.split(0.01)] == [1, 1]


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidInput, match="do not fit"):
        TrainingSet(features=np.zeros((2, 1)), names=("a", "b"), label=np.zeros(2), entities=np.zeros(2))


def test_columns_are_found_by_name() -> None:
    assert DATA.column("b") == 1
    with pytest.raises(InvalidInput, match="no feature 'c'"):
        DATA.column("c")


def test_params_are_read_by_attribute_and_by_name() -> None:
    params = Params({"depth": 3})
    assert params.depth == params["depth"] == dict(params)["depth"] == 3
    assert params.get("other", 5) == 5
    assert not hasattr(params, "other")
    with pytest.raises(ProjectError, match="no parameter 'other'"):
        params["other"]
    with pytest.raises(AttributeError, match="Declare it with"):
        _ = params.other


def test_fitted_keeps_its_own_metrics() -> None:
    metrics = {"loss": 0.5}
    fitted = Fitted("estimator", metrics=metrics)
    metrics["loss"] = 1.0
    assert fitted.metrics == {"loss": 0.5}
