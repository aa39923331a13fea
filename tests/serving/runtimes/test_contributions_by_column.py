"""Whatever a pipeline makes of them, contributions are of the columns that callers send, and add up."""

import functools
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from tests.serving import models
from tests.serving.runtimes import directories
from tests.serving.runtimes.directories import LABELS, ROWS
from tests.serving.runtimes.test_explaining import THREE, expit, explainer
from tests.serving.runtimes.test_tree_shapley import by_coalitions

from headrace.serving.forms.inputs import Inputs
from headrace.serving.runtimes import own_contributions
from headrace.serving.runtimes.explaining import Explainer

TEXTS, NUMBERS = ["city", "plan"], ["age", "spend", "visits"]
COLUMNS = [*TEXTS, *NUMBERS]
CITIES, PLANS = ["Breda", "Delft", "Gouda"], ["free", "paid"]
CHANCE = np.random.default_rng(17)
FRAME = pd.DataFrame(
    {
        "city": CHANCE.choice(np.array(CITIES, dtype=object), len(ROWS)),
        "plan": CHANCE.choice(np.array(PLANS, dtype=object), len(ROWS)),
        "age": np.where(CHANCE.random(len(ROWS)) < 0.1, np.nan, ROWS[:, 0]),
        "spend": ROWS[:, 1],
        "visits": np.round(ROWS[:, 2] * 3),
    }
)
SIGNAL = ROWS[:, 0] + (FRAME["city"] == "Delft") * 1.5 - (FRAME["plan"] == "paid") * ROWS[:, 1]
TWO, MORE = (SIGNAL > 0).astype(int), np.digitize(SIGNAL, [-0.5, 1.0])
FEW: dict[str, Any] = {"n_estimators": 6, "max_depth": 4}


def one_hot(last: Any) -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(
        ColumnTransformer([("n", numbers, NUMBERS), ("t", OneHotEncoder(handle_unknown="ignore"), TEXTS)]), last
    )


def ordinal(last: Any) -> Any:
    texts = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_pipeline(ColumnTransformer([("t", texts, TEXTS)], remainder="passthrough"), last)


QUIET: dict[str, Any] = {"verbose": -1, "n_jobs": 1}
PIPELINES: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "one-hot, logistic": (lambda: one_hot(LogisticRegression()), TWO, "log_odds"),
    "one-hot, logistic of three": (lambda: one_hot(LogisticRegression()), MORE, "raw"),
    "one-hot, ridge": (lambda: one_hot(Ridge()), SIGNAL, "value"),
    "one-hot, forest": (lambda: one_hot(RandomForestClassifier(**FEW)), MORE, "probability"),
    "one-hot, extra trees": (lambda: one_hot(ExtraTreesRegressor(**FEW)), SIGNAL, "value"),
    "one-hot, boosting": (lambda: one_hot(GradientBoostingClassifier(**FEW)), MORE, "raw"),
    "one-hot, xgboost": (lambda: one_hot(xgboost.XGBClassifier(**FEW, n_jobs=1)), TWO, "log_odds"),
    "one-hot, lightgbm": (lambda: one_hot(lightgbm.LGBMClassifier(**FEW, **QUIET)), MORE, "raw"),
    "ordinal, histograms": (lambda: ordinal(HistGradientBoostingClassifier(max_iter=6)), TWO, "log_odds"),
    "ordinal, histograms of values": (lambda: ordinal(HistGradientBoostingRegressor(max_iter=6)), SIGNAL, "value"),
    "ordinal, xgboost": (lambda: ordinal(xgboost.XGBClassifier(**FEW, n_jobs=1)), MORE, "raw"),
    "ordinal, xgboost of values": (lambda: ordinal(xgboost.XGBRegressor(**FEW, n_jobs=1)), SIGNAL, "value"),
    "ordinal, lightgbm": (lambda: ordinal(lightgbm.LGBMRegressor(**FEW, **QUIET)), SIGNAL, "value"),
}
IN_TREES = ["one-hot, forest", "one-hot, extra trees", "one-hot, boosting", "ordinal, histograms"]


