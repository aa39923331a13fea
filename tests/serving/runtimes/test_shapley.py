"""Shapley values beside those that are written down from their definition, order by order."""

import functools
import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeRegressor

from headrace.serving.runtimes import own_contributions, shapley

Matrix = np.ndarray[Any, np.dtype[np.float64]]
FOREVER_S = 1e9


def by_definition(answer: Callable[[Matrix], Matrix], row: Matrix, background: Matrix) -> Matrix:
    """The mean over all orders of the features of what each changes, shape (outputs, features)."""
    features = len(row)

    @functools.cache
    def worth(coalition: frozenset[int]) -> Matrix:
        rows = background.copy()
        rows[:, list(coalition)] = row[list(coalition)]
        return np.asarray(answer(rows)).reshape(len(rows), -1).mean(axis=0)

    total = np.zeros(1)
    for order in itertools.permutations(range(features)):
        gains = []
        for place in range(features):
            before, after = frozenset(order[:place]), frozenset(order[: place + 1])
            gains.append((order[place], worth(after) - worth(before)))
        total = total + np.stack([gain for _, gain in sorted(gains, key=lambda each: each[0])], axis=1)
    return np.asarray(total / math.factorial(features))


def asked(answer: Callable[[Matrix], Matrix]) -> shapley.Ask:
    def ask(columns: shapley.Columns) -> Matrix:
        found: Matrix = np.asarray(answer(np.column_stack(list(columns))), dtype=np.float64)
        return found.reshape(len(found), -1)

    return ask


def product(rows: Matrix) -> Matrix:
    """Interactions, jumps and two outputs."""
    return np.column_stack([rows[:, 0] * rows[:, 1] + (rows[:, -1] > 0), np.exp(rows[:, 0] / 4) - rows[:, -1]])


def explained(
    answer: Callable[[Matrix], Matrix], row: Matrix, background: Matrix, *, seed: int = 0
) -> shapley.Values:
    ask = asked(answer)
    known = shapley.Background(ask, list(background.T))
    return shapley.explain(ask, [np.array([value]) for value in row], known, until_s=FOREVER_S, seed=seed)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(1, 7), st.integers(0, 2**31))
def test_all_coalitions_give_what_the_definition_gives(features: int, rows: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    row, background = generator.normal(size=features), generator.normal(size=(rows, features))
    found = explained(product, row, background)
    assert found.errors is None
    np.testing.assert_allclose(found.contributions, by_definition(product, row, background), atol=1e-10)
    np.testing.assert_allclose(found.base, product(background).mean(axis=0), atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.integers(12, 20), st.integers(1, 30), st.integers(0, 2**31))
def test_sampled_values_add_up_to_the_answer_however_few(features: int, rows: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    row, background = generator.normal(size=features), generator.normal(size=(rows, features))
    found = explained(product, row, background)
    assert found.pairs >= shapley.FEWEST_PAIRS
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), product(row[None])[0], atol=1e-9)
    assert found.errors is not None
    assert (found.contributions[:, 2:-1] == 0).all(), "features that the answer does not look at get nothing"


