"""The bootstrap, for what has no closed form, in bounded memory whatever the number of rows.

Not rows are drawn but how often each unit is: a unit is a row, or all rows of one customer. A statistic of sums
over rows (a share, a mean, F1) needs the units' sums alone, and where only a few different sums occur, as with
decisions, drawing how often each of those occurs is the same and takes no time. A statistic of the order of the
scores takes the multiplicities as weights of its rows.

Sources: Efron (1979); Field and Welsh, "Bootstrapping Clustered Data" (2007), for drawing whole clusters;
Hesterberg, "What Teachers Should Know About the Bootstrap" (2015), for widening a percentile interval by what
Student's quantile and the sample's variance add, since percentiles of few units are too narrow.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from headrace.errors import InvalidInput
from headrace.statistics.intervals import Floats, Interval

RESAMPLES = 2000
WEIGHTED_RESAMPLES = 1000
"""Draws of a statistic that has to look at every row each time, which takes its time with many rows."""
LEAST_VALID_DRAWS = 0.9
"""Share of the draws that must have a value; leaving out more would bias the interval."""
CELLS = 2_000_000
"""How many multiplicities are held at a time."""
FEW_PATTERNS = 0.25
"""Below this share of different units, the patterns are drawn and not the units."""
PROBED = 1_000
"""Units that are looked at to tell whether it is worth counting the patterns of all."""


def drawn_sums(
    values: Floats,
    clusters: npt.NDArray[np.intp] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Floats:
    """Sums over the rows of each draw.

    Args:
        values: what is summed, shape (rows, columns).
        clusters: what each row belongs to, numbers from 0, shape (rows,); None draws rows.
        resamples: number of draws.
        seed: the same seed gives the same draws.

    Returns:
        Shape (resamples, columns).
    """
    sums = values if clusters is None else _cluster_sums(values, clusters)
    number = len(sums)
    generator = np.random.default_rng(seed)
    if len(np.unique(sums[:PROBED], axis=0)) <= FEW_PATTERNS * min(number, PROBED):
        patterns, counts = np.unique(sums, axis=0, return_counts=True)
        if len(patterns) <= FEW_PATTERNS * number:
            return np.asarray(generator.multinomial(number, counts / number, size=resamples) @ patterns)
    return np.concatenate([multiplicities @ sums for multiplicities in _draws(number, resamples, generator)])


def drawn_statistics(
    statistic: Callable[[Floats], Floats],
    rows: int,
    clusters: npt.NDArray[np.intp] | None = None,
    *,
    resamples: int = WEIGHTED_RESAMPLES,
    seed: int = 0,
) -> Floats:
    """A statistic of weighted rows for each draw.

    Args:
        statistic: takes weights of shape (draws, rows), gives shape (draws,), NaN where it has no value.
        rows: rows there are.
        clusters: what each row belongs to, numbers from 0, shape (rows,); None draws rows.
        resamples: number of draws.
        seed: the same seed gives the same draws.

    Returns:
        Shape (resamples,).
    """
    number = rows if clusters is None else int(clusters.max()) + 1
    generator = np.random.default_rng(seed)
    return np.concatenate(
        [
            statistic(multiplicities if clusters is None else multiplicities[:, clusters])
            for multiplicities in _draws(number, resamples, generator, at_least_cells=rows)
        ]
    )


def percentile_interval(
    value: float, drawn: Floats, *, confidence: float, rows: int, units: int, floor: float = 0.0
) -> Interval:
    """The interval between two percentiles of the draws, widened for few units.

    Args:
        value: the statistic of the sample itself.
        drawn: the statistic of each draw, shape (resamples,); NaN where a draw has none.
        confidence: two-sided coverage.
        rows: rows that the statistic rests on.
        units: independent units that were drawn.
        floor: the least distance of either end from the value: what so many rows cannot rule out even when
            nothing varies in them.

    Raises:
        InvalidInput: too few draws have a value, for example because one outcome is missing from many.
    """
    valid = drawn[np.isfinite(drawn)]
    if len(valid) < LEAST_VALID_DRAWS * len(drawn) or units < 2:
        raise InvalidInput(
            "too few draws have a value", where="rows", fix="Evaluate on more rows and entities with both outcomes."
        )
    tail = float(stats.norm.cdf(stats.t.ppf((1.0 - confidence) / 2.0, units - 1) * math.sqrt(units / (units - 1))))
    low, high = np.quantile(valid, [tail, 1.0 - tail])
    return Interval(
        value=value,
        low=min(float(low), value - floor),
        high=max(float(high), value + floor),
        confidence=confidence,
        rows=rows,
        standard_error=float(valid.std(ddof=1)),
    )


def _draws(
    number: int, resamples: int, generator: np.random.Generator, *, at_least_cells: int = 0
) -> Iterator[npt.NDArray[Any]]:
    """How often each of `number` units is drawn, shape (draws, number), a few draws at a time."""
    at_once = max(1, CELLS // max(number, at_least_cells, 1))
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        chosen = generator.integers(number, size=(draws, number))
        chosen += np.arange(draws)[:, None] * number
        counted = np.bincount(chosen.ravel(), minlength=draws * number)
        yield counted.reshape(draws, number).astype(np.float64)


def _cluster_sums(values: Floats, clusters: npt.NDArray[np.intp]) -> Floats:
    number = int(clusters.max()) + 1
    return np.column_stack(
        [np.bincount(clusters, weights=column, minlength=number) for column in np.atleast_2d(values.T)]
    )
