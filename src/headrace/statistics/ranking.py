"""Quality of the scores of a binary model, each number with its uncertainty.

Labels are 0 or 1, scores are the probability of class 1. A metric without an interval does not leave this module.

Sources: DeLong, DeLong and Clarke-Pearson (1988) for the variance of the area under the ROC curve and of the
difference of two on the same rows; Sun and Xu, "Fast Implementation of DeLong's Algorithm" (2014), for doing it in
O(n log n) with midranks; Obuchowski, "Nonparametric Analysis of Clustered ROC Curve Data" (1997), for rows that
belong together; the interval of one area is taken on the logit scale (Pepe, 2003) so that it stays in (0, 1); Zou,
"Toward Using Confidence Intervals to Compare Correlations" (2007), for a difference from two single intervals.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from headrace.errors import InvalidInput
from headrace.statistics.intervals import Floats, Interval, normal_quantile, skewed_interval

PROBABILITY_FLOOR = 1e-15
"""Probabilities are clipped to this before their logarithm is taken."""


def check(labels: npt.NDArray[Any], *scores: npt.NDArray[Any]) -> tuple[Floats, ...]:
    """Labels and scores as float arrays of shape (rows,), or a refusal.

    Raises:
        InvalidInput: shapes differ, there are no rows, labels are not 0 or 1, or scores are not finite.
    """
    outcome = np.asarray(labels, dtype=np.float64)
    columns = [np.asarray(column, dtype=np.float64) for column in scores]
    if outcome.ndim != 1 or outcome.size == 0 or any(column.shape != outcome.shape for column in columns):
        raise InvalidInput(
            "labels and scores must be columns of the same length, with at least one row", where="scores"
        )
    if not np.isin(outcome, (0.0, 1.0)).all():
        raise InvalidInput("labels of a binary task must be 0 or 1", where="labels")
    if not all(np.isfinite(column).all() for column in columns):
        raise InvalidInput(
            "scores must be finite numbers", where="scores", fix="Look for rows the model failed on."
        )
    return (outcome, *columns)


def delong(
    labels: npt.NDArray[Any], *scores: npt.NDArray[Any], clusters: npt.NDArray[np.intp] | None = None
) -> tuple[Floats, Floats]:
    """Areas under the ROC curves of several models on the same rows, and their covariance.

    Args:
        labels: 0 or 1, shape (rows,), with both outcomes present.
        scores: one array of shape (rows,) for each model.
        clusters: what each row belongs to, numbers from 0, shape (rows,); None for independent rows.

    Returns:
        Areas, shape (models,), and covariance matrix, shape (models, models).

    Raises:
        InvalidInput: only one outcome is present.
    """
    areas, influence, positive = _influence(labels, *scores)
    if clusters is not None:
        return areas, clustered_covariance(influence, clusters)
    halves = (influence[:, positive], influence[:, ~positive])
    return areas, sum((_covariance(half * half.shape[1]) for half in halves), np.zeros((len(areas), len(areas))))


def _influence(labels: npt.NDArray[Any], *scores: npt.NDArray[Any]) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Areas, what each row adds to their errors, shape (models, rows), and which rows have label 1."""
    outcome, *columns = check(labels, *scores)
    positive = outcome == 1.0
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        raise InvalidInput(
            "a ROC curve needs both outcomes",
            where="labels",
            fix="Evaluate on rows among which both outcomes occur.",
        )
    areas = np.empty(len(columns))
    influence = np.empty((len(columns), len(outcome)))
    for place, column in enumerate(columns):
        ranks = stats.rankdata(column)
        of_positive = (ranks[positive] - stats.rankdata(column[positive])) / negatives
        of_negative = 1.0 - (ranks[~positive] - stats.rankdata(column[~positive])) / positives
        areas[place] = of_positive.mean()
        influence[place, positive] = (of_positive - areas[place]) / positives
        influence[place, ~positive] = (of_negative - areas[place]) / negatives
    return areas, influence, positive


def clustered_covariance(influence: Floats, clusters: npt.NDArray[np.intp]) -> Floats:
    """Covariance of estimates from what each row adds to them, whole clusters taken together.

    Args:
        influence: what each row adds to an estimate's error, shape (estimates, rows).
        clusters: what each row belongs to, numbers from 0, shape (rows,).
    """
    number = int(clusters.max()) + 1
    totals = np.array([np.bincount(clusters, weights=row, minlength=number) for row in influence])
    covariance: Floats = totals @ totals.T * number / max(number - 1, 1)
    return covariance


def roc_auc(
    labels: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    *,
    confidence: float = 0.95,
    clusters: npt.NDArray[np.intp] | None = None,
) -> Interval:
    """Area under the ROC curve, with DeLong's variance on the logit scale.

    At an area of exactly 0 or 1 the variance vanishes; then min(positives, negatives) disjoint pairs, all in the
    same order, give an exact binomial bound. Clusters count once there.
    """
    areas, covariance = delong(labels, scores, clusters=clusters)
    area, error = float(areas[0]), math.sqrt(max(float(covariance[0, 0]), 0.0))
    if area in {0.0, 1.0}:
        away = unseen(labels, confidence=confidence, clusters=clusters)
        low, high = (1.0 - away, 1.0) if area == 1.0 else (0.0, away)
    else:
        logit = math.log(area / (1.0 - area))
        half = normal_quantile(confidence) * error / (area * (1.0 - area))
        low, high = _expit(logit - half), _expit(logit + half)
    return Interval(value=area, low=low, high=high, confidence=confidence, rows=len(labels), standard_error=error)


