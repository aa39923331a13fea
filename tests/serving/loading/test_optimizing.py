"""A faster form is used when it is the same model, and told about when it is not."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.serving import models
from tests.serving.runtimes import directories

from headrace.errors import HeadraceError
from headrace.serving.loading.host import HostOrder, ModelHost
from headrace.serving.loading.optimizing import Graph, optimize
from headrace.serving.loading_nouns import NATIVE, OptimizationReport
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.onnx_models import CONVERTED
from headrace.serving.runtimes.recipe import Recipe

COLUMNS = 4
NAMES = tuple(f"c{place}" for place in range(COLUMNS))
GENERATOR = np.random.default_rng(3)
ROWS = np.column_stack(
    [
        GENERATOR.normal(0, 1, 400),
        GENERATOR.integers(0, 9, 400),
        GENERATOR.normal(1e6, 1e3, 400).round(1),
        GENERATOR.uniform(0, 1e-3, 400),
    ]
)
SCORE = (ROWS - ROWS.mean(axis=0)) / ROWS.std(axis=0)
LABELS = (SCORE.sum(axis=1) + GENERATOR.normal(0, 0.5, 400) > 0).astype(int)
THREE = np.digitize(SCORE[:, 0], [-0.5, 0.5])


def found(directory: Path, scratch: Path) -> tuple[OptimizationReport, Graph | None, ModelHost]:
    """The report on a directory's model, with a host of the native model."""
    arrangement = models.arranged(directory)
    recipe = arrangement.order.recipe
    with ModelHost(arrangement.order) as native:
        report, graph = optimize(
            native,
            lambda graph: form(graph, recipe, scratch),
            digest="sha256:0",
            runtime=recipe.runtime,
            real=ROWS,
            nulls=(False,) * COLUMNS,
            rows_from={"training set": len(ROWS)},
            libraries={},
            progress=lambda _fraction, _note: None,
        )
    return report, graph, ModelHost(arrangement.order)


def form(graph: Graph, recipe: Recipe, scratch: Path) -> ModelHost:
    content, known = graph
    scratch.mkdir(exist_ok=True)
    (scratch / "model.onnx").write_bytes(content)
    options = {CONVERTED: known}
    return ModelHost(
        HostOrder(ModelFiles(scratch), Recipe("onnx", file="model.onnx", columns=recipe.columns, options=options))
    )


def sklearn_model(directory: Path, estimator: Any, *, ours: bool = True) -> Path:
    models.write_model(directory, estimator, names=NAMES, types=("double",) * COLUMNS)
    if not ours:
        models.change_description(directory, lambda description: description.pop("metadata"))
    return directory


def trees(**options: Any) -> RandomForestClassifier:
    return RandomForestClassifier(30, random_state=0, max_depth=6, **options)


MODELS: dict[str, Callable[[Path], Path]] = {
    "forest behind a scaler": lambda folder: sklearn_model(
        folder, make_pipeline(StandardScaler(), trees()).fit(ROWS, LABELS)
    ),
    "labels of a forest": lambda folder: sklearn_model(
        folder, trees().fit(ROWS, np.where(LABELS, "yes", "no")), ours=False
    ),
    "three classes": lambda folder: sklearn_model(folder, trees().fit(ROWS, THREE)),
    "boosted trees behind a scaler": lambda folder: sklearn_model(
        folder,
        make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=20, random_state=0)).fit(
            ROWS, LABELS
        ),
    ),
    "logistic regression": lambda folder: sklearn_model(
        folder, make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS)
    ),
    "linear regression": lambda folder: sklearn_model(folder, LinearRegression().fit(ROWS, SCORE.sum(axis=1))),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_chosen_answers_as_the_model_does_on_rows_that_it_was_not_chosen_by(
    name: str, tmp_path: Path
) -> None:
    report, graph, native = found(MODELS[name](tmp_path / "m"), tmp_path / "scratch")
    assert report.chosen != NATIVE, report
    assert graph is not None
    chosen = next(each for each in report.candidates if each.name == report.chosen)
    assert chosen.passed
    assert {"real", "random"} <= set(chosen.agreements)
    assert chosen.one_row_us is not None
    assert report.one_row_us is not None
    assert chosen.one_row_us < report.one_row_us
    fresh = np.random.default_rng(99).choice(ROWS, 300) * np.random.default_rng(98).uniform(
        0.9, 1.1, (300, COLUMNS)
    )
    with native, form(graph, native._order.recipe, tmp_path / "scratch") as other:
        expected, answers = np.asarray(native.predict(fresh)), np.asarray(other.predict(fresh))
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(answers, expected, atol=1e-6, rtol=1e-6)
    else:
        assert answers.tolist() == expected.tolist()