def columns_of(frame: pd.DataFrame) -> Inputs:
    return {name: frame[name].to_numpy() for name in COLUMNS}


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Explainer]]:
    @functools.cache
    def made(name: str) -> tuple[Any, Explainer]:
        model = PIPELINES[name][0]().fit(FRAME, PIPELINES[name][1])
        directory = models.write_model(
            tmp_path_factory.mktemp("m") / "m", model, names=COLUMNS, types=["string"] * 2 + ["double"] * 3
        )
        return model, explainer(directory, columns_of(FRAME[:6]))

    return made


NUMBER = st.floats(-4, 4, width=32)
ASKED = st.lists(
    st.tuples(
        st.sampled_from([*CITIES, "Rotterdam"]),
        st.sampled_from([*PLANS, "trial"]),
        NUMBER | st.just(np.nan),
        NUMBER,
        NUMBER,
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("name", PIPELINES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ASKED)
def test_contributions_are_of_the_columns_sent_and_add_up(
    explained: Callable[[str], tuple[Any, Explainer]], name: str, rows: list[Any]
) -> None:
    model, made = explained(name)
    asked, scale = pd.DataFrame(rows, columns=COLUMNS), PIPELINES[name][2]
    classes = [None] if scale == "value" else [str(label) for label in model.classes_]
    sums = []
    for label in classes:
        known, arrays = made.explain(columns_of(asked), None, output=label, within_s=60.0)
        assert known["scale"] == scale
        assert known["method"]["name"] in {"linear", "tree_shap", "tree_shap_interventional"}
        assert arrays["contributions"].shape == (len(asked), len(COLUMNS))
        sums.append(arrays["base"] + arrays["contributions"].sum(axis=1))
    came_to = np.stack(sums, axis=1)
    if scale == "value":
        np.testing.assert_allclose(came_to[:, 0], model.predict(asked), rtol=1e-4, atol=1e-4)
        return
    if scale == "log_odds":
        came_to = expit(came_to)
    elif scale == "raw":
        came_to = np.exp(came_to) / np.exp(came_to).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(came_to, model.predict_proba(asked), atol=1e-4)


@pytest.mark.parametrize("name", IN_TREES)
def test_a_column_is_one_player_however_many_columns_were_made_of_it(
    explained: Callable[[str], tuple[Any, Explainer]], name: str
) -> None:
    """A sum over one-hot columns, each a player of its own, would be something else wherever trees ask for two."""
    model, made = explained(name)
    background, scale = FRAME[:6], PIPELINES[name][2]
    answer = {"value": "predict", "probability": "predict_proba"}.get(scale, "decision_function")
    for place in (40, 41):
        row = FRAME[place : place + 1]

        @functools.cache
        def worth(known: frozenset[int], row: pd.DataFrame = row) -> Any:
            mixed = background.copy()
            for each in known:
                mixed[COLUMNS[each]] = row[COLUMNS[each]].iloc[0]
            found = np.asarray(getattr(model, answer)(mixed), dtype=np.float64)
            return found.reshape(len(mixed), -1).mean(axis=0)

        _, arrays = made.explain(columns_of(row), None, output=None, within_s=60.0)
        exact = by_coalitions(worth, list(range(5)), 5)
        chosen = min(int(arrays["chosen"][0]), len(exact) - 1)
        np.testing.assert_allclose(arrays["contributions"][0], exact[chosen], atol=1e-7)


CODES = np.column_stack([np.arange(len(ROWS)) % 4, np.where(ROWS[:, 1] > 1, np.nan, ROWS[:, 1]), ROWS[:, 2]])
UNKNOWN = np.array([[9.0, 0.5, 0.5], [np.nan, np.nan, 0.0], [2.0, np.nan, 1.0]])


@pytest.mark.parametrize("categories", [[1], [1, 3]])
@pytest.mark.parametrize("target", ["two", "more", "values"])
def test_categories_of_histograms_give_what_the_definition_gives(categories: list[int], target: str) -> None:
    wide = np.column_stack([CODES, np.arange(len(ROWS)) // 7 % 5])[:, [1, 0, 2, 3]]
    signal = (wide[:, 1] == 2) + ROWS[:, 2] * (wide[:, 3] == 4) + np.nan_to_num(wide[:, 0])
    kind = HistGradientBoostingRegressor if target == "values" else HistGradientBoostingClassifier
    model: Any = kind(max_iter=8, categorical_features=categories)
    model.fit(wide, {"two": signal > 0.7, "more": np.digitize(signal, [0.3, 1.0]), "values": signal}[target])
    way = own_contributions.way_of(model)
    assert way is not None
    answer = model.predict if target == "values" else model.decision_function
    rows = np.concatenate([wide[[50, 53]], [[np.nan, 9.0, 0.1, np.nan], [0.0, np.nan, 0.1, 2.0]]])
    own, without = way[2](rows, wide[:7]), way[2](rows, None)
    assert own is not None
    assert without is not None
    for row, found in zip(rows, own.contributions, strict=True):

        @functools.cache
        def worth(known: frozenset[int], row: Any = row) -> Any:
            mixed = wide[:7].copy()
            mixed[:, list(known)] = row[list(known)]
            return np.asarray(answer(mixed)).reshape(7, -1).mean(axis=0)

        np.testing.assert_allclose(found, by_coalitions(worth, list(range(4)), 4), atol=1e-9)
    answers = np.asarray(answer(rows)).reshape(len(rows), -1)
    np.testing.assert_allclose(without.base + without.contributions.sum(axis=2), answers, atol=1e-9)
    assert (own.contributions[:2, :, 1] != 0).any(), "the category matters"


def test_categories_of_xgboost_and_nulls_add_up(tmp_path: Any) -> None:
    model = xgboost.XGBClassifier(
        **FEW, n_jobs=1, feature_types=["c", "q", "q"], enable_categorical=True, tree_method="hist"
    ).fit(CODES, (LABELS + (CODES[:, 0] == 2)) > 0)
    found, arrays = explainer(directories.xgboost_model(tmp_path / "m", model), CODES[:9]).explain(
        UNKNOWN[1:], None, output=None, within_s=60.0
    )
    assert (found["method"]["name"], found["scale"]) == ("tree_shap", "log_odds")
    margins = model.predict(UNKNOWN[1:], output_margin=True)
    np.testing.assert_allclose(arrays["base"] + arrays["contributions"].sum(axis=1), margins, atol=1e-4)
    assert (np.abs(arrays["contributions"][:, 0]) > 1e-6).all(), "the category matters everywhere"


@pytest.mark.parametrize("objective", ["binary", "multiclass"])
def test_categories_of_lightgbm_and_nulls_add_up(tmp_path: Any, objective: str) -> None:
    several = objective == "multiclass"
    booster = lightgbm.train(
        {"objective": objective, "verbose": -1, **({"num_class": 3} if several else {})},
        lightgbm.Dataset(CODES, THREE if several else LABELS, categorical_feature=[0]),
        num_boost_round=8,
    )
    found, arrays = explainer(directories.lightgbm_model(tmp_path / "m", booster), CODES[:9]).explain(
        UNKNOWN, None, output=None, within_s=60.0
    )
    assert found["method"]["name"] == "tree_shap"
    raw = np.asarray(booster.predict(UNKNOWN, raw_score=True))
    expected = raw.max(axis=1) if several else raw
    np.testing.assert_allclose(arrays["base"] + arrays["contributions"].sum(axis=1), expected, atol=1e-9)
