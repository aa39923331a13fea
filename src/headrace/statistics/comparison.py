"""Verdicts: is a model good enough, and is it not worse than the one that it would replace.

A verdict rests on a confidence interval, never on two numbers. "No significant difference" is not "not worse":
with too few rows the answer is INCONCLUSIVE, together with the effect that so many rows could have shown.

Which interval: DeLong's for the area under the ROC curve, Wilson's and Tango's score intervals for shares,
Student's for mean losses, the bootstrap elsewhere. Rows that belong together (one customer several times) count as
one unit.

F1 is 2J / (1 + J) of the share J of hits among the rows that are 1 or decided to be 1, so Wilson's interval of J is
one of F1. Where the difference of two F1 or two precisions is drawn and the models hardly ever decide differently,
the draws vary too little; the interval is then at least as wide as the score interval of so many rows without any
difference.

A ranking that is perfect on the rows varies in no draw and has no variance; its interval is then as wide as what so
many rows cannot rule out.

Sources: the non-inferiority verdict from an interval is the usual one of clinical trials (Piaggio et al., CONSORT
2012); for the intervals see `ranking`, `proportions` and `resampling`.
"""

from enum import StrEnum
from functools import partial
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.statistics import intervals, metrics, proportions, ranking, resampling
from headrace.statistics.intervals import Floats, Interval, cluster_codes, negated, units
from headrace.statistics.metrics import LOWER_IS_BETTER, METRICS, OF_POSITIVES, RANKINGS, THRESHOLD

ALPHA = 0.05
MINIMUM_ROWS = 30
"""Independent rows, or entities where rows belong together, that any verdict needs."""
MINIMUM_OUTCOMES = 20
"""Rows of each outcome that a ranking needs for a verdict. With few of one, variances are estimated from next to
nothing: at a 5 % error rate DeLong's interval was seen to pass 46 % of worse models with one positive, 15 % with
three, 7 % with ten and 5 % with twenty."""

Clusters = npt.NDArray[np.intp] | None


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
    """The verdict on one model against a threshold; PASS takes the near end of the interval, not the estimate.

    Attributes:
        detectable: how far beyond the threshold a model must be to pass four times in five.
    """

    metric: str
    verdict: Verdict
    estimate: Interval
    threshold: float
    alpha: float
    detectable: float


def non_inferiority(low: float, high: float, margin: float) -> Verdict:
    """The verdict from an interval of the gain (positive is better) and a margin of at least 0."""
    if low > 0.0:
        return Verdict.BETTER
    if low > -margin or (margin == 0.0 and low == 0.0):
        return Verdict.PASS
    return Verdict.WORSE if high < -margin else Verdict.INCONCLUSIVE


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict on several things that must all be good; BETTER only when each is."""
    for verdict in (Verdict.WORSE, Verdict.INCONCLUSIVE, Verdict.PASS):
        if verdict in verdicts:
            return verdict
    return Verdict.BETTER if verdicts else Verdict.INCONCLUSIVE


def compare(
    metric: str,
    labels: npt.NDArray[Any],
    new: npt.NDArray[Any],
    old: npt.NDArray[Any],
    *,
    margin: float,
    alpha: float = ALPHA,
    groups: npt.NDArray[Any] | None = None,
    threshold: float = THRESHOLD,
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
        groups: what rows belong to (a customer), shape (rows,); where a group has several rows they count as one
            unit.
        threshold: scores from here on are decided to be 1; for metrics of decisions.
        seed: of the bootstrap, where one is needed.

    Raises:
        InvalidInput: unknown metric, or labels and scores that do not fit it.
    """
    difference = gain(
        metric, labels, new, old, confidence=1.0 - 2.0 * alpha, groups=groups, threshold=threshold, seed=seed
    )
    verdict = non_inferiority(difference.low, difference.high, margin)
    if not enough(metric, labels, groups):
        verdict = Verdict.INCONCLUSIVE
    return Comparison(
        metric=metric,
        verdict=verdict,
        new=metrics.value(metric, labels, new, threshold=threshold),
        old=metrics.value(metric, labels, old, threshold=threshold),
        difference=difference,
        margin=margin,
        alpha=alpha,
        detectable=intervals.detectable(difference),
    )


