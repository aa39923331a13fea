"""Calibration: whether a score of 0.3 means three in ten, as an error with its interval.

The error is the root mean square distance between score and share of label 1 over bins of equally many rows. The
plain estimate is biased upwards, since the noise of each bin's share is squared too: ten perfectly calibrated bins
of 100 rows seem to be off by 0.04. So the noise is subtracted, which leaves the mean square unbiased. Its interval
is that of the non-centrality of a chi-square; unlike a bootstrap it holds at zero, where the estimate does not vary
in the first order. Binning hides what cancels within a bin: the error is a lower bound of that without bins.

Beside it: calibration in the large (mean label less mean score) and the slope of a logistic recalibration, 1 for a
calibrated model and below 1 for one that is too sure of itself. They say which way to correct a model.

Sources: Kumar, Liang and Ma, "Verified Uncertainty Calibration" (NeurIPS 2019), and Bröcker, "Estimating
Reliability and Resolution of Probability Forecasts" (2012), for the unbiased estimate; Sun, Chaudhari, Barnett and
Dobriban, "A Confidence Interval for the l2 Expected Calibration Error" (2024), for its distribution at zero and
away from it; Satterthwaite (1946) for one chi-square in the place of a weighted sum; Cox (1958) and Van Calster et
al., "Calibration: the Achilles Heel of Predictive Analytics" (2019), for the slope; Liang and Zeger (1986) for its
error with clusters.
"""

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from headrace.errors import InvalidInput
from headrace.statistics import ranking
from headrace.statistics.intervals import POWER, Floats, Interval, cluster_codes, normal_interval, units

BINS = 15
ROWS_A_BIN = 30
"""Rows that a bin needs, so that its share is about normal."""
STEPS = 50
CONVERGED = 1e-10
NORMAL_FROM = 1e4
"""Chi-squares beyond this are too many for the exact distribution, and near enough to normal."""
SLOPE_LIMIT = 1e3
"""A slope beyond this is one of outcomes that the scores separate: there is none."""


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """One bin of scores: what was foretold and what came."""

    rows: int
    mean_score: float
    share: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """How far scores are from shares.

    Attributes:
        error: root mean square over bins, at least 0.
        detectable: the bound that a calibrated model keeps four times in five with so many rows.
        in_the_large: mean label less mean score; positive when the model foretells too little.
        slope: of the log odds of the label on those of the score; None when there is none, as for constant scores.
        bins: in the order of the scores.
    """

    error: Interval
    detectable: float
    in_the_large: Interval
    slope: Interval | None
    bins: tuple[Bin, ...]


def calibration(
    labels: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    *,
    confidence: float = 0.95,
    groups: npt.NDArray[Any] | None = None,
    bins: int = BINS,
) -> Calibration:
    """The calibration of probabilities.

    Args:
        labels: 0 or 1, shape (rows,).
        scores: probabilities of class 1, shape (rows,).
        confidence: two-sided coverage.
        groups: what rows belong to, shape (rows,); rows of one group count as one unit.
        bins: at most so many, fewer when there are few rows or few different scores.

    Raises:
        InvalidInput: the scores are no probabilities, or there are too few rows for a bin.
    """
    outcome, column = ranking.check(labels, scores)
    if column.min() < 0.0 or column.max() > 1.0:
        raise InvalidInput(
            "scores outside of 0 to 1 are no probabilities", where="scores", fix="Calibrate the model's output."
        )
    clusters = cluster_codes(groups)
    codes = binned(column, bins)
    rows = np.bincount(codes)
    covariance = _covariance(outcome - column, codes, clusters)
    covariance += np.diag(_unseen(outcome, codes, worth=units(len(codes), clusters) / len(codes)))
    gaps = np.bincount(codes, weights=outcome - column) / rows
    everyone = np.zeros(len(codes), dtype=np.intp)
    mean = float(np.mean(outcome - column))
    error = math.sqrt(float(_covariance(outcome - column, everyone, clusters)[0, 0]))
    found, detectable = _root_mean_square(
        gaps, rows / len(codes), covariance, confidence=confidence, rows=len(codes)
    )
    return Calibration(
        error=found,
        detectable=detectable,
        in_the_large=normal_interval(mean, error, confidence=confidence, rows=len(codes)),
        slope=_slope(outcome, column, clusters, confidence=confidence),
        bins=tuple(
            Bin(rows=int(number), mean_score=float(score), share=float(share))
            for number, score, share in zip(
                rows,
                np.bincount(codes, weights=column) / rows,
                np.bincount(codes, weights=outcome) / rows,
                strict=True,
            )
        ),
    )


