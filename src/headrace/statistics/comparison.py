"""Verdicts: is a model good enough, and is it not worse than the one that it would replace.

A verdict rests on a confidence interval, never on two numbers. "No significant difference" is not "not worse":
with too few rows the answer is INCONCLUSIVE, together with the effect that so many rows could have shown.

Sources: the non-inferiority verdict from an interval is the usual one of clinical trials (Piaggio et al., CONSORT
2012); the percentile bootstrap is Efron's; for rows that belong together (one customer several times) whole groups
are drawn (Field and Welsh, 2007).
"""

import math
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

from headrace.errors import InvalidInput
from headrace.statistics import ranking
from headrace.statistics.ranking import Floats, Interval

ALPHA = 0.05
POWER = 0.8
RESAMPLES = 1000
MINIMUM_ROWS = 30
MINIMUM_OUTCOMES = 20
"""Rows of each outcome that a ranking needs for a verdict. With few of one, variances are estimated from next to
nothing: at a 5 % error rate DeLong's interval was seen to pass 46 % of worse models with one positive, 15 % with
three, 7 % with ten and 5 % with twenty."""
LEAST_VALID_DRAWS = 0.9
"""Share of the draws that must have a value; leaving out more would bias the interval."""

Metric = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]
"""Takes labels and scores of shape (rows,), gives a number."""

LOSSES: dict[str, Callable[[npt.NDArray[Any], npt.NDArray[Any]], Floats]] = {
    "brier": ranking.brier_losses,
    "log_loss": ranking.log_losses,
    "accuracy": ranking.hits,
}
"""Metrics that are means over rows."""

LOWER_IS_BETTER = frozenset({"brier", "log_loss"})
RANKINGS = frozenset({"roc_auc", "average_precision"})
"""Metrics of the order of the two outcomes."""
METRICS = ("roc_auc", "average_precision", "accuracy", "brier", "log_loss")


class Verdict(StrEnum):
    """What an interval shows about a margin or a threshold."""

    PASS = "PASS"  # noqa: S105
    """Good enough: not worse by more than the margin, or at least the threshold."""
    BETTER = "BETTER"
    """Good enough and truly better than production."""
    WORSE = "WORSE"
    """Worse by more than the margin, or below the threshold."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """The rows do not tell; not a pass."""

    @property
    def is_good(self) -> bool:
        """Whether a gate opens."""
        return self in {Verdict.PASS, Verdict.BETTER}


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on a new model against an old one on the same rows.

    Attributes:
        metric: name of the metric.
        verdict: see `Verdict`.
        new: value of the new model.
        old: value of the old model.
        difference: gain of the new model, positive when it is better, with its interval; each end of the interval
            is exceeded with probability `alpha`.
        margin: how much worse still counts as not worse.
        alpha: the chance that a model worse by more than the margin passes.
        detectable: the smallest margin at which an equally good model passes four times in five.
    """

    metric: str
    verdict: Verdict
    new: float
    old: float
    difference: Interval
    margin: float
    alpha: float
    detectable: float


