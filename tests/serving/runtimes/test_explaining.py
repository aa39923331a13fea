"""Every kind of model is explained by the method that is meant for it, and base and contributions add up."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC
from tests.serving import models
from tests.serving.runtimes import directories
from tests.serving.runtimes.directories import LABELS, NAMES, ROWS
from tests.serving.runtimes.test_shapley import by_definition

from headrace.errors import NotServed
from headrace.serving.forms.inputs import Inputs
from headrace.serving.runtimes import explaining, own_contributions
from headrace.serving.runtimes.explained import Subject, View, subject_of, view_of
from headrace.serving.runtimes.explaining import Explainer
from headrace.serving.runtimes.recipe import Recipe
from headrace.training.answers import POSITIVE_PROBABILITY

FRAME = pd.DataFrame(ROWS, columns=list(NAMES))
VALUES = ROWS[:, 0] * 2 + np.abs(ROWS[:, 1])
COUNTS = np.round(np.exp(ROWS[:, 0]))
THREE = np.digitize(ROWS[:, 0], [-0.5, 0.5])
BACKGROUND, ASKED = ROWS[:30], ROWS[100:106]
TREES = {"n_estimators": 8, "max_depth": 3}

Found = tuple[dict[str, Any], dict[str, Any]]


def explainer(directory: Path, background: Inputs | None = BACKGROUND) -> Explainer:
    order = models.arranged(directory).order
    made = Explainer(subject_of(order.files, order.recipe), order.recipe)
    if background is not None:
        made.compare_with(background)
    return made


def explain(made: Explainer, rows: Inputs = ASKED, output: str | None = None) -> Found:
    return made.explain(rows, None, output=output, within_s=60.0)


def sums(found: Found) -> Any:
    return found[1]["base"] + found[1]["contributions"].sum(axis=1)


def estimator(root: Path, fitted: Any) -> Path:
    return models.write_model(root / "m", fitted, names=NAMES, types=["double"] * 3)


def expit(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


XGBOOST: list[tuple[Any, Any, str, Callable[[Any], Any]]] = [
    (xgboost.XGBClassifier(**TREES, n_jobs=1), LABELS, "log_odds", lambda m: m.predict(FRAME, output_margin=True)),
    (xgboost.XGBRegressor(**TREES, n_jobs=1), VALUES, "value", lambda m: m.predict(FRAME)),
    (
        xgboost.XGBRegressor(**TREES, n_jobs=1, objective="count:poisson"),
        COUNTS,
        "log",
        lambda m: np.log(m.predict(FRAME)),
    ),
    (
        xgboost.XGBClassifier(**TREES, n_jobs=1),
        THREE,
        "raw",
        lambda m: m.predict(FRAME, output_margin=True).max(axis=1),
    ),
    (
        xgboost.XGBRegressor(n_estimators=8, n_jobs=1, booster="gblinear"),
        VALUES,
        "value",
        lambda m: m.predict(FRAME),
    ),
    (xgboost.XGBRegressor(**TREES, n_jobs=1, booster="dart"), VALUES, "value", lambda m: m.predict(FRAME)),
]


@pytest.mark.parametrize(("model", "target", "scale", "margins"), XGBOOST)
def test_xgboost_says_it_itself(tmp_path: Path, model: Any, target: Any, scale: str, margins: Any) -> None:
    model.fit(FRAME, target)
    found = explain(explainer(directories.xgboost_model(tmp_path / "m", model), None))
    assert found[0]["scale"] == scale
    assert found[0]["method"]["by"] == "XGBoost"
    np.testing.assert_allclose(sums(found), margins(model)[100:106], atol=1e-4)


LIGHTGBM: list[tuple[dict[str, Any], Any, str]] = [
    ({"objective": "binary"}, LABELS, "log_odds"),
    ({"objective": "binary", "sigmoid": 2.5}, LABELS, "log_odds"),
    ({"objective": "regression"}, VALUES, "value"),
    ({"objective": "poisson"}, COUNTS, "log"),
    ({"objective": "multiclass", "num_class": 3}, THREE, "raw"),
]


@pytest.mark.parametrize(("params", "target", "scale"), LIGHTGBM)
def test_lightgbm_says_it_itself(tmp_path: Path, params: dict[str, Any], target: Any, scale: str) -> None:
    booster = lightgbm.train({**params, "verbose": -1}, lightgbm.Dataset(ROWS, target), num_boost_round=8)
    found = explain(explainer(directories.lightgbm_model(tmp_path / "m", booster), None))
    assert (found[0]["scale"], found[0]["method"]["by"]) == (scale, "LightGBM")
    assert found[0]["labels"] == {"log_odds": [1], "value": [0], "log": [0], "raw": [0, 1, 2]}[scale]
    raw = np.asarray(booster.predict(ASKED, raw_score=True))
    expected = raw.max(axis=1) if raw.ndim == 2 else params.get("sigmoid", 1.0) * raw
    np.testing.assert_allclose(sums(found), expected, atol=1e-9)


def test_what_does_not_come_to_the_answer_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = xgboost.XGBClassifier(**TREES, n_jobs=1).fit(FRAME, LABELS)
    monkeypatch.setattr(own_contributions, "LOG_ODDS", "value")
    found = explain(explainer(directories.xgboost_model(tmp_path / "m", model)))
    assert (found[0]["scale"], found[0]["method"]["name"]) == ("probability", "exact_shapley")
    np.testing.assert_allclose(sums(found), model.predict_proba(FRAME)[100:106, 1], atol=1e-6)


def test_one_number_for_two_classes_is_of_the_second(tmp_path: Path) -> None:
    model = xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(FRAME, LABELS), 5)
    made = explainer(directories.xgboost_model(tmp_path / "m", model))
    for output in (None, "1"):
        found = explain(made, output=output)
        assert (found[0]["labels"], found[0]["scale"]) == ([1], "log_odds")
        np.testing.assert_allclose(expit(sums(found)), model.predict(xgboost.DMatrix(FRAME))[100:106], atol=1e-5)
    assert explain(made, output="0")[0] == {"refused": "output", "labels": [1]}


def test_a_class_is_named_as_its_label_is_written_here_or_in_json(tmp_path: Path) -> None:
    made = explainer(estimator(tmp_path, LogisticRegression().fit(ROWS, LABELS > 0)))
    for output, place in (("False", 0), ("false", 0), ("true", 1), (None, 1)):
        assert explain(made, output=output)[1]["chosen"].tolist() == [place] * len(ASKED)


SKLEARN: list[tuple[Any, Any, str, str, str]] = [
    (Ridge(), VALUES, "linear", "value", "predict"),
    (make_pipeline(StandardScaler(), LogisticRegression()), LABELS, "linear", "log_odds", "decision_function"),
    (LogisticRegression(), THREE, "linear", "raw", "decision_function"),
    (RidgeClassifier(), LABELS, "linear", "raw", "decision_function"),
    (PoissonRegressor(), COUNTS, "linear", "log", "predict"),
    (
        make_pipeline(SelectKBest(k=2), KBinsDiscretizer(4, encode="onehot-dense"), LogisticRegression()),
        LABELS,
        "linear",
        "log_odds",
        "decision_function",
    ),
    (RandomForestClassifier(5), THREE, "tree_shap_interventional", "probability", "predict_proba"),
    (
        make_pipeline(SimpleImputer(add_indicator=True), GradientBoostingClassifier(n_estimators=5)),
        LABELS,
        "tree_shap_interventional",
        "log_odds",
        "decision_function",
    ),
    (
        HistGradientBoostingRegressor(loss="poisson", max_iter=5),
        COUNTS,
        "tree_shap_interventional",
        "log",
        "predict",
    ),
    (
        make_pipeline(StandardScaler(), xgboost.XGBClassifier(**TREES, n_jobs=1)),
        LABELS,
        "tree_shap",
        "log_odds",
        "predict_proba",
    ),
    (lightgbm.LGBMClassifier(n_estimators=5, verbose=-1), THREE, "tree_shap", "raw", "predict_proba"),
    (make_pipeline(PCA(2), LogisticRegression()), LABELS, "exact_shapley", "probability", "predict_proba"),
    (GaussianNB(), THREE, "exact_shapley", "probability", "predict_proba"),
    (SVC(), LABELS, "exact_shapley", "raw", "decision_function"),
]


@pytest.mark.parametrize(
    ("model", "target", "name", "scale", "method"),
    SKLEARN,
    ids=[f"{type(each[0]).__name__}-{place}" for place, each in enumerate(SKLEARN)],
)
def test_estimators_by_their_kind(
    tmp_path: Path, model: Any, target: Any, name: str, scale: str, method: str
) -> None:
    model.fit(ROWS, target)
    found = explain(explainer(estimator(tmp_path, model)))
    assert (found[0]["method"]["name"], found[0]["scale"]) == (name, scale)
    own = np.asarray(getattr(model, method)(ASKED), dtype=np.float64)
    at, chosen = np.arange(len(ASKED)), found[1]["chosen"]
    came_to = sums(found)
    if method == "predict_proba" and scale == "log_odds":
        came_to = expit(came_to)
    if method == "predict_proba" and scale == "raw":
        assert (chosen == own.argmax(axis=1)).all()
        return  # a softmax of one sum alone says nothing; the explainer compares that of all
    if method == "predict" and scale == "log":
        came_to = np.exp(came_to)
    np.testing.assert_allclose(came_to, own[at, chosen] if own.ndim == 2 else own, atol=1e-5)


@pytest.mark.parametrize("place", [0, 1, 5, 6, 7])
def test_against_a_background_estimators_give_what_the_definition_gives(tmp_path: Path, place: int) -> None:
    model, target, _, _, method = SKLEARN[place]
    model.fit(ROWS, target)
    found = explain(explainer(estimator(tmp_path, model)), ASKED[:2])
    for row, chosen, contributions in zip(ASKED[:2], found[1]["chosen"], found[1]["contributions"], strict=True):
        expected = by_definition(getattr(model, method), row, BACKGROUND)
        np.testing.assert_allclose(contributions, expected[min(chosen, len(expected) - 1)], atol=1e-9)


CITIES = np.array(["Delft", "Gouda", "Breda"], dtype=object)[np.arange(len(ROWS)) % 3]
SEEN = pd.DataFrame({"city": CITIES, "age": ROWS[:, 0], "spend": ROWS[:, 2]})


def frame_model(root: Path, last: Any, *, city: Any) -> tuple[Path, Any]:
    chooser = ColumnTransformer([("cities", city, ["city"]), ("numbers", StandardScaler(), ["age", "spend"])])
    model = make_pipeline(chooser, last).fit(SEEN, (ROWS[:, 0] + (CITIES == "Delft") > 0).astype(int))
    return models.write_model(
        root / "m", model, names=["city", "age", "spend"], types=["string", "double", "double"]
    ), model


@pytest.mark.parametrize(
    ("last", "city", "name"),
    [
        (LogisticRegression(), OneHotEncoder(), "linear"),
        (xgboost.XGBClassifier(**TREES, n_jobs=1), OneHotEncoder(), "tree_shap"),
        (RandomForestClassifier(5), OrdinalEncoder(), "tree_shap_interventional"),
        (GradientBoostingClassifier(n_estimators=5), OneHotEncoder(), "tree_shap_interventional"),
        (GaussianNB(), OneHotEncoder(), "exact_shapley"),
    ],
)
def test_a_column_of_text_has_one_contribution_whatever_was_made_of_it(
    tmp_path: Path, last: Any, city: Any, name: str
) -> None:
    directory, model = frame_model(tmp_path, last, city=city)
    columns: Inputs = {each: SEEN[each].to_numpy()[:30] for each in SEEN}
    rows: Inputs = {each: SEEN[each].to_numpy()[100:106] for each in SEEN}
    found = explain(explainer(directory, columns), rows)
    assert found[0]["method"]["name"] == name
    assert found[1]["contributions"].shape == (6, 3)
    came_to = expit(sums(found)) if found[0]["scale"] == "log_odds" else sums(found)
    np.testing.assert_allclose(came_to, model.predict_proba(SEEN)[100:106, 1], atol=1e-5)
    assert (np.abs(found[1]["contributions"][:, 0]) > 1e-6).all(), "the city matters everywhere"


def test_a_graph_is_asked_from_outside(tmp_path: Path) -> None:
    directory = directories.onnx_model(tmp_path / "m", directories.sum_graph())
    found = explain(explainer(directory))
    assert found[0]["method"]["name"] == "exact_shapley"
    np.testing.assert_allclose(found[1]["contributions"], ASKED - BACKGROUND.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(sums(found), ASKED.sum(axis=1), atol=1e-5)


def test_a_tensor_is_explained_place_by_place(tmp_path: Path) -> None:
    spec = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}
    directory = directories.onnx_model(tmp_path / "m", directories.sum_graph(), inputs=[spec])
    background, asked = BACKGROUND.astype(np.float32), ASKED.astype(np.float32)
    found = explain(explainer(directory, {"": background}), {"": asked})
    np.testing.assert_allclose(found[1]["contributions"], asked - background.mean(axis=0), atol=1e-5)


def test_of_labels_alone_it_is_explained_whether_they_are_given() -> None:
    view = view_of(np.array(["no", "yes", "no"], dtype=object), np.array(["maybe"], dtype=object))
    assert (view.labels, view.scale) == (["maybe", "no", "yes"], "probability")
    assert view.read(np.array(["yes", "other"], dtype=object)).tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def test_rows_that_add_up_to_one_are_likelihoods_and_others_are_not() -> None:
    shares = np.array([[0.2, 0.8], [0.5, 0.5]])
    assert view_of(shares, None).scale == "probability"
    assert view_of(shares, np.array([[1.0, 1.0]])).scale == "value"
    frame = view_of({"low": np.array([1.0, 2.0]), "kind": np.array([1, 2]), "high": np.array([3.0, 4.0])}, None)
    assert (frame.labels, frame.scale) == (["low", "high"], "value")


def test_without_a_background_only_trees_that_know_their_own_are_explained(tmp_path: Path) -> None:
    assert explain(explainer(estimator(tmp_path, Ridge().fit(ROWS, VALUES)), None))[0] == {"refused": "background"}


@pytest.mark.parametrize("answer", ["predict", "predict_proba", POSITIVE_PROBABILITY])
@pytest.mark.parametrize("target", [LABELS, THREE], ids=["two", "three"])
def test_what_callers_get_is_told_where_it_follows_from_likelihoods(
    tmp_path: Path, answer: str, target: Any
) -> None:
    for model in (LogisticRegression(), GaussianNB()):
        order = models.arranged(estimator(tmp_path / type(model).__name__, model.fit(ROWS, target))).order
        recipe = replace(order.recipe, answer=answer)
        made = Explainer(subject_of(order.files, recipe), recipe)
        made.compare_with(BACKGROUND)
        _, arrays = made.explain(ASKED, None, output=None, within_s=60.0, told=True)
        if answer == "predict":
            assert "told" not in arrays, "the likeliest class is not always what a model answers"
        else:
            np.testing.assert_array_equal(arrays["told"], made.predict(ASKED, None))
        assert "told" not in explain(made)[1]


def test_too_little_time_is_told(tmp_path: Path) -> None:
    made = explainer(estimator(tmp_path, GaussianNB().fit(ROWS, THREE)))
    found, arrays = made.explain(ASKED, None, output=None, within_s=0.0)
    assert (found, arrays) == ({"refused": "time"}, {})


def test_sampled_values_come_with_errors(tmp_path: Path) -> None:
    wide = np.random.default_rng(5).normal(size=(200, 14))
    model = GaussianNB().fit(wide, wide[:, 0] > 0)
    names = [f"f{place}" for place in range(14)]
    directory = models.write_model(tmp_path / "m", model, names=names, types=["double"] * 14)
    found = explain(explainer(directory, wide[:20]), wide[50:52])
    assert found[0]["method"]["name"] == "sampled_shapley"
    assert found[0]["method"]["permutations"] == 200
    assert found[1]["errors"].shape == (2, 14)
    assert (found[1]["errors"][:, 0] > 0).all()
    np.testing.assert_allclose(sums(found), model.predict_proba(wide[50:52])[:, 1], atol=1e-9)


class Wide:
    """Many linear outputs, which says what it is made of; it remembers for how many rows at once."""

    def __init__(self, features: int, outputs: int) -> None:
        self.rows: list[int] = []
        weights = np.random.default_rng(1).normal(size=(outputs, features))

        def ask(inputs: Any, _params: Any) -> Any:
            return inputs @ weights.T

        def own(rows: Any, _background: Any) -> own_contributions.Own:
            self.rows.append(len(rows))
            return own_contributions.Own(np.zeros((len(rows), outputs)), rows[:, None, :] * weights, "value", "it")

        view = View(list(range(outputs)), "value", np.asarray)
        way = ("linear", "", own)
        subject = Subject(ask, ask, view, way, lambda inputs: inputs, tuple(range(features)))
        names = [f"f{place}" for place in range(features)]
        self.explainer = Explainer(subject, Recipe(runtime="", columns=tuple((name, "double") for name in names)))


def test_what_a_model_says_itself_is_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(2).normal(size=(50, 4))
    whole = explain(Wide(4, 10).explainer, rows, "7")
    monkeypatch.setattr(explaining, "NUMBERS_AT_ONCE", 4 * 10 * 18)
    pieces = Wide(4, 10)
    found = explain(pieces.explainer, rows, "7")
    assert pieces.rows == [1, 10, 18, 18, 3]
    assert found[1]["contributions"].shape == (50, 4)
    for name in ("base", "contributions", "chosen"):
        np.testing.assert_array_equal(found[1][name], whole[1][name])


def test_rows_for_which_there_will_be_no_time_are_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first few took tells how long all would take; not the very first, which prepares for them."""
    wide, now_s = Wide(4, 10), 0.0
    monkeypatch.setattr(explaining, "time", SimpleNamespace(perf_counter=lambda: now_s))
    name, source, own = wide.explainer._subject.own or ("", "", None)

    def slow(rows: Any, background: Any) -> Any:
        nonlocal now_s
        now_s += 0.1 * len(rows) + (0.0 if wide.rows else 0.5)
        assert own is not None
        return own(rows, background)

    wide.explainer._subject = wide.explainer._subject._replace(own=(name, source, slow))
    rows = np.zeros((50, 4))
    assert wide.explainer.explain(rows, None, output=None, within_s=4.0) == ({"refused": "time"}, {})
    assert wide.rows == [1, 10]
    wide.rows.clear()
    assert "method" in wide.explainer.explain(rows, None, output=None, within_s=5.9)[0]
    assert sum(wide.rows) == 50


def test_what_a_model_says_itself_has_limits_too() -> None:
    late = Wide(4, 10).explainer.explain(np.zeros((50, 4)), None, output=None, within_s=0.0)
    assert late == ({"refused": "time"}, {})
    with pytest.raises(NotServed, match="2000 features"):
        explain(Wide(2_001, 1).explainer, np.zeros((1, 2_001)))
