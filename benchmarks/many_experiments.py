"""The platform's tests of rewards said of many tests at once, so that thousands of them can be simulated.

While it is tested whether there is a difference at all, the log of a bet is linear in the sums of the rewards. So
what one reward of 0, a half and 1 adds to it is asked of the platform's own code once for each share, and the rest
is one product of matrices. `hold_to_the_platform` compares the outcome with that code.
"""

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.statistics import experiments
from headrace.statistics.experiments import (
    BASELINES,
    DENSITY_POINTS,
    FRACTIONS,
    ODDS,
    Period,
    Rewards,
    bet,
    difference_e_value,
    merged,
    shortfall_e_value,
    split_e_value,
)

Array = npt.NDArray[Any]
CHAMPION, CHALLENGER = 0, 1
COUNT, TOTAL, SQUARES = 0, 1, 2
NEAR = 1e-6


class Logs(NamedTuple):
    """Logarithms of the two e-values, of any shape."""

    better: Array
    worse: Array


class ManyTests:
    """Many tests whose shares are some of the same few.

    Sums have the shape (..., shares, 2 arms, 3): how many rewards, their sum and that of their squares.
    """

    def __init__(self, shares: tuple[float, ...], *, binary: bool) -> None:
        self.shares, self.binary = shares, binary
        self.bets = np.concatenate([_bets(share, binary) for share in shares])
        self.odds = np.concatenate([_odds(share) for share in shares])

    def logs(self, sums: Array) -> Logs:
        """Of `difference_e_value` above nothing and of `shortfall_e_value` below it."""
        ahead = sums.shape[:-3]
        every = (sums.reshape(*ahead, -1) @ self.bets).reshape(*ahead, 2, len(BASELINES), len(FRACTIONS))
        whole = sums.sum(axis=(-3, -2))
        mean = whole[..., TOTAL] / np.maximum(1.0, whole[..., COUNT])
        nearest = np.abs(np.array(BASELINES) - mean[..., None]).argmin(axis=-1)
        found = np.take_along_axis(every, nearest[..., None, None, None], axis=-2)[..., 0, :]
        logs = _log_mean(found) - math.log(len(BASELINES))
        return Logs(logs[..., 0], logs[..., 1])

    def split_logs(self, units: Array) -> Array:
        """Of `split_e_value`; `units` has the shape (..., shares, 2 arms)."""
        return _log_mean(units.reshape(*units.shape[:-2], -1) @ self.odds)

    def probabilities(self, sums: Array) -> Array:
        """Of `probability_better`."""
        counts, totals = sums[..., COUNT], sums[..., TOTAL]
        both = counts[..., CHALLENGER] + counts[..., CHAMPION]
        weights = counts[..., CHALLENGER] * counts[..., CHAMPION] / np.maximum(1.0, both)
        whole = weights.sum(axis=-1)
        weights = weights / np.where(whole > 0.0, whole, 1.0)[..., None]
        present = np.maximum(1.0, counts)
        means = (weights[..., None] * totals / present).sum(axis=-2)
        known = 1.0 / np.maximum(1e-300, (weights[..., None] ** 2 / present).sum(axis=-2))
        first, second = 1.0 + known * means, 1.0 + known * (1.0 - means)
        return np.where(whole > 0.0, _exceeds(first, second), 0.5)

    def hold_to_the_platform(self, sums: Array, units: Array | None = None) -> None:
        """End with an error where the platform's code says something else of one test's sums."""
        periods = merged(
            [
                Period(share=share, challenger=self._arm(kept[CHALLENGER]), champion=self._arm(kept[CHAMPION]))
                for share, kept in zip(self.shares, sums, strict=True)
                if kept[:, COUNT].any()
            ]
        )
        found = self.logs(sums)
        pairs = [
            (float(found.better), _log(difference_e_value(periods, at_most=0.0))),
            (float(found.worse), _log(shortfall_e_value(periods, at_least=0.0))),
            (float(self.probabilities(sums)), experiments.probability_better(periods)),
        ]
        if units is not None:
            begun = [(share, int(one[1]), int(one[0])) for share, one in zip(self.shares, units, strict=True)]
            pairs.append((float(self.split_logs(units)), _log(split_e_value(begun))))
        for mine, theirs in pairs:
            if not math.isclose(mine, theirs, rel_tol=NEAR, abs_tol=NEAR) and theirs < 700.0:
                raise SystemExit(f"the simulation says {mine} where the platform says {theirs}")

    def _arm(self, kept: Array) -> Rewards:
        count, total, squares = kept.tolist()
        return Rewards(count=int(count), total=total, squares=squares, binary=self.binary)


