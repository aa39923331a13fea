"""Quality of the scores of a binary model, each number with its uncertainty.

Labels are 0 or 1, scores are the probability of class 1. A metric without an interval does not leave this module.

Sources: DeLong, DeLong and Clarke-Pearson (1988) for the variance of the area under the ROC curve and of the
difference of two on the same rows; Sun and Xu, "Fast Implementation of DeLong's Algorithm" (2014), for doing it in
O(n log n) with midranks; the interval of one area is taken on the logit scale (Pepe, 2003) so that it stays in
(0, 1); Wilson (1927) for accuracy.
"""

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

from headrace.errors import InvalidInput

Floats = npt.NDArray[np.float64]
PROBABILITY_FLOOR = 1e-15
"""Probabilities are clipped to this before their logarithm is taken."""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate with a two-sided confidence interval.

    Attributes:
        value: the estimate.
        low: lower end.
        high: upper end.
        confidence: coverage, in (0, 1).
        rows: rows that it rests on.
        standard_error: of the estimate, on its own scale; None when the method has none.
    """

    value: float
    low: float
    high: float
    confidence: float
    rows: int
    standard_error: float | None = None


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


def delong(labels: npt.NDArray[Any], *scores: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Areas under the ROC curves of several models on the same rows, and their covariance.

    Args:
        labels: 0 or 1, shape (rows,), with both outcomes present.
        scores: one array of shape (rows,) for each model.

    Returns:
        Areas, shape (models,), and covariance matrix, shape (models, models).

    Raises:
        InvalidInput: only one outcome is present.
    """
    outcome, *columns = check(labels, *scores)
    positive = outcome == 1.0
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        raise InvalidInput(
            "a ROC curve needs both outcomes",
            where="labels",
            fix="Evaluate on rows among which both outcomes occur.",
        )
    areas, by_positive, by_negative = [], [], []
    for column in columns:
        ranks = stats.rankdata(column)
        own_positive, own_negative = stats.rankdata(column[positive]), stats.rankdata(column[~positive])
        by_positive.append((ranks[positive] - own_positive) / negatives)
        by_negative.append(1.0 - (ranks[~positive] - own_negative) / positives)
        areas.append(by_positive[-1].mean())
    covariance = _covariance(np.array(by_positive)) + _covariance(np.array(by_negative))
    return np.array(areas), covariance


def roc_auc(labels: npt.NDArray[Any], scores: npt.NDArray[Any], *, confidence: float = 0.95) -> Interval:
    """Area under the ROC curve, with DeLong's variance on the logit scale.

    At an area of exactly 0 or 1 the variance vanishes; then min(positives, negatives) disjoint pairs, all in the
    same order, give an exact binomial bound.
    """
    areas, covariance = delong(labels, scores)
    area, error = float(areas[0]), math.sqrt(max(float(covariance[0, 0]), 0.0))
    rows = len(labels)
    if area in {0.0, 1.0}:
        positives = int(np.sum(labels))
        bound = ((1.0 - confidence) / 2.0) ** (1.0 / min(positives, rows - positives))
        low, high = (bound, 1.0) if area == 1.0 else (0.0, 1.0 - bound)
    else:
        logit = math.log(area / (1.0 - area))
        half = _quantile(confidence) * error / (area * (1.0 - area))
        low, high = _expit(logit - half), _expit(logit + half)
    return Interval(value=area, low=low, high=high, confidence=confidence, rows=rows, standard_error=error)


def roc_auc_difference(
    labels: npt.NDArray[Any], new: npt.NDArray[Any], old: npt.NDArray[Any], *, confidence: float = 0.90
) -> Interval:
    """Area of `new` minus area of `old` on the same rows, with DeLong's covariance of the pair."""
    areas, covariance = delong(labels, new, old)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2.0 * covariance[0, 1])
    return _normal(float(areas[0] - areas[1]), math.sqrt(max(variance, 0.0)), confidence, len(labels))


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


def hits(labels: npt.NDArray[Any], scores: npt.NDArray[Any], *, threshold: float = 0.5) -> Floats:
    """1 where the decision `score >= threshold` is right, else 0, shape (rows,)."""
    outcome, column = check(labels, scores)
    return ((column >= threshold) == (outcome == 1.0)).astype(np.float64)


def mean_interval(values: Floats, *, confidence: float = 0.95) -> Interval:
    """Mean of independent values with Student's interval; one value alone has an infinite one."""
    rows = len(values)
    mean = float(values.mean())
    if rows < 2:
        return Interval(value=mean, low=-math.inf, high=math.inf, confidence=confidence, rows=rows)
    error = float(values.std(ddof=1)) / math.sqrt(rows)
    half = float(stats.t.ppf((1.0 + confidence) / 2.0, rows - 1)) * error
    return Interval(
        value=mean, low=mean - half, high=mean + half, confidence=confidence, rows=rows, standard_error=error
    )


def proportion_interval(successes: int, rows: int, *, confidence: float = 0.95) -> Interval:
    """A share with Wilson's score interval."""
    z = _quantile(confidence)
    share = successes / rows
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z * math.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2)) / (1 + z**2 / rows)
    return Interval(
        value=share,
        low=min(max(0.0, centre - half), share),
        high=max(min(1.0, centre + half), share),
        confidence=confidence,
        rows=rows,
        standard_error=math.sqrt(share * (1 - share) / rows),
    )


def proportion_difference(first: tuple[int, int], second: tuple[int, int], *, confidence: float = 0.95) -> Interval:
    """Share of `first` less share of `second`, independent samples, with Newcombe's hybrid score interval.

    Args:
        first: successes and rows, rows at least 1.
        second: successes and rows, rows at least 1.
        confidence: two-sided coverage.

    Source: Newcombe, "Interval Estimation for the Difference between Independent Proportions" (1998), method 10.
    """
    one, other = (proportion_interval(*sample, confidence=confidence) for sample in (first, second))
    value = one.value - other.value
    return Interval(
        value=value,
        low=value - math.hypot(one.value - one.low, other.high - other.value),
        high=value + math.hypot(one.high - one.value, other.value - other.low),
        confidence=confidence,
        rows=one.rows,
    )


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


def _normal(value: float, error: float, confidence: float, rows: int) -> Interval:
    half = _quantile(confidence) * error
    return Interval(
        value=value, low=value - half, high=value + half, confidence=confidence, rows=rows, standard_error=error
    )


def _quantile(confidence: float) -> float:
    return float(stats.norm.ppf((1.0 + confidence) / 2.0))


def _expit(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else math.exp(value) / (1.0 + math.exp(value))