class Attainment(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one model against a threshold; PASS takes the near end of the interval, not the estimate."""

    metric: str
    verdict: Verdict
    estimate: Interval
    threshold: float
    alpha: float


def non_inferiority(low: float, high: float, margin: float) -> Verdict:
    """The verdict from an interval of the gain (positive is better) and a margin of at least 0."""
    if low > 0.0:
        return Verdict.BETTER
    if low > -margin or (margin == 0.0 and low == 0.0):
        return Verdict.PASS
    return Verdict.WORSE if high < -margin else Verdict.INCONCLUSIVE


def compare(
    metric: str,
    labels: npt.NDArray[Any],
    new: npt.NDArray[Any],
    old: npt.NDArray[Any],
    *,
    margin: float,
    alpha: float = ALPHA,
    groups: npt.NDArray[Any] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two models' scores of the same rows.

    Args:
        metric: one of `METRICS`.
        labels: 0 or 1, shape (rows,).
        new: scores of the new model, shape (rows,).
        old: scores of the old model, shape (rows,).
        margin: how much worse, in the metric's unit, still counts as not worse; at least 0.
        alpha: one-sided error rate.
        groups: what rows belong to (a customer), shape (rows,); where a group has several rows the interval
            comes from drawing whole groups.
        seed: of the bootstrap, where one is needed.

    Raises:
        InvalidInput: unknown metric, or labels and scores that do not fit it.
    """
    known(metric)
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    confidence = 1.0 - 2.0 * alpha
    if _repeats(groups) or metric == "average_precision":
        evaluate = partial(value, metric)

        def gain(rows: npt.NDArray[np.intp]) -> float:
            return sign * (evaluate(labels[rows], new[rows]) - evaluate(labels[rows], old[rows]))

        difference = bootstrap(gain, len(labels), confidence=confidence, groups=groups, seed=seed, strata=labels)
    elif metric == "roc_auc":
        difference = ranking.roc_auc_difference(labels, new, old, confidence=confidence)
    else:
        rows = LOSSES[metric]
        difference = ranking.mean_interval(sign * (rows(labels, new) - rows(labels, old)), confidence=confidence)
    verdict = non_inferiority(difference.low, difference.high, margin)
    if not enough(metric, labels):
        verdict = Verdict.INCONCLUSIVE
    return Comparison(
        metric=metric,
        verdict=verdict,
        new=value(metric, labels, new),
        old=value(metric, labels, old),
        difference=difference,
        margin=margin,
        alpha=alpha,
        detectable=detectable(difference, alpha),
    )


def at_least(
    metric: str,
    labels: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    *,
    threshold: float,
    alpha: float = ALPHA,
    groups: npt.NDArray[Any] | None = None,
    seed: int = 0,
) -> Attainment:
    """Whether a metric attains a threshold (from above, or from below for a loss), on a confidence bound.

    Args:
        metric: one of `METRICS`.
        labels: 0 or 1, shape (rows,).
        scores: probabilities of class 1, shape (rows,).
        threshold: the least value, or the greatest of a loss.
        alpha: the chance that a model which does not attain it passes.
        groups: what rows belong to, as in `compare`.
        seed: of the bootstrap, where one is needed.
    """
    estimate = interval(metric, labels, scores, confidence=1.0 - 2.0 * alpha, groups=groups, seed=seed)
    verdict = attains(estimate, threshold, lower_is_better=metric in LOWER_IS_BETTER)
    return Attainment(
        metric=metric,
        verdict=verdict if enough(metric, labels) else Verdict.INCONCLUSIVE,
        estimate=estimate,
        threshold=threshold,
        alpha=alpha,
    )


def attains(estimate: Interval, threshold: float, *, lower_is_better: bool = False) -> Verdict:
    """PASS when the whole interval is on the good side of the threshold, WORSE when it is on the other."""
    if estimate.rows < MINIMUM_ROWS:
        return Verdict.INCONCLUSIVE
    if lower_is_better:
        good, bad = estimate.high <= threshold, estimate.low > threshold
    else:
        good, bad = estimate.low >= threshold, estimate.high < threshold
    if good:
        return Verdict.PASS
    return Verdict.WORSE if bad else Verdict.INCONCLUSIVE


def enough(metric: str, labels: npt.NDArray[Any]) -> bool:
    """Whether labels of shape (rows,) are enough for a verdict on a metric."""
    ones = int(np.count_nonzero(labels))
    rarer = min(ones, len(labels) - ones)
    return len(labels) >= MINIMUM_ROWS and (metric not in RANKINGS or rarer >= MINIMUM_OUTCOMES)


def interval(
    metric: str,
    labels: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    *,
    confidence: float = 0.95,
    groups: npt.NDArray[Any] | None = None,
    seed: int = 0,
) -> Interval:
    """One metric of one model with its two-sided interval.

    Raises:
        InvalidInput: unknown metric, or labels and scores that do not fit it.
    """
    known(metric)
    if _repeats(groups) or metric == "average_precision":
        ranking.check(labels, scores)
        return bootstrap(
            lambda rows: value(metric, labels[rows], scores[rows]),
            len(labels), confidence=confidence, groups=groups, seed=seed, strata=labels,
        )  # fmt: skip
    if metric == "roc_auc":
        return ranking.roc_auc(labels, scores, confidence=confidence)
    rows = LOSSES[metric](labels, scores)
    if metric == "accuracy":
        return ranking.proportion_interval(int(rows.sum()), len(rows), confidence=confidence)
    return ranking.mean_interval(rows, confidence=confidence)


def classification_metrics(
    labels: npt.NDArray[Any], scores: npt.NDArray[Any], *, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """All of `METRICS` with intervals; those that need both outcomes are left out when there is only one."""
    both = len(np.unique(labels)) == 2
    names = [name for name in METRICS if both or name not in RANKINGS]
    return {name: interval(name, labels, scores, confidence=confidence, seed=seed) for name in names}


def value(metric: str, labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> float:
    """One metric of one model, without an interval."""
    known(metric)
    if metric == "roc_auc":
        return float(ranking.delong(labels, scores)[0][0])
    if metric == "average_precision":
        return ranking.average_precision(labels, scores)
    return float(LOSSES[metric](labels, scores).mean())


def known(metric: str) -> None:
    """Refuse a metric that this module cannot compute.

    Raises:
        InvalidInput: with the metrics that it can.
    """
    if metric not in METRICS:
        raise InvalidInput(
            f"{metric!r} is not a known metric", where="metric", fix=f"Use one of {', '.join(METRICS)}."
        )


def bootstrap(
    statistic: Callable[[npt.NDArray[np.intp]], float],
    rows: int,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    groups: npt.NDArray[Any] | None = None,
    strata: npt.NDArray[Any] | None = None,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic of rows; pairing is kept because the statistic gets row numbers.

    Args:
        statistic: takes row numbers, shape (drawn,), gives a number.
        rows: rows there are.
        confidence: two-sided coverage.
        resamples: number of draws.
        groups: draw whole groups instead of rows, shape (rows,).
        strata: draw within each value of this, shape (rows,), so that a rare outcome is never missing; not used
            with groups.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        InvalidInput: no draw had a statistic, for example because one outcome is missing.
    """
    generator = np.random.default_rng(seed)
    if groups is not None:
        _, numbers = np.unique(groups, return_inverse=True)
        order = np.argsort(numbers, kind="stable")
        blocks = np.split(order, np.cumsum(np.bincount(numbers))[:-1])

        def draw() -> npt.NDArray[np.intp]:
            return np.concatenate([blocks[block] for block in generator.integers(len(blocks), size=len(blocks))])
    else:
        layers = (
            [np.arange(rows)]
            if strata is None
            else [np.flatnonzero(strata == layer) for layer in np.unique(strata)]
        )

        def draw() -> npt.NDArray[np.intp]:
            return np.concatenate([layer[generator.integers(len(layer), size=len(layer))] for layer in layers])

    estimate = statistic(np.arange(rows))
    values: list[float] = []
    for _ in range(resamples):
        try:
            values.append(statistic(draw()))
        except InvalidInput:  # a draw of groups can miss an outcome altogether
            continue
    if len(values) < LEAST_VALID_DRAWS * resamples:
        raise InvalidInput(
            "too few draws have a value", where="groups", fix="Evaluate on more groups with both outcomes."
        )
    drawn = np.asarray(values)
    low, high = np.quantile(drawn, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return Interval(
        value=float(estimate),
        low=float(low),
        high=float(high),
        confidence=confidence,
        rows=rows,
        standard_error=float(drawn.std(ddof=1)),
    )


def detectable(difference: Interval, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest margin at which an equally good model passes with probability `power`."""
    if difference.standard_error is None:
        return math.inf
    return float(stats.norm.ppf(1.0 - alpha) + stats.norm.ppf(power)) * difference.standard_error


def _repeats(groups: npt.NDArray[Any] | None) -> bool:
    return groups is not None and len(np.unique(groups)) < len(groups)
