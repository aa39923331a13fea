"""Shares with score intervals, which hold where they matter most: few rows, and shares near 0 or 1.

A share of 50 in 50 has an estimated variance of zero, so a normal interval or a bootstrap would call it certain. A
score interval asks instead which true shares would make such counts unlikely.

Where rows belong together (one customer several times) the counts are divided by the design effect, the factor by
which the clusters widen the variance; the intervals then take the effective counts.

Sources: Wilson (1927) for one share; Newcombe, "Interval Estimation for the Difference between Independent
Proportions" (1998), method 10, for a difference; Donner and Zou (2012) for a ratio, built from the two Wilson
intervals as Newcombe's is; Tango, "Equivalence Test and Confidence Interval for the Difference in Proportions for
the Paired-Sample Design" (1998), for two models on the same rows; Rao and Scott, "A Simple Method for the Analysis
of Clustered Binary Data" (1992), for effective counts.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize

from headrace.statistics.intervals import Floats, Interval, normal_quantile

EDGE = 1.0 - 1e-9
"""How near to a difference of 1 the roots are looked for."""


def wilson_limits(shares: Floats, sizes: Floats, *, confidence: float) -> tuple[Floats, Floats]:
    """Wilson's limits of several shares.

    Args:
        shares: in [0, 1], shape (shares,).
        sizes: rows that each rests on, above 0, not necessarily whole, shape (shares,).
        confidence: two-sided coverage.
    """
    z = normal_quantile(confidence)
    centre = (shares + z**2 / (2 * sizes)) / (1 + z**2 / sizes)
    half = z * np.sqrt(shares * (1 - shares) / sizes + z**2 / (4 * sizes**2)) / (1 + z**2 / sizes)
    return np.minimum(np.maximum(0.0, centre - half), shares), np.maximum(np.minimum(1.0, centre + half), shares)


def proportion_interval(successes: float, rows: float, *, confidence: float = 0.95) -> Interval:
    """A share with Wilson's score interval; effective counts need not be whole."""
    share = successes / rows
    low, high = wilson_limits(np.array([share]), np.array([float(rows)]), confidence=confidence)
    return Interval(
        value=share,
        low=float(low[0]),
        high=float(high[0]),
        confidence=confidence,
        rows=round(rows),
        standard_error=math.sqrt(share * (1 - share) / rows),
    )


def proportion_difference(first: tuple[int, int], second: tuple[int, int], *, confidence: float = 0.95) -> Interval:
    """Share of `first` less share of `second`, independent samples, with Newcombe's hybrid score interval.

    Args:
        first: successes and rows, rows at least 1.
        second: successes and rows, rows at least 1.
        confidence: two-sided coverage.
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


def pairwise_differences(shares: Floats, sizes: Floats, *, confidence: float) -> tuple[Floats, Floats]:
    """Newcombe's limits of every share less every other, shape (shares, shares): row less column."""
    low, high = wilson_limits(shares, sizes, confidence=confidence)
    below, above = shares - low, high - shares
    differences = shares[:, None] - shares[None, :]
    return (
        differences - np.hypot(below[:, None], above[None, :]),
        differences + np.hypot(above[:, None], below[None, :]),
    )


def pairwise_ratios(shares: Floats, sizes: Floats, *, confidence: float) -> tuple[Floats, Floats]:
    """Donner's and Zou's limits of every share over every other, shape (shares, shares): row over column.

    Infinite above where the share below the line may be zero.
    """
    low, high = wilson_limits(shares, sizes, confidence=confidence)
    over, under = shares[:, None], shares[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        lower = _mover_ratio(over, under, low[:, None], high[None, :], sign=-1.0)
        upper = _mover_ratio(over, under, high[:, None], low[None, :], sign=1.0)
    lower = np.where(np.isfinite(lower), np.maximum(lower, 0.0), 0.0)
    upper = np.where(np.isfinite(upper) & (low[None, :] > 0.0), upper, np.inf)
    return lower, upper


def paired_difference(gained: float, lost: float, rows: float, *, confidence: float = 0.90) -> Interval:
    """How much more often one model is right than another on the same rows, with Tango's score interval.

    Args:
        gained: rows that only the new model gets right.
        lost: rows that only the old model gets right.
        rows: all rows, at least 1; effective counts need not be whole.
        confidence: two-sided coverage.
    """
    z = normal_quantile(confidence)
    value = (gained - lost) / rows

    def excess(difference: float, sign: float) -> float:
        return gained - lost - rows * difference - sign * z * _tango_error(gained, lost, rows, difference)

    # at the estimate itself the error may vanish, and with it the sign; the bounds are the roots away from it
    low = _root(lambda difference: excess(difference, 1.0), -EDGE, value - (1.0 - EDGE))
    high = _root(lambda difference: excess(difference, -1.0), value + (1.0 - EDGE), EDGE)
    return Interval(
        value=value,
        low=max(-1.0, min(low, value)),
        high=min(1.0, max(high, value)),
        confidence=confidence,
        rows=round(rows),
        standard_error=math.sqrt(max(gained + lost - (gained - lost) ** 2 / rows, 0.0)) / rows,
    )


def design_effect(values: npt.NDArray[Any], clusters: npt.NDArray[np.intp] | None) -> float:
    """How many times wider the clusters make the variance of a mean, at least 1.

    Args:
        values: shape (rows,).
        clusters: what each row belongs to, numbers from 0; None for independent rows.

    Returns:
        1 for independent rows. Where the values do not vary they tell nothing of their clusters; then the mean
        number of rows in one, as if each cluster were of one mind.
    """
    if clusters is None:
        return 1.0
    _, own = np.unique(clusters, return_inverse=True)
    number = int(own.max()) + 1
    rows = len(values)
    deviations = np.asarray(values, dtype=np.float64) - np.mean(values)
    independent = float(deviations @ deviations)
    if number < 2 or independent <= 0.0:
        return rows / number
    totals = np.bincount(own, weights=deviations, minlength=number)
    clustered = float(totals @ totals) * number / (number - 1)
    return max(1.0, clustered / (independent * rows / (rows - 1)))


def _tango_error(gained: float, lost: float, rows: float, difference: float) -> float:
    """Standard error of gained less lost under a true difference, with the losses fitted to it."""
    b = (2.0 * rows - gained + lost) * difference - gained - lost
    c = -lost * difference * (1.0 - difference)
    fitted = (math.sqrt(max(b * b - 8.0 * rows * c, 0.0)) - b) / (4.0 * rows)
    return math.sqrt(max(rows * (2.0 * fitted + difference * (1.0 - difference)), 0.0))


def _root(function: Any, low: float, high: float) -> float:
    """Where a function that falls crosses zero between two points; the end beyond which it would."""
    if low >= high or function(low) <= 0.0:
        return min(low, high)
    if function(high) >= 0.0:
        return high
    return float(optimize.brentq(function, low, high, xtol=1e-12))


def _mover_ratio(over: Floats, under: Floats, limit_over: Floats, limit_under: Floats, *, sign: float) -> Floats:
    product = over * under
    spread = product**2 - limit_over * (2 * over - limit_over) * limit_under * (2 * under - limit_under)
    ratio: Floats = (product + sign * np.sqrt(np.maximum(spread, 0.0))) / (limit_under * (2 * under - limit_under))
    return ratio
