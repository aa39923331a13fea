"""How long one row takes, from calls that two models answered in turns on one machine.

A machine is faster in one second than in the next, so single calls are not independent. Calls are made in rounds,
and both models answer in every round: what slows a round slows both. Rounds are what the bootstrap draws, for a
quantile of one model and for the ratio of two.

Source: the interval is `resampling.percentile_interval` over rounds; blocks against dependence are Künsch's (1989).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.statistics import resampling
from headrace.statistics.intervals import Floats, Interval

QUANTILE = 0.95


def quantile_interval(
    seconds: Floats,
    rounds: npt.NDArray[Any],
    *,
    quantile: float = QUANTILE,
    confidence: float = 0.90,
    seed: int = 0,
) -> Interval:
    """A quantile of the calls' durations.

    Args:
        seconds: of each call, shape (calls,).
        rounds: the round of each call, shape (calls,); two rounds at least.
        quantile: in (0, 1).
        confidence: two-sided coverage.
        seed: of the draws.
    """
    _, codes = np.unique(rounds, return_inverse=True)
    drawn = resampling.drawn_statistics(_weighted(seconds, quantile), len(seconds), codes, seed=seed)
    return resampling.percentile_interval(
        _of(seconds, quantile), drawn, confidence=confidence, rows=len(seconds), units=int(codes.max()) + 1
    )


def quantile_ratio(
    new: Floats,
    new_rounds: npt.NDArray[Any],
    old: Floats,
    old_rounds: npt.NDArray[Any],
    *,
    quantile: float = QUANTILE,
    confidence: float = 0.90,
    seed: int = 0,
) -> Interval:
    """How many times as long the new model takes as the old one; a round is drawn for both at once."""
    _, codes = np.unique(np.concatenate([new_rounds, old_rounds]), return_inverse=True)
    first, second = _weighted(new, quantile), _weighted(old, quantile)
    calls = len(new)
    drawn = resampling.drawn_statistics(
        lambda weights: first(weights[:, :calls]) / second(weights[:, calls:]), len(codes), codes, seed=seed
    )
    value = _of(new, quantile) / _of(old, quantile)
    return resampling.percentile_interval(
        value, drawn, confidence=confidence, rows=calls, units=int(codes.max()) + 1
    )


def _of(seconds: Floats, quantile: float) -> float:
    return float(np.quantile(seconds, quantile, method="inverted_cdf"))


def _weighted(seconds: Floats, quantile: float) -> Any:
    """The quantile as a function of weights of the calls, shape (draws, calls)."""
    order = np.argsort(seconds, kind="stable")
    ranked = seconds[order]

    def statistic(weights: Floats) -> Floats:
        reached = np.cumsum(weights[:, order], axis=1)
        places = np.argmax(reached >= quantile * reached[:, -1:], axis=1)
        found: Floats = np.where(reached[:, -1] > 0.0, ranked[places], np.nan)
        return found

    return statistic