def test_a_precision_that_is_wrong_for_a_model_is_reported_and_never_used(tmp_path: Path) -> None:
    report, _, _ = found(MODELS["forest behind a scaler"](tmp_path / "m"), tmp_path / "scratch")
    by_name = {each.name: each for each in report.candidates}
    for wrong in (by_name["float"], by_name["double"]):
        assert not wrong.passed
        assert "differ" in wrong.why
    assert report.chosen == "mixed"
    assert by_name["mixed"].agreements["last bit"].holds


@functools.cache
def boosters() -> dict[str, Any]:
    return {
        "lightgbm": lightgbm.train(
            {"objective": "binary", "verbose": -1}, lightgbm.Dataset(ROWS, LABELS, feature_name=list(NAMES)), 30
        ),
        "lightgbm regression": lightgbm.train({"verbose": -1}, lightgbm.Dataset(ROWS, SCORE.sum(axis=1)), 30),
        "xgboost labels": xgboost.XGBClassifier(n_estimators=30, n_jobs=1).fit(ROWS, LABELS),
        "xgboost three": xgboost.XGBClassifier(n_estimators=10, n_jobs=1).fit(ROWS, THREE),
        "xgboost booster": xgboost.XGBClassifier(n_estimators=30, n_jobs=1).fit(ROWS, LABELS).get_booster(),
    }


@pytest.mark.parametrize(
    "name", ["lightgbm", "lightgbm regression", "xgboost labels", "xgboost three", "xgboost booster"]
)
def test_boosters_are_converted_and_compared_too(name: str, tmp_path: Path) -> None:
    kind, model = name.split(maxsplit=1)[0], boosters()[name]
    write = directories.lightgbm_model if kind == "lightgbm" else directories.xgboost_model
    directory = write(tmp_path / "m", model)
    columns = [{"name": each, "type": "double"} for each in NAMES]
    models.change_description(
        directory, lambda description: description["signature"].update(inputs=json.dumps(columns))
    )
    report, _, _ = found(directory, tmp_path / "scratch")
    (candidate,) = report.candidates
    assert candidate.agreements["real"].holds, candidate
    assert candidate.passed, candidate
    assert candidate.agreements["edges"].rows > 100


def test_a_form_that_cannot_even_be_loaded_is_reported(tmp_path: Path) -> None:
    directory = MODELS["linear regression"](tmp_path / "m")

    def broken(graph: Graph, recipe: Recipe, scratch: Path) -> ModelHost:
        return form((b"no graph", graph[1]), recipe, scratch)

    arrangement = models.arranged(directory)
    with ModelHost(arrangement.order) as native:
        report, graph = optimize(
            native,
            lambda graph: broken(graph, arrangement.order.recipe, tmp_path / "scratch"),
            digest="sha256:0",
            runtime="skops",
            real=ROWS,
            nulls=(True,) * COLUMNS,
            rows_from={},
            libraries={},
            progress=lambda _fraction, _note: None,
        )
    assert graph is None
    assert report.chosen == NATIVE
    assert all("could not be read" in each.why for each in report.candidates)


def test_a_model_that_fails_on_real_rows_is_not_converted(tmp_path: Path) -> None:
    directory = models.write_model(tmp_path / "m", models.raising_model())
    arrangement = models.arranged(directory)
    with ModelHost(arrangement.order) as native, pytest.raises(HeadraceError, match="raised"):
        optimize(
            native,
            lambda graph: form(graph, arrangement.order.recipe, tmp_path / "scratch"),
            digest="sha256:0",
            runtime="skops",
            real=np.full((10, 2), 5.0),
            nulls=(False, False),
            rows_from={},
            libraries={},
            progress=lambda _fraction, _note: None,
        )
