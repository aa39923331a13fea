"""What predictors say of their own answers: trees of XGBoost, LightGBM and scikit-learn, and linear models.

Each way gives sums that a known function turns into the model's answer. Whoever asks checks that it does.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.serving.runtimes import histogram_trees
from headrace.serving.runtimes.histogram_trees import only
from headrace.serving.runtimes.recipe import library
from headrace.serving.runtimes.tree_cover import CoverExplainer
from headrace.serving.runtimes.tree_paths import Columns, Nodes, Paths, paths_of
from headrace.serving.runtimes.tree_shapley import TreeExplainer

Floats = npt.NDArray[np.float64]

VALUE, PROBABILITY, LOG_ODDS, LOG, RAW = "value", "probability", "log_odds", "log", "raw"
PATHS = "Lundberg et al. 2020 (TreeSHAP, path-dependent)"
WITHOUT_BACKGROUND = ("tree_shap_path_dependent", PATHS)
_LINEAR = frozenset(
    {
        "ElasticNet",
        "ElasticNetCV",
        "GammaRegressor",
        "HuberRegressor",
        "Lasso",
        "LassoCV",
        "LinearRegression",
        "LinearSVC",
        "LinearSVR",
        "LogisticRegression",
        "LogisticRegressionCV",
        "PoissonRegressor",
        "QuantileRegressor",
        "Ridge",
        "RidgeClassifier",
        "RidgeCV",
        "SGDClassifier",
        "SGDRegressor",
    }
)
_FORESTS = frozenset(
    {
        "DecisionTreeClassifier",
        "DecisionTreeRegressor",
        "ExtraTreeClassifier",
        "ExtraTreeRegressor",
        "ExtraTreesClassifier",
        "ExtraTreesRegressor",
        "RandomForestClassifier",
        "RandomForestRegressor",
    }
)
_LOGS = frozenset({"count:poisson", "reg:gamma", "reg:tweedie", "poisson", "gamma", "tweedie"})


class Own(NamedTuple):
    """A predictor's contributions.

    Attributes:
        base: shape (rows, outputs).
        contributions: shape (rows, outputs, columns of the predictor), or features where `by_feature`.
        scale: on which they add up.
        by: who computed them.
        background_rows: how many rows they are measured against; 0 where it is the trees' own cover.
        by_feature: whether columns that were made of one feature have been counted as that.
        way: name and source, where the predictor was explained in another way than it usually is.
    """

    base: Floats
    contributions: Floats
    scale: str
    by: str
    background_rows: int = 0
    by_feature: bool = False
    way: tuple[str, str] | None = None


Way = Callable[[Any, Any], Own | None]
"""Matrices of the rows and of the background, None where there is none, to contributions; None: this needs one."""


def way_of(predictor: Any, columns: Columns | None = None) -> tuple[str, str, Way] | None:
    """How a predictor explains itself, by name and source; None where it does not.

    Args:
        predictor: the last step of a pipeline, or the whole model.
        columns: what the columns that it sees were made of, where that is not each of its own.
    """
    kind, module = type(predictor).__name__, type(predictor).__module__
    if module.startswith("xgboost.") and hasattr(predictor, "get_booster"):
        best = predictor.get_booster().attr("best_iteration")
        return of_xgboost(predictor.get_booster(), 0 if best is None else int(best) + 1)
    if module.startswith("lightgbm.") and hasattr(predictor, "booster_"):
        return of_lightgbm(predictor.booster_)
    if not module.startswith("sklearn."):
        return None
    if kind in _LINEAR:
        return (
            "linear",
            "coefficient times distance from the background's mean (Štrumbelj and Kononenko 2014)",
            lambda rows, background: _linear(predictor, rows, background),
        )
    found = _paths_of(predictor, kind, columns)
    if found is None:
        return None
    return (
        "tree_shap_interventional",
        "Lundberg et al. 2020, algorithm 3 (interventional TreeSHAP)",
        _Trees(predictor.n_features_in_, *found),
    )


def of_xgboost(booster: Any, until: int) -> tuple[str, str, Way]:
    """XGBoost's own.

    Args:
        booster: the booster.
        until: how many rounds answer; 0 for all.
    """
    xgboost = library("xgboost")
    learner = json.loads(booster.save_config())["learner"]
    objective, kind = objective_of_xgboost(booster), str(learner["gradient_booster"]["name"])
    scale = (
        LOG_ODDS
        if objective in {"binary:logistic", "reg:logistic"}
        else LOG if objective in _LOGS
        else RAW if objective.startswith(("multi:", "survival:", "binary:"))
        else VALUE
    )  # fmt: skip

    def contributions(rows: Any, _background: Any) -> Own:
        given = xgboost.DMatrix(_dense(rows), nthread=1)
        options = {} if kind == "gblinear" else {"iteration_range": (0, until)}
        found = booster.predict(given, pred_contribs=True, validate_features=False, **options)
        return _with_base(
            np.asarray(found, dtype=np.float64).reshape(len(rows), -1, found.shape[-1]), scale, "XGBoost"
        )

    return "tree_shap" if kind != "gblinear" else "linear", PATHS, contributions


def objective_of_xgboost(booster: Any) -> str:
    """What it was trained for, by XGBoost's name."""
    return str(json.loads(booster.save_config())["learner"]["objective"]["name"])


