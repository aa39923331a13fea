"""What a test of rewards will find and how soon, told before it begins and again with what was seen."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from headrace.delivery.experiment_nouns import RewardForesight, RewardOutlook
from headrace.kernel.database import Tx
from headrace.project.experiments import Experiment
from headrace.serving import feedback
from headrace.statistics.experiments import Expected, Period, Rewards, rate_variance, rewards_to_detect

OF_THE_MEAN = (0.05, 0.1, 0.2, 0.5)
OF_THE_RANGE = (0.01, 0.02, 0.05, 0.1)
"""Differences that are looked into where none is declared: as parts of the mean where one is known."""
KNOWN_FROM = 100
"""Fewer rewards tell nothing of how far they spread."""


class Spread(NamedTuple):
    """What is known of the rewards of one version, as parts of their range, and turned where lower ones are better.

    Attributes:
        basis: `seen`, `champion` or `assumed`.
    """

    basis: str
    mean: float
    variance: float
    binary: bool


ASSUMED = Spread("assumed", 0.5, 0.25, binary=False)
"""Rewards cannot spread further."""


def champions_spread(tx: Tx, rollout: Experiment, model: str, champion: int) -> Spread:
    """What is known of rewards before a release begins: those of the champion's answers so far."""
    low, high = rollout.range
    for tally in feedback.tallies(tx, model, name=rollout.reward):
        # where a missing reward has a value, those that came do not tell how far all of them spread
        if tally.version == champion and tally.count >= KNOWN_FROM and rollout.missing is None:
            mean = (tally.total / tally.count - low) / (high - low)
            variance = (tally.squares / tally.count - (tally.total / tally.count) ** 2) / (high - low) ** 2
            if 0.0 <= mean <= 1.0:
                binary = abs(variance - mean * (1.0 - mean)) < 1e-9
                mean = 1.0 - mean if rollout.lower_is_better else mean
                return Spread("champion", mean, min(0.25, max(0.0, variance)), binary)
    return ASSUMED


def seen_spread(periods: Sequence[Period]) -> Spread:
    """What the champion's rewards in a release show."""
    arms = [period.champion for period in periods]
    whole = Rewards(
        count=sum(arm.count for arm in arms),
        total=sum(arm.total for arm in arms),
        squares=sum(arm.squares for arm in arms),
        binary=all(arm.binary for arm in arms),
    )
    return Spread("seen", whole.mean, whole.variance, whole.binary) if whole.count >= KNOWN_FROM else ASSUMED


def of_rewards(rollout: Experiment, units_per_s: float, spread: Spread) -> RewardOutlook:
    """How many units, and how long, until differences are found."""
    width = rollout.range[1] - rollout.range[0]
    if rollout.find is not None:
        sought = [rollout.find / width]
    else:
        mean = 1.0 - spread.mean if rollout.lower_is_better else spread.mean
        relative = spread.basis != "assumed" and 0.0 < mean < 0.5
        sought = [part * mean for part in OF_THE_MEAN] if relative else list(OF_THE_RANGE)
    matures_s = rollout.matures_after_duration.total_seconds()
    told = []
    for each in sought:
        units = _units(rollout, spread, each)
        seconds = None
        if units_per_s > 0.0 and math.isfinite(units):
            seconds = max(rollout.minimum_time_duration.total_seconds(), units / units_per_s + matures_s)
        told.append(
            RewardForesight(
                difference=each * width, units=math.ceil(units) if math.isfinite(units) else None, seconds=seconds
            )
        )
    asked = units_per_s * max(0.0, rollout.ask_after_duration.total_seconds() - matures_s)
    smallest = _smallest(rollout, spread, asked)
    return RewardOutlook(
        basis=spread.basis,  # type: ignore[arg-type]
        differences=tuple(told),
        until_asked=None if smallest is None else smallest * width,
    )


def _units(rollout: Experiment, spread: Spread, sought: float) -> float:
    """For a challenger's mean that is so much above the champion's, less the margin."""
    margin = rollout.margin / (rollout.range[1] - rollout.range[0])
    between = sought - margin
    # where there is no room for the difference beside the champion's mean, that is taken for as far from the end
    champion = min(spread.mean, 1.0 - between) if between > 0.0 else max(spread.mean, -between)
    arms = [
        Expected(
            mean=mean,
            variance=rate_variance(mean, binary=spread.binary, variance=spread.variance),
            binary=spread.binary,
        )
        for mean in (champion, champion + between)
    ]
    return rewards_to_detect(*arms, share=rollout.share / 100, alpha=rollout.alpha, at_most=-margin)


def _smallest(rollout: Experiment, spread: Spread, units: float) -> float | None:
    if units <= 0.0 or _units(rollout, spread, 1.0) > units:
        return None
    low, high = math.log(1e-6), 0.0
    while high - low > 1e-3:
        middle = (low + high) / 2.0
        low, high = (low, middle) if _units(rollout, spread, math.exp(middle)) <= units else (middle, high)
    return math.exp(high)