def roc_auc_difference(
    labels: npt.NDArray[Any],
    new: npt.NDArray[Any],
    old: npt.NDArray[Any],
    *,
    confidence: float = 0.90,
    clusters: npt.NDArray[np.intp] | None = None,
) -> Interval:
    """Area of `new` minus area of `old` on the same rows, with DeLong's covariance of the pair and its skewness.

    Where one of the two is perfect on these rows its variance vanishes, and of two such models nothing would be
    left; the interval is then made of the two single ones. Models that order all rows alike differ in nothing.
    """
    areas, covariance = delong(labels, new, old, clusters=clusters)
    if {0.0, 1.0} & {float(area) for area in areas} and not same_order(new, old):
        singles = [roc_auc(labels, one, confidence=confidence, clusters=clusters) for one in (new, old)]
        return _difference(*singles, covariance=float(covariance[0, 1]))
    variance = float(covariance[0, 0] + covariance[1, 1] - 2.0 * covariance[0, 1])
    error = math.sqrt(max(variance, 0.0))
    _, influence, _ = _influence(labels, new, old)
    of_unit = influence[0] - influence[1]
    if clusters is not None:
        of_unit = np.bincount(clusters, weights=of_unit)
    skewness = float(np.sum(of_unit**3)) / error**3 if error > 0.0 else 0.0
    return skewed_interval(float(areas[0] - areas[1]), error, skewness, confidence=confidence, rows=len(labels))


def unseen(labels: npt.NDArray[Any], *, confidence: float, clusters: npt.NDArray[np.intp] | None = None) -> float:
    """How far from perfect a ranking may be that is perfect on these rows: what so many of them cannot rule out."""
    pairs = rarer_outcome(labels, clusters)
    return 1.0 - float(((1.0 - confidence) / 2.0) ** (1.0 / pairs)) if pairs else 1.0


def same_order(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    """Whether two models order all rows alike, ties among them."""
    return bool(np.array_equal(stats.rankdata(first), stats.rankdata(second)))


def _difference(first: Interval, second: Interval, *, covariance: float) -> Interval:
    """The interval of a difference from those of its two sides, which may be asymmetric."""
    errors = (first.standard_error or 0.0) * (second.standard_error or 0.0)
    correlation = min(max(covariance / errors, -1.0), 1.0) if errors > 0.0 else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one**2 + other**2 - 2.0 * correlation * one * other, 0.0))

    value = first.value - second.value
    variance = (first.standard_error or 0.0) ** 2 + (second.standard_error or 0.0) ** 2 - 2.0 * covariance
    return Interval(
        value=value,
        low=value - reach(first.value - first.low, second.high - second.value),
        high=value + reach(first.high - first.value, second.value - second.low),
        confidence=first.confidence,
        rows=first.rows,
        standard_error=math.sqrt(max(variance, 0.0)),
    )


def rarer_outcome(labels: npt.NDArray[Any], clusters: npt.NDArray[np.intp] | None = None) -> int:
    """How many rows, or clusters where rows belong together, have the outcome that fewer have."""
    positive = np.asarray(labels) == 1
    if clusters is None:
        ones = int(np.count_nonzero(positive))
        return min(ones, len(positive) - ones)
    return min(len(np.unique(clusters[positive])), len(np.unique(clusters[~positive])))


def brier_losses(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> Floats:
    """Squared error of each probability, shape (rows,)."""
    outcome, column = check(labels, scores)
    losses: Floats = (column - outcome) ** 2
    return losses


def log_losses(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> Floats:
    """Negative log-likelihood of each label in nats, shape (rows,)."""
    outcome, column = check(labels, scores)
    likelihood = np.clip(np.where(outcome == 1.0, column, 1.0 - column), PROBABILITY_FLOOR, 1.0)
    losses: Floats = -np.log(likelihood)
    return losses


def average_precision(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> float:
    """Mean of the precision at each distinct score, weighted by the recall that it adds; 0 without positives.

    Its interval comes from `comparison.bootstrap`, there being no closed form.
    """
    outcome, column = check(labels, scores)
    order = np.argsort(-column, kind="stable")
    ranked = outcome[order]
    last_of_ties = np.append(np.flatnonzero(np.diff(column[order])), len(ranked) - 1)
    found = np.cumsum(ranked)[last_of_ties]
    if not found[-1]:
        return 0.0
    precision = found / (last_of_ties + 1)
    return float(np.sum(np.diff(found, prepend=0.0) * precision) / found[-1])


def _covariance(components: Floats) -> Floats:
    """Covariance of the means of rows, shape (models, models); zero when there is one observation only."""
    models, rows = components.shape
    if rows < 2:
        return np.zeros((models, models))
    return np.atleast_2d(np.cov(components)) / rows


def _expit(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else math.exp(value) / (1.0 + math.exp(value))