def objective_of_lightgbm(booster: Any) -> list[str]:
    """What it was trained for, by LightGBM's name, and options of that."""
    return str(booster.dump_model(num_iteration=1).get("objective", "")).split()


def of_lightgbm(booster: Any) -> tuple[str, str, Way]:
    """LightGBM's own."""
    words = objective_of_lightgbm(booster)
    options = dict(word.split(":", 1) for word in words[1:] if ":" in word)
    name = words[0] if words else ""
    factor = float(options.get("sigmoid", 1.0)) if name == "binary" else 1.0
    scale = (
        LOG_ODDS
        if name in {"binary", "cross_entropy"}
        else LOG if name in _LOGS
        else RAW if name in {"multiclass", "multiclassova"}
        else VALUE
    )  # fmt: skip

    def contributions(rows: Any, _background: Any) -> Own:
        found = booster.predict(_dense(rows), pred_contrib=True, num_threads=1)
        outputs = booster.num_model_per_iteration()
        return _with_base(factor * np.asarray(found).reshape(len(rows), outputs, -1), scale, "LightGBM")

    return "tree_shap", PATHS, contributions


def _with_base(found: Floats, scale: str, by: str) -> Own:
    return Own(found[:, :, -1], found[:, :, :-1], scale, by)


def _dense(rows: Any) -> Any:
    return rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)


def _linear(predictor: Any, rows: Any, background: Any) -> Own | None:
    if background is None:
        return None
    coefficients = np.atleast_2d(np.asarray(predictor.coef_, dtype=np.float64))
    intercepts = np.broadcast_to(np.asarray(predictor.intercept_, dtype=np.float64), (len(coefficients),))
    if callable(getattr(predictor, "predict_proba", None)):
        scale = LOG_ODDS if len(coefficients) == 1 else RAW
    elif hasattr(predictor, "classes_"):
        scale = RAW
    else:
        scale = LOG if type(predictor).__name__ in {"PoissonRegressor", "GammaRegressor"} else VALUE
    mean = _dense(background).astype(np.float64).mean(axis=0)
    away = _dense(rows).astype(np.float64) - mean
    base = np.broadcast_to(coefficients @ mean + intercepts, (len(away), len(coefficients)))
    return Own(base, away[:, None, :] * coefficients[None, :, :], scale, "Headrace", len(_dense(background)))