def first_place(reached: Array) -> Array:
    """The first place along the last axis that is true; as many as there are for none."""
    return np.where(reached.any(axis=-1), reached.argmax(axis=-1), reached.shape[-1])


@cache
def _bets(share: float, binary: bool) -> Array:
    """What count, sum and squares of either arm add to the log of each bet, shape (6, bets of both directions)."""
    rows = []
    for arm in (CHAMPION, CHALLENGER):
        at = [
            np.array([_one(share, arm, value, turned=turned, binary=binary) for turned in (False, True)]).ravel()
            for value in ((0.0, 1.0) if binary else (0.0, 0.5, 1.0))
        ]
        if binary:
            rows += [at[0], at[1] - at[0], np.zeros_like(at[0])]
        else:
            rows += [at[0], 4.0 * at[1] - 3.0 * at[0] - at[2], 2.0 * (at[0] + at[2]) - 4.0 * at[1]]
    return np.array(rows)


def _one(share: float, arm: int, value: float, *, turned: bool, binary: bool) -> list[float]:
    """What one reward adds to the log of each bet."""
    mine = Rewards(count=1, total=value, squares=value * value, binary=binary)
    none = Rewards(binary=binary)
    arms = (mine, none) if arm == CHALLENGER else (none, mine)
    period = Period(share=share, challenger=arms[0], champion=arms[1])
    periods = [period.swapped() if turned else period]
    return [bet(periods, base, part).log(0.0) for base in BASELINES for part in FRACTIONS]


@cache
def _odds(share: float) -> Array:
    """What a unit of either arm adds to the log of each alternative to the split, shape (2, alternatives)."""
    odds = np.array([*ODDS, *(1.0 / each for each in ODDS)])
    other = share * odds / (share * odds + 1.0 - share)
    return np.array([np.log((1.0 - other) / (1.0 - share)), np.log(other / share)])


def _log_mean(logs: Array) -> Array:
    highest = logs.max(axis=-1)
    return np.asarray(highest + np.log(np.exp(logs - highest[..., None]).mean(axis=-1)))


def _log(value: float) -> float:
    return math.log(max(value, 1e-320)) if math.isfinite(value) else value


def _exceeds(first: Array, second: Array) -> Array:
    """That the challenger's draw is above the champion's; parameters have the shape (..., 2 arms)."""
    middle = first / (first + second)
    spread = 9.0 * np.sqrt(middle * (1.0 - middle) / (first + second + 1.0))
    low = np.maximum(0.0, (middle - spread).min(axis=-1))
    high = np.minimum(1.0, (middle + spread).max(axis=-1))
    places = (np.arange(DENSITY_POINTS) + 0.5) / DENSITY_POINTS
    points = (low[..., None] + (high - low)[..., None] * places)[..., None, :]
    logs = (first[..., None] - 1.0) * np.log(points) + (second[..., None] - 1.0) * np.log1p(-points)
    density = np.exp(logs - logs.max(axis=-1, keepdims=True))
    density /= density.sum(axis=-1, keepdims=True)
    mine, theirs = density[..., CHALLENGER, :], density[..., CHAMPION, :]
    above: Array = (mine * (np.cumsum(theirs, axis=-1) - theirs / 2.0)).sum(axis=-1)
    return np.clip(above, 0.0, 1.0)
