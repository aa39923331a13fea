"""The metrics of a binary model and what their intervals are made of: losses and decisions of rows.

Labels are 0 or 1, scores the probability of class 1. A decision is `score >= threshold`, as scikit-learn's.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import InvalidInput
from headrace.statistics import ranking
from headrace.statistics.intervals import Floats

METRICS = (
    "roc_auc",
    "average_precision",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "brier",
    "log_loss",
)
LOWER_IS_BETTER = frozenset({"brier", "log_loss"})
RANKINGS = frozenset({"roc_auc", "average_precision"})
"""Metrics of the order of the two outcomes."""
DECISIONS = frozenset({"accuracy", "precision", "recall", "f1"})
"""Metrics of decisions, which depend on the threshold."""
OF_POSITIVES = frozenset({"precision", "recall", "f1"})
"""Metrics that only rows with label 1, or decided to be 1, say anything about."""
LOSSES: dict[str, Callable[[npt.NDArray[Any], npt.NDArray[Any]], Floats]] = {
    "brier": ranking.brier_losses,
    "log_loss": ranking.log_losses,
}
"""Metrics that are means of losses over rows."""
THRESHOLD = 0.5


def known(metric: str) -> None:
    """Refuse a metric that nothing here can compute.

    Raises:
        InvalidInput: with the metrics that can be.
    """
    if metric not in METRICS:
        raise InvalidInput(
            f"{metric!r} is not a known metric", where="metric", fix=f"Use one of {', '.join(METRICS)}."
        )


def value(
    metric: str, labels: npt.NDArray[Any], scores: npt.NDArray[Any], *, threshold: float = THRESHOLD
) -> float:
    """One metric of one model, without an interval.

    Raises:
        InvalidInput: unknown metric, labels and scores that do not fit it, or a metric that the rows do not have:
            precision without a row decided to be 1, recall without a label 1.
    """
    known(metric)
    if metric == "roc_auc":
        return float(ranking.delong(labels, scores)[0][0])
    if metric == "average_precision":
        return ranking.average_precision(labels, scores)
    if metric in LOSSES:
        return float(LOSSES[metric](labels, scores).mean())
    return of_cells(metric, cells(labels, scores, threshold=threshold).sum(axis=0))


def cells(labels: npt.NDArray[Any], scores: npt.NDArray[Any], *, threshold: float = THRESHOLD) -> Floats:
    """True positives, false positives, false negatives and true negatives as 0 and 1, shape (rows, 4)."""
    outcome, column = ranking.check(labels, scores)
    positive, decided = outcome == 1.0, column >= threshold
    return np.column_stack(
        [positive & decided, ~positive & decided, positive & ~decided, ~positive & ~decided]
    ).astype(np.float64)


def of_cells(metric: str, counted: Floats) -> float:
    """A metric of decisions from its four counts.

    Raises:
        InvalidInput: there is nothing that the metric is a share of.
    """
    found = float(many_of_cells(metric, counted[None, :])[0])
    if np.isnan(found):
        what = "decided to be 1" if metric == "precision" else "with label 1"
        raise InvalidInput(
            f"there is no row {what}, so there is no {metric}", where="scores", fix="Evaluate on more rows."
        )
    return found


def many_of_cells(metric: str, counted: Floats) -> Floats:
    """A metric of decisions of several samples, from counts of shape (samples, 4); NaN where there is none."""
    hit, alarm, missed, right = counted.T
    top, bottom = {
        "accuracy": (hit + right, hit + alarm + missed + right),
        "precision": (hit, hit + alarm),
        "recall": (hit, hit + missed),
        "f1": (2.0 * hit, 2.0 * hit + alarm + missed),
    }[metric]
    found: Floats = np.divide(top, bottom, out=np.full(len(counted), np.nan), where=bottom > 0.0)
    return found


def rests_on(metric: str, decided: Floats) -> npt.NDArray[np.bool_]:
    """The rows that a metric of decisions is a share of, shape (rows,), from `cells`."""
    hit, alarm, missed, _ = decided.T.astype(bool)
    return {
        "accuracy": np.ones(len(decided), dtype=bool),
        "precision": hit | alarm,
        "recall": hit | missed,
        "f1": hit | alarm | missed,
    }[metric]


def weighted_average_precision(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> Callable[[Floats], Floats]:
    """Average precision as a function of weights of the rows, shape (draws, rows); NaN without a label 1."""
    outcome, column = ranking.check(labels, scores)
    order = np.argsort(-column, kind="stable")
    positive = outcome[order]
    last_of_ties = np.append(np.flatnonzero(np.diff(column[order])), len(order) - 1)

    def statistic(weights: Floats) -> Floats:
        ranked = weights[:, order]
        seen = np.cumsum(ranked, axis=1)[:, last_of_ties]
        found = np.cumsum(ranked * positive, axis=1)[:, last_of_ties]
        precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0.0)
        total = found[:, -1]
        sums = np.sum(np.diff(found, prepend=0.0, axis=1) * precision, axis=1)
        return np.divide(sums, total, out=np.full(len(total), np.nan), where=total > 0.0)

    return statistic
