"""Confidence sequences: intervals that cover the truth at every time at once, with a stated probability.

They may be looked at after every row, and a decision taken at any of them. Both are told from counts and sums, so
there is no state to keep, and those of many gateways add up.

This module imports the standard library alone, because the control process uses it and stays small.

Sources: Robbins, "Statistical Methods Related to the Law of the Iterated Logarithm" (1970), for the mixture of a
share; Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform Central Limit Theory and Asymptotic Confidence
Sequences" (2024), for the mean.
"""

import math
from collections.abc import Callable

PLANNED_ROWS = 1000
"""The sequence of a mean is narrowest about there; it holds at any number of rows."""
STEPS = 60


def share_sequence(count: int, rows: int, *, alpha: float) -> tuple[float, float]:
    """A share, exactly: the values that the mixture of all alternatives does not rule out.

    Under the truth the mixture's likelihood ratio, uniform over all shares, is an e-process; a value belongs to the
    interval as long as the ratio against it is below 1/alpha.

    Args:
        count: rows that have the property.
        rows: all of them.
        alpha: probability that the sequence ever misses.

    Returns:
        Lower and upper bound, in [0, 1].
    """
    if not rows:
        return 0.0, 1.0
    mixture = math.lgamma(count + 1) + math.lgamma(rows - count + 1) - math.lgamma(rows + 2)
    bound = math.log(1.0 / alpha)

    def ruled_out(share: float) -> bool:
        failures = rows - count
        likelihood = (count * math.log(share) if count else 0.0) + (
            failures * math.log1p(-share) if failures else 0.0
        )
        return mixture - likelihood >= bound

    middle = count / rows
    low = 0.0 if count == 0 else _edge(ruled_out, outside=0.0, inside=middle)
    high = 1.0 if count == rows else _edge(ruled_out, outside=1.0, inside=middle)
    return low, high


def mean_sequence(rows: int, total: float, squares: float, *, alpha: float) -> tuple[float, float]:
    """A mean, for large numbers: the asymptotic confidence sequence with the sample's variance.

    Args:
        rows: how many values.
        total: their sum.
        squares: the sum of their squares.
        alpha: probability that the sequence ever misses.

    Returns:
        Lower and upper bound; infinite below two rows.
    """
    if rows < 2:
        return -math.inf, math.inf
    mean = total / rows
    variance = max(0.0, squares / rows - mean * mean)
    # the width is least at the planned rows, by the rule of the paper's appendix
    tuned = (2.0 * math.log(1.0 / alpha) + math.log(1.0 + 2.0 * math.log(1.0 / alpha))) / PLANNED_ROWS
    grown = rows * tuned + 1.0
    width = math.sqrt(variance) * math.sqrt(
        2.0 * grown / (rows * rows * tuned) * math.log(math.sqrt(grown) / alpha)
    )
    return mean - width, mean + width


def _edge(ruled_out: Callable[[float], bool], *, outside: float, inside: float) -> float:
    """Where an interval ends, between a value outside and one inside; the one that is outside of it."""
    for _ in range(STEPS):
        middle = (outside + inside) / 2.0
        if middle in {outside, inside}:
            break
        if ruled_out(middle):
            outside = middle
        else:
            inside = middle
    return outside