def attain(
    metric: str,
    labels: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    *,
    bound: float,
    alpha: float = ALPHA,
    groups: npt.NDArray[Any] | None = None,
    threshold: float = THRESHOLD,
    seed: int = 0,
) -> Attainment:
    """Whether a metric attains a bound (from above, or from below for a loss), with confidence.

    Args:
        metric: one of `METRICS`.
        labels: 0 or 1, shape (rows,).
        scores: probabilities of class 1, shape (rows,).
        bound: the least value, or the greatest of a loss.
        alpha: the chance that a model which does not attain it passes.
        groups: what rows belong to, as in `compare`.
        threshold: of decisions, as in `compare`.
        seed: of the bootstrap, where one is needed.
    """
    estimate = interval(
        metric, labels, scores, confidence=1.0 - 2.0 * alpha, groups=groups, threshold=threshold, seed=seed
    )
    verdict = attains(estimate, bound, lower_is_better=metric in LOWER_IS_BETTER)
    return Attainment(
        metric=metric,
        verdict=verdict if enough(metric, labels, groups) else Verdict.INCONCLUSIVE,
        estimate=estimate,
        threshold=bound,
        alpha=alpha,
        detectable=intervals.detectable(estimate),
    )


def attains(estimate: Interval, bound: float, *, lower_is_better: bool = False) -> Verdict:
    """PASS when the whole interval is on the good side of the bound, WORSE when it is on the other."""
    if lower_is_better:
        good, bad = estimate.high <= bound, estimate.low > bound
    else:
        good, bad = estimate.low >= bound, estimate.high < bound
    if good:
        return Verdict.PASS
    return Verdict.WORSE if bad else Verdict.INCONCLUSIVE


def enough(metric: str, labels: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None) -> bool:
    """Whether labels of shape (rows,) are enough for a verdict on a metric; rows of one group count once."""
    clusters = cluster_codes(groups)
    if units(len(labels), clusters) < MINIMUM_ROWS:
        return False
    if metric in RANKINGS:
        return ranking.rarer_outcome(labels, clusters) >= MINIMUM_OUTCOMES
    if metric in OF_POSITIVES:
        positive = np.asarray(labels) == 1
        found = int(positive.sum()) if clusters is None else len(np.unique(clusters[positive]))
        return found >= MINIMUM_OUTCOMES
    return True


def needed(metric: str) -> str:
    """What `enough` asks of a metric, for people."""
    of_outcome = f", {MINIMUM_OUTCOMES} of each outcome" if metric in RANKINGS else ""
    of_outcome = f", {MINIMUM_OUTCOMES} of them with label 1" if metric in OF_POSITIVES else of_outcome
    return f"{MINIMUM_ROWS} independent rows are needed{of_outcome}"


def method(metric: str, *, paired: bool = False, groups: npt.NDArray[Any] | None = None) -> str:
    """How `interval`, or `gain` when paired, comes by its interval, for the record."""
    clustered = ", entities as units" if cluster_codes(groups) is not None else ""
    draws = resampling.WEIGHTED_RESAMPLES if metric == "average_precision" else resampling.RESAMPLES
    drawn = f"percentile bootstrap, {draws} draws"
    if metric == "roc_auc":
        return ("DeLong, paired, corrected for skewness" if paired else "DeLong on the logit scale") + clustered
    if metric == "average_precision" or (paired and metric in {"precision", "f1"}):
        return drawn + clustered
    if metric in metrics.LOSSES:
        return drawn + clustered if clustered else "Student, corrected for skewness"
    return ("Tango's score interval, paired" if paired else "Wilson's score interval") + clustered