def test_sampled_values_are_as_near_to_the_exact_ones_as_their_errors_say(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    background = generator.normal(size=(20, 6))

    def answer(rows: Matrix) -> Matrix:
        return rows[:, 0] * rows[:, 1] * rows[:, 2] + np.maximum(rows[:, 3], rows[:, 4]) * rows[:, 5]

    distances, errors = [], []
    for seed in range(60):
        row = generator.normal(size=6)
        exact = explained(answer, row, background)
        with monkeypatch.context() as patch:
            patch.setattr(shapley, "EXACT_FEATURES", 0)
            sampled = explained(answer, row, background, seed=seed)
        assert (exact.pairs, sampled.pairs) == (0, 100)
        assert sampled.errors is not None
        distances.append(sampled.contributions - exact.contributions)
        errors.append(sampled.errors)
    factor = math.sqrt(np.square(distances).mean() / np.square(errors).mean())
    assert 0.85 < factor < 1.15, f"standard errors are off by a factor of {factor:.2f}"


def test_with_less_time_fewer_orders_are_walked_and_with_none_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    def slow(rows: Matrix) -> Matrix:
        nonlocal now_s
        now_s += 1e-5 * len(rows)
        return rows.sum(axis=1)

    monkeypatch.setattr(shapley, "time", SimpleNamespace(perf_counter=lambda: now_s))

    ask = asked(slow)
    background = shapley.Background(ask, list(np.zeros((50, 15)).T))
    row = [np.array([1.0])] * 15
    found = shapley.explain(ask, row, background, until_s=now_s + 0.015)
    assert shapley.FEWEST_PAIRS <= found.pairs < shapley.PAIRS
    assert found.base + found.contributions.sum() == pytest.approx(15.0)
    with pytest.raises(shapley.TooSlow):
        shapley.explain(ask, row, background, until_s=now_s)


def test_texts_and_nulls_are_mixed_as_they_are() -> None:
    def ask(columns: shapley.Columns) -> Matrix:
        city, visits = columns
        return np.array(
            [
                [float(name == "Delft") + (0.0 if count is None or np.isnan(count) else float(count))]
                for name, count in zip(city.tolist(), visits.tolist(), strict=True)
            ]
        )

    cities = np.array([None, "Gouda"], dtype=object)
    background = shapley.Background(ask, [cities, np.array([1, 3])])
    row = [np.array(["Delft"], dtype=object), np.array([np.nan])]
    found = shapley.explain(ask, row, background, until_s=FOREVER_S)
    assert found.base.tolist() == [2.0]
    assert found.contributions.tolist() == [[1.0, -2.0]]


DATA = np.random.default_rng(1).normal(size=(120, 4))
HOLES = np.where(np.random.default_rng(2).random(DATA.shape) < 0.15, np.nan, DATA)
TARGET = DATA[:, 0] * DATA[:, 1] + np.sin(3 * DATA[:, 2])
FEW = {"n_estimators": 5, "max_depth": 4, "random_state": 0}
TREES: list[tuple[Any, Any, Matrix, str]] = [
    (DecisionTreeRegressor(max_depth=5), TARGET, HOLES, "predict"),
    (RandomForestRegressor(**FEW), TARGET, HOLES, "predict"),
    (RandomForestClassifier(**FEW), np.digitize(TARGET, [-0.5, 0.5]), HOLES, "predict_proba"),
    (GradientBoostingRegressor(**FEW), TARGET, DATA, "predict"),
    (GradientBoostingClassifier(**FEW), TARGET > 0, DATA, "decision_function"),
    (GradientBoostingClassifier(**FEW), np.digitize(TARGET, [-0.5, 0.5]), DATA, "decision_function"),
    (HistGradientBoostingRegressor(max_iter=8, max_depth=3), TARGET, HOLES, "predict"),
    (HistGradientBoostingClassifier(max_iter=8, max_depth=3), TARGET > 0, HOLES, "decision_function"),
    (HistGradientBoostingClassifier(max_iter=5), np.digitize(TARGET, [-0.5, 0.5]), HOLES, "decision_function"),
]


@pytest.mark.parametrize(
    ("model", "target", "data", "method"),
    TREES,
    ids=[f"{type(each[0]).__name__}-{place}" for place, each in enumerate(TREES)],
)
def test_trees_give_what_the_definition_gives(model: Any, target: Any, data: Matrix, method: str) -> None:
    model.fit(data, target)
    found = own_contributions.way_of(model)
    assert found is not None
    background, rows = data[:20], data[50:54]
    own = found[2](rows, background)
    assert own is not None
    answer = getattr(model, method)
    for place, row in enumerate(rows):
        np.testing.assert_allclose(own.contributions[place], by_definition(answer, row, background), atol=1e-9)
    base = np.asarray(answer(background)).reshape(len(background), -1).mean(axis=0)
    np.testing.assert_allclose(own.base[0], base, atol=1e-9)
    assert own.background_rows == 20