class _Trees:
    """scikit-learn's trees, against a background that stays the same for all requests, or their own cover."""

    def __init__(
        self, features: int, paths: Paths, scale: str, seen: Callable[[Any], Floats], margins: Any
    ) -> None:
        self._features = features
        self._paths = paths
        self._scale = scale
        self._seen = seen
        self._margins = margins
        self._explainer: TreeExplainer | None = None
        self._without: CoverExplainer | None = None
        self._constant: Floats | None = None

    def __call__(self, rows: Any, background: Any) -> Own:
        given = self._seen(_dense(rows))
        if background is None:
            if self._without is None:
                self._without = CoverExplainer(self._paths)
            return self._own(self._without, given)._replace(way=WITHOUT_BACKGROUND)
        if self._explainer is None:
            self._explainer = TreeExplainer(self._paths, self._seen(_dense(background)))
        return self._own(self._explainer, given)._replace(background_rows=self._explainer.rows)

    def _own(self, explainer: TreeExplainer | CoverExplainer, rows: Floats) -> Own:
        contributions = explainer.contributions(rows)
        if self._constant is None:
            self._constant = self._beside_trees()
        base = np.broadcast_to(explainer.base + self._constant, contributions.shape[:2])
        return Own(base, contributions, self._scale, "Headrace", by_feature=self._paths.by_feature)

    def _beside_trees(self) -> Floats:
        """What the predictor adds to the sums of its trees, seen on a row that is none of those explained."""
        nothing = np.zeros((1, self._features))
        found = np.asarray(self._margins(nothing), dtype=np.float64).reshape(-1)
        return np.asarray(found - self._paths.sums(self._paths.missed(self._seen(nothing)))[0])


def _paths_of(predictor: Any, kind: str, columns: Columns | None) -> tuple[Paths, str, Any, Any] | None:
    """The paths, the scale of their sums, rows to what the trees compare, and what the sums must come to."""
    classifier = hasattr(predictor, "classes_")
    if kind in _FORESTS:
        if getattr(predictor, "n_outputs_", 1) != 1:
            return None
        trees = [each.tree_ for each in getattr(predictor, "estimators_", [predictor])]
        paths = paths_of([_nodes(tree, 1 / len(trees), shares=classifier) for tree in trees], columns)
        ways = (PROBABILITY, predictor.predict_proba) if classifier else (VALUE, predictor.predict)
    elif kind in {"GradientBoostingClassifier", "GradientBoostingRegressor"}:
        rate, outputs = float(predictor.learning_rate), predictor.estimators_.shape[1]
        paths = paths_of(
            [
                only(_nodes(each.tree_, rate, shares=False), place, outputs)
                for stage in predictor.estimators_
                for place, each in enumerate(stage)
            ],
            columns,
        )
        ways = _boosted(predictor, outputs) if classifier else (VALUE, predictor.predict)
    elif kind in {"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"}:
        histograms = histogram_trees.of(predictor, columns)
        if histograms is None:
            return None
        paths = paths_of(histograms.trees, histograms.columns)
        if classifier:
            ways = _boosted(predictor, len(predictor._predictors[0]))  # noqa: SLF001
        elif predictor.loss in {"poisson", "gamma"}:
            ways = (LOG, lambda rows: np.log(predictor.predict(rows)))
        else:
            ways = (VALUE, predictor.predict)
        return None if paths is None else (paths, ways[0], histograms.seen, ways[1])
    else:
        return None
    return None if paths is None else (paths, ways[0], _in_float32, ways[1])


def _in_float32(rows: Any) -> Floats:
    """As scikit-learn's older trees compare them."""
    return np.asarray(rows).astype(np.float32).astype(np.float64)


def _boosted(predictor: Any, outputs: int) -> tuple[str, Any]:
    return LOG_ODDS if outputs == 1 else RAW, predictor.decision_function


def _nodes(tree: Any, factor: float, *, shares: bool) -> Nodes:
    value = np.asarray(tree.value[:, 0, :], dtype=np.float64)
    if shares:
        value = value / value.sum(axis=1, keepdims=True)
    missing = getattr(tree, "missing_go_to_left", np.zeros(len(value), dtype=bool))
    return Nodes(
        tree.children_left,
        tree.children_right,
        tree.feature,
        tree.threshold,
        missing.astype(bool),
        factor * value,
        tree.weighted_n_node_samples.astype(np.float64),
    )
