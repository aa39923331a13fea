"""Graphs of boosted trees answer as their models do, also in the last bit of what is compared."""

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from headrace.errors import NotServed
from headrace.serving.runtimes import tree_graphs
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.onnx_models import open_session
from headrace.serving.runtimes.recipe import Recipe

GENERATOR = np.random.default_rng(2)
ROWS = GENERATOR.normal(size=(500, 5)) * [1, 1e4, 1e-4, 1, 1]
ROWS[GENERATOR.random(ROWS.shape) < 0.1] = np.nan
ROWS[:, 4] = GENERATOR.integers(0, 4, 500)
TARGET = np.nansum(ROWS / np.nanstd(ROWS, axis=0), axis=1)
LABELS, THREE = (TARGET > 0).astype(int), np.digitize(TARGET, [-1, 1])


def near_thresholds(trees: tree_graphs.Trees) -> Any:
    """Rows on thresholds, and next to them by one bit."""
    rows = np.tile(ROWS[:1], (3 * len(trees.thresholds), 1))
    for place, (feature, threshold) in enumerate(zip(trees.features, trees.thresholds, strict=True)):
        beside = [np.nextafter(threshold, -np.inf), threshold, np.nextafter(threshold, np.inf)]
        rows[3 * place : 3 * place + 3, feature] = beside
    return rows


def answers(found: tree_graphs.Found, rows: Any, folder: Path, *, classes: bool) -> Any:
    graph = tree_graphs.graph_of(found, columns=5, taken="rows", given="answers", classes=classes)
    onnx.checker.check_model(graph)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return open_session(ModelFiles(folder), Recipe("onnx", file="model.onnx")).run(None, {"rows": rows})[0]


@pytest.mark.parametrize("target", [LABELS, THREE])
def test_classes_of_hist_gradient_boosting(tmp_path: Path, target: Any) -> None:
    model = HistGradientBoostingClassifier(max_iter=15, random_state=0).fit(ROWS, target)
    found = tree_graphs.of_hist_gradient_boosting(model)
    for rows in (ROWS, near_thresholds(found[0])):
        np.testing.assert_allclose(
            answers(found, rows, tmp_path, classes=True), model.predict_proba(rows), atol=1e-14
        )


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "absolute_error"])
def test_values_of_hist_gradient_boosting(tmp_path: Path, loss: Any) -> None:
    model = HistGradientBoostingRegressor(loss=loss, max_iter=15, random_state=0).fit(ROWS, np.abs(TARGET))
    found = tree_graphs.of_hist_gradient_boosting(model)
    given = answers(found, ROWS, tmp_path, classes=False)[:, 0]
    np.testing.assert_allclose(given, model.predict(ROWS), rtol=1e-13)


@pytest.mark.parametrize(
    ("objective", "target"),
    [
        ("binary", LABELS),
        ("multiclass", THREE),
        ("multiclassova", THREE),
        ("cross_entropy", LABELS),
        ("regression", TARGET),
        ("regression_l1", TARGET),
        ("tweedie", np.abs(TARGET)),
    ],
)
def test_objectives_of_lightgbm(tmp_path: Path, objective: str, target: Any) -> None:
    options = {"objective": objective, "verbose": -1, "num_class": 3 if objective.startswith("multi") else 1}
    booster = lightgbm.train(options, lightgbm.Dataset(ROWS, target), 12)
    found = tree_graphs.of_lightgbm(booster)
    classes = objective in {"binary", "cross_entropy"}
    for rows in (ROWS, near_thresholds(found[0])):
        expected = np.asarray(booster.predict(rows))
        given = answers(found, rows, tmp_path, classes=classes)
        given = given if expected.ndim == 2 else given[:, -1]
        np.testing.assert_allclose(given, expected, rtol=1e-12, atol=1e-14)


def test_nulls_where_training_had_none_are_what_lightgbm_takes_them_for(tmp_path: Path) -> None:
    whole = np.nan_to_num(ROWS)
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(whole, TARGET), 12)
    found = tree_graphs.of_lightgbm(booster)
    np.testing.assert_allclose(
        answers(found, ROWS, tmp_path, classes=False)[:, 0], np.asarray(booster.predict(ROWS)), rtol=1e-12
    )


def test_a_tree_that_is_one_leaf(tmp_path: Path) -> None:
    booster = lightgbm.train({"verbose": -1, "min_data_in_leaf": 1_000}, lightgbm.Dataset(ROWS, TARGET), 2)
    found = tree_graphs.of_lightgbm(booster)
    given = answers(found, ROWS, tmp_path, classes=False)[:, 0]
    np.testing.assert_allclose(given, np.asarray(booster.predict(ROWS)), rtol=1e-12)


def test_what_is_not_known_is_not_converted() -> None:
    categories = lightgbm.Dataset(ROWS, LABELS, categorical_feature=[4])
    with pytest.raises(NotServed, match="categories"):
        tree_graphs.of_lightgbm(lightgbm.train({"verbose": -1, "min_data_per_group": 1}, categories, 3))
    forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5, "verbose": -1}
    with pytest.raises(NotServed, match="forests"):
        tree_graphs.of_lightgbm(lightgbm.train(forest, lightgbm.Dataset(ROWS, LABELS), 3))
    linear = {"linear_tree": True, "verbose": -1}
    with pytest.raises(NotServed, match="linear"):
        tree_graphs.of_lightgbm(lightgbm.train(linear, lightgbm.Dataset(np.nan_to_num(ROWS), TARGET), 3))
    zeros = {"zero_as_missing": True, "verbose": -1}
    with pytest.raises(NotServed, match="zeros"):
        tree_graphs.of_lightgbm(lightgbm.train(zeros, lightgbm.Dataset(ROWS, TARGET), 3))
    model = HistGradientBoostingClassifier(max_iter=3, categorical_features=[4]).fit(np.nan_to_num(ROWS), LABELS)
    with pytest.raises(NotServed, match="categories"):
        tree_graphs.of_hist_gradient_boosting(model)