def interval(
    metric: str,
    labels: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    *,
    confidence: float = 0.95,
    groups: npt.NDArray[Any] | None = None,
    threshold: float = THRESHOLD,
    seed: int = 0,
) -> Interval:
    """One metric of one model with its two-sided interval.

    Raises:
        InvalidInput: unknown metric, or labels and scores that do not fit it.
    """
    metrics.known(metric)
    clusters = cluster_codes(groups)
    if metric == "roc_auc":
        return ranking.roc_auc(labels, scores, confidence=confidence, clusters=clusters)
    if metric == "average_precision":
        statistic = metrics.weighted_average_precision(labels, scores)
        drawn = resampling.drawn_statistics(statistic, len(labels), clusters, seed=seed)
        value = ranking.average_precision(labels, scores)
        floor = ranking.unseen(labels, confidence=confidence, clusters=clusters) if value == 1.0 else 0.0
        found = _percentiles(value, drawn, clusters, confidence=confidence, rows=len(labels), floor=floor)
        return msgspec.structs.replace(found, high=min(found.high, 1.0))
    if metric in metrics.LOSSES:
        return _mean(metrics.LOSSES[metric](labels, scores), clusters, confidence=confidence, seed=seed)
    return _share(metric, labels, scores, clusters, confidence=confidence, threshold=threshold)


def gain(
    metric: str,
    labels: npt.NDArray[Any],
    new: npt.NDArray[Any],
    old: npt.NDArray[Any],
    *,
    confidence: float = 0.90,
    groups: npt.NDArray[Any] | None = None,
    threshold: float = THRESHOLD,
    seed: int = 0,
) -> Interval:
    """How much better `new` is than `old` on the same rows, positive for better, with its two-sided interval.

    Raises:
        InvalidInput: unknown metric, or labels and scores that do not fit it.
    """
    metrics.known(metric)
    clusters = cluster_codes(groups)
    if metric == "roc_auc":
        return ranking.roc_auc_difference(labels, new, old, confidence=confidence, clusters=clusters)
    if metric == "average_precision":
        first, second = (metrics.weighted_average_precision(labels, scores) for scores in (new, old))
        drawn = resampling.drawn_statistics(
            lambda weights: first(weights) - second(weights), len(labels), clusters, seed=seed
        )
        value = ranking.average_precision(labels, new) - ranking.average_precision(labels, old)
        floor = 0.0
        if not np.nan_to_num(drawn).any() and not ranking.same_order(new, old):  # both are perfect on these rows
            floor = ranking.unseen(labels, confidence=confidence, clusters=clusters)
        return _percentiles(value, drawn, clusters, confidence=confidence, rows=len(labels), floor=floor)
    if metric in metrics.LOSSES:
        losses = partial(metrics.LOSSES[metric], labels)
        return negated(_mean(losses(new) - losses(old), clusters, confidence=confidence, seed=seed))
    if metric in {"accuracy", "recall"}:
        return _paired_share(metric, labels, new, old, clusters, confidence=confidence, threshold=threshold)
    return _drawn_decisions(
        metric, labels, new, old, clusters, confidence=confidence, threshold=threshold, seed=seed
    )


