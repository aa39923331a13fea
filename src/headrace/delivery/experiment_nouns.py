"""Records of A/B tests and bandits: what a worker counts of a release, and what the tests make of it."""

from datetime import datetime
from typing import Literal

import msgspec

Problem = Literal["split", "arrival"]


class MeasureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be counted of a release's predictions and their rewards, complete in itself."""

    release_id: str
    model: str
    reward: str
    """The name of the feedback."""
    low: float
    high: float
    """The range of rewards; what is beyond counts as its end."""
    missing: float | None
    """The reward of a prediction that has none when it is mature; None leaves it out."""
    matures_after_s: float


class ArmRewards(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted of one arm in one step: units that began there, each with its first prediction alone."""

    step: int
    challenger: bool
    units: int
    """Distinct ones whose first prediction in the release was this arm's, in this step."""
    mature: int
    """Those of them whose first prediction is old enough."""
    arrived: int
    """Those of these that have a reward."""
    rewards: int
    """Those of the mature ones that count: with a reward, or with what a missing one is worth."""
    total: float
    """Sum of the rewards, as parts of their range."""
    squares: float
    ends: int
    """Rewards that are one of the ends of the range: 0 or 1 as parts of it."""
    beyond: int
    """Rewards that were beyond the range."""
    ahead: int = 0
    """Units whose first prediction is dated after the business time of the count: the clock was set back."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker counted."""

    until: datetime
    """Business time: later predictions are not mature."""
    arms: tuple[ArmRewards, ...] = ()
    took_s: float
    """How long it took, so that it is not done too often."""


class RewardForesight(msgspec.Struct, frozen=True, kw_only=True):
    """How many units of both arms it takes to find a difference of the mean rewards, in nine of ten cases."""

    difference: float
    """In the unit of the reward, beyond the margin."""
    units: int | None
    """None where it is not found."""
    seconds: float | None
    """At the traffic that is measured, until the last of them is mature; None where nothing is measured."""


class RewardOutlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a test of rewards is expected to find, and what that rests on."""

    basis: Literal["seen", "champion", "assumed"]
    """How far rewards spread: as seen in the release, as the champion's did so far, or as far as they can."""
    differences: tuple[RewardForesight, ...]
    until_asked: float | None
    """The smallest difference that is found by the time a person is asked; None if none is, or no traffic."""


class ExperimentEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What an A/B test or a bandit has seen of a release, and what the tests make of it.

    Means and differences are in the unit of the reward, challenger minus champion. The interval holds at every time
    at once with 1 - alpha of the rollout.
    """

    verdict: str
    """HOLD, ADVANCE or ROLL_BACK."""
    reason: str
    measured_at: datetime
    until: datetime
    """Business time: later predictions are not mature, and do not count yet."""
    challenger_units: int
    champion_units: int
    challenger_expected: float
    """How many of these units the shares would have given to the challenger."""
    challenger_mature: int
    champion_mature: int
    challenger_rewards: int
    champion_rewards: int
    challenger_mean: float | None
    champion_mean: float | None
    difference: float
    difference_low: float
    difference_high: float
    better: float
    """E-value of the challenger's mean reward being above the champion's less the margin."""
    worse: float
    """E-value of it being below that."""
    needed: float
    """What one of the two must reach."""
    split: float
    """E-value of units being split otherwise than declared."""
    arrival: float | None
    """E-value of rewards not coming as often on both; None where a missing one has a value."""
    split_needed: float
    """What one of these two must reach to hold the release."""
    problem: Problem | None = None
    """Why no verdict is taken."""
    better_probability: float
    """That the challenger's mean reward is the better one."""
    wanted_percent: int | None = None
    """The share that a bandit would give to the challenger now."""
    beyond: int = 0
    """Rewards that were beyond the declared range and count as its end."""
    outlook: RewardOutlook | None = None
    """With what was seen so far."""