def binned(scores: Floats, bins: int = BINS) -> npt.NDArray[np.intp]:
    """The bin of each score, numbers from 0, shape (rows,): equally many rows in each, equal scores together.

    Raises:
        InvalidInput: there are too few rows for a single bin.
    """
    most = min(bins, len(scores) // ROWS_A_BIN)
    if most < 1:
        raise InvalidInput(
            f"calibration needs {ROWS_A_BIN} rows, there are {len(scores)}",
            where="rows",
            fix="Evaluate on more rows.",
        )
    edges = np.unique(np.quantile(scores, np.arange(1, most) / most, method="lower"))
    codes = np.searchsorted(edges, scores, side="left")
    _, codes = np.unique(codes, return_inverse=True)
    counts = np.bincount(codes)
    while len(counts) > 1 and counts.min() < ROWS_A_BIN:  # ties can leave a bin with few rows
        small = int(counts.argmin())
        codes = np.where(codes > max(small - 1, 0), codes - 1, codes)
        counts = np.bincount(codes)
    return codes.astype(np.intp)


def _covariance(residuals: Floats, codes: npt.NDArray[np.intp], clusters: npt.NDArray[np.intp] | None) -> Floats:
    """Covariance of the mean residuals of bins, shape (bins, bins), diagonal for independent rows."""
    number = int(codes.max()) + 1
    rows = np.bincount(codes, minlength=number)
    means = np.bincount(codes, weights=residuals, minlength=number) / rows
    shares = (residuals - means[codes]) / rows[codes]
    if clusters is None:
        squares = np.bincount(codes, weights=shares**2, minlength=number)
        return np.diag(squares * rows / np.maximum(rows - 1, 1))
    influence = np.zeros((number, len(codes)))
    influence[codes, np.arange(len(codes))] = shares
    return ranking.clustered_covariance(influence, clusters)


def _unseen(outcome: Floats, codes: npt.NDArray[np.intp], *, worth: float) -> Floats:
    """The variance of the share of bins in which only one outcome was seen, by Laplace's rule of succession."""
    rows = np.bincount(codes)
    ones = np.bincount(codes, weights=outcome)
    sizes = np.maximum(rows * worth, 1.0)
    share = 1.0 / (sizes + 2.0)
    return np.where((ones == 0) | (ones == rows), share * (1.0 - share) / sizes, 0.0)


def _root_mean_square(
    gaps: Floats, weights: Floats, covariance: Floats, *, confidence: float, rows: int
) -> tuple[Interval, float]:
    """The error of bins from their gaps (share less mean score), by inverting a test of the mean square.

    With it the upper end that it has in four of five samples of a calibrated model.

    The weighted sum of squared gaps is a sum of chi-squares with unequal weights, taken for one scaled chi-square
    of the same mean and variance; its non-centrality is the true mean square over the scale.
    """
    root = np.sqrt(weights)
    scaled = covariance * root[:, None] * root[None, :]
    noise, seen = float(np.trace(scaled)), float(weights @ gaps**2)
    value = math.sqrt(max(seen - noise, 0.0))
    scale = float(np.sum(scaled * scaled)) / noise
    tail = (1.0 - confidence) / 2.0
    low, high = (
        math.sqrt(scale * _non_centrality(seen / scale, noise / scale, chance)) for chance in (1.0 - tail, tail)
    )
    usual = float(stats.chi2.ppf(POWER, noise / scale))
    detectable = math.sqrt(scale * _non_centrality(usual, noise / scale, tail))
    found = Interval(value=value, low=min(low, value), high=max(high, value), confidence=confidence, rows=rows)
    return found, detectable


def _non_centrality(seen: float, freedom: float, chance: float) -> float:
    """The non-centrality under which a chi-square is at most `seen` with some chance, at least 0."""
    if seen > NORMAL_FROM:  # then its root is normal with a standard deviation of 1
        return max(math.sqrt(seen - freedom) - float(special.ndtri(chance)), 0.0) ** 2

    def excess(non_centrality: float) -> float:
        return float(special.chndtr(seen, freedom, non_centrality)) - chance

    if excess(0.0) <= 0.0:
        return 0.0
    high = 1.0 + seen
    while excess(high) > 0.0:
        high *= 2.0
    return float(optimize.brentq(excess, 0.0, high))


def _slope(
    outcome: Floats, scores: Floats, clusters: npt.NDArray[np.intp] | None, *, confidence: float
) -> Interval | None:
    """The slope of a logistic regression of the label on the score's log odds, with a robust error."""
    clipped = np.clip(scores, ranking.PROBABILITY_FLOOR, 1.0 - 1e-15)
    odds = np.log(clipped) - np.log1p(-clipped)
    if len(np.unique(outcome)) < 2 or np.ptp(odds) == 0.0:
        return None
    design = np.column_stack([np.ones(len(odds)), odds])
    found = np.zeros(2)
    for _ in range(STEPS):
        fitted = 1.0 / (1.0 + np.exp(-np.clip(design @ found, -500.0, 500.0)))
        information = (design * (fitted * (1.0 - fitted))[:, None]).T @ design
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e14:
            return None
        step = np.linalg.solve(information, design.T @ (outcome - fitted))
        found = found + step
        if abs(found[1]) > SLOPE_LIMIT:
            return None
        if np.abs(step).max() < CONVERGED:
            break
    else:
        return None
    influence = np.linalg.solve(information, (design * (outcome - fitted)[:, None]).T)
    own = np.arange(len(odds), dtype=np.intp) if clusters is None else clusters
    error = math.sqrt(float(ranking.clustered_covariance(influence, own)[1, 1]))
    return normal_interval(float(found[1]), error, confidence=confidence, rows=len(odds))