def classification_metrics(
    labels: npt.NDArray[Any], scores: npt.NDArray[Any], *, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """All of `METRICS` with intervals, but for those that the rows do not have: rankings of one outcome, say."""
    ranking.check(labels, scores)
    outcomes = set(np.unique(labels).tolist())
    missing: frozenset[str] = frozenset()
    if len(outcomes) < 2:
        missing |= RANKINGS
    if not np.any(np.asarray(labels) == 1):
        missing |= OF_POSITIVES
    if not np.any(np.asarray(scores) >= THRESHOLD):
        missing |= {"precision"}
    names = [name for name in METRICS if name not in missing]
    return {name: interval(name, labels, scores, confidence=confidence, seed=seed) for name in names}


def _percentiles(
    value: float, drawn: Floats, clusters: Clusters, *, confidence: float, rows: int, floor: float = 0.0
) -> Interval:
    return resampling.percentile_interval(
        value, drawn, confidence=confidence, rows=rows, units=units(rows, clusters), floor=floor
    )


def _mean(values: Floats, clusters: Clusters, *, confidence: float, seed: int) -> Interval:
    if clusters is None:
        return intervals.mean_interval(values, confidence=confidence)
    columns = np.column_stack([values, np.ones(len(values))])
    total, rows = resampling.drawn_sums(columns, clusters, seed=seed).T
    return _percentiles(float(values.mean()), total / rows, clusters, confidence=confidence, rows=len(values))


def _share(
    metric: str,
    labels: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    clusters: Clusters,
    *,
    confidence: float,
    threshold: float,
) -> Interval:
    decided = metrics.cells(labels, scores, threshold=threshold)
    value = metrics.of_cells(metric, decided.sum(axis=0))
    among = metrics.rests_on(metric, decided)
    right = decided[among, 0] + (decided[among, 3] if metric == "accuracy" else 0.0)
    effect = proportions.design_effect(right, None if clusters is None else clusters[among])
    rows = len(right)
    found = proportions.proportion_interval(float(right.sum()) / effect, rows / effect, confidence=confidence)
    if metric == "f1":
        found = msgspec.structs.replace(
            found, low=_f1_of_share(found.low), high=_f1_of_share(found.high), standard_error=None
        )
    return msgspec.structs.replace(found, value=value, rows=rows)


def _f1_of_share(share: float) -> float:
    return 2.0 * share / (1.0 + share)


def _paired_share(
    metric: str,
    labels: npt.NDArray[Any],
    new: npt.NDArray[Any],
    old: npt.NDArray[Any],
    clusters: Clusters,
    *,
    confidence: float,
    threshold: float,
) -> Interval:
    """The gain in accuracy, or in recall among the rows with label 1."""
    first, second = (metrics.cells(labels, scores, threshold=threshold) for scores in (new, old))
    among = np.asarray(labels) == 1 if metric == "recall" else np.ones(len(first), dtype=bool)
    if not among.any():
        metrics.of_cells(metric, first.sum(axis=0))  # says what is missing
    difference = (first[:, 0] + first[:, 3] - second[:, 0] - second[:, 3])[among]
    effect = proportions.design_effect(difference, None if clusters is None else clusters[among])
    found = proportions.paired_difference(
        float((difference > 0).sum()) / effect,
        float((difference < 0).sum()) / effect,
        len(difference) / effect,
        confidence=confidence,
    )
    return msgspec.structs.replace(found, rows=len(difference))


def _drawn_decisions(
    metric: str,
    labels: npt.NDArray[Any],
    new: npt.NDArray[Any],
    old: npt.NDArray[Any],
    clusters: Clusters,
    *,
    confidence: float,
    threshold: float,
    seed: int,
) -> Interval:
    """The gain in precision or F1, by drawing."""
    both = np.column_stack([metrics.cells(labels, scores, threshold=threshold) for scores in (new, old)])
    counted = both.sum(axis=0)
    value = metrics.of_cells(metric, counted[:4]) - metrics.of_cells(metric, counted[4:])
    sums = resampling.drawn_sums(both, clusters, seed=seed)
    drawn = metrics.many_of_cells(metric, sums[:, :4]) - metrics.many_of_cells(metric, sums[:, 4:])
    z = intervals.normal_quantile(confidence)
    effect = proportions.design_effect(both[:, 0] + both[:, 3] - both[:, 4] - both[:, 7], clusters)
    unseen = z**2 / (1.0 + z**2 * effect / len(both)) * effect
    weight = {"precision": 1.0, "f1": 2.0}[metric]
    hit, alarm, missed, _ = counted[:4]
    bottom = float(hit + alarm if metric == "precision" else 2.0 * hit + alarm + missed)
    floor = weight * unseen / bottom
    return _percentiles(value, drawn, clusters, confidence=confidence, rows=len(both), floor=floor)
