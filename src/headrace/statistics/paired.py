"""The verdict on two versions by the losses of both on the same units, which may be looked at after every label.

A unit's difference D is the challenger's loss less the champion's. Losses lie between 0 and a bound, so that a bet
on the mean of D is a capital that is never negative: it grows by the factor 1 + b (margin - D) with each unit when
it is bet that the challenger is not worse, and by 1 + b (D - margin) when it is bet that it is worse by more than
the margin. Where the bet is wrong its expectation is at most one at every time; so by Ville's inequality the chance
that it ever reaches 1/alpha is at most alpha. The e-value is the mean over a fixed set of bets. The logarithm of
each is a sum over units, so that there is nothing to keep but sums, and nothing to undo when a label is corrected.

What is asked is the mean of D given what was seen before: under drift, that of the units so far. A difference that
has the margin's size is neither harm nor shown not to be; between 0 and the margin lies what was declared to be
tolerable, so a version that is worse by less is never harm.

This module imports the standard library alone, because the control process uses it and stays small.

Sources: Waudby-Smith and Ramdas, "Estimating Means of Bounded Random Variables by Betting" (2024); Ville (1939);
Wald (1945) for how many units it takes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.statistics.sequential import Verdict, mixture, steps_needed

BETS = tuple(0.95 / 2**halvings for halvings in range(8))
"""Parts of the greatest bet that no unit can ruin; each has the same weight."""

FOUND_IN = 0.9
"""What is foretold holds in nine of ten cases."""

UNSEEN_DISAGREEMENT = 0.05
"""Before anything was seen: the part of the units on which two versions decide differently."""
UNSEEN_SPREAD = 0.05
"""Before anything was seen: how far their losses are apart on a unit, as a part of the bound."""


def greatest_bets(margin: float, bound: float) -> tuple[float, float]:
    """The greatest bets: that the challenger is not worse, and that it is worse by more than the margin."""
    return 1.0 / (bound - margin), 1.0 / (bound + margin)


@dataclass(frozen=True, kw_only=True)
class PairedJudgement:
    """A verdict with the evidence that it rests on.

    Attributes:
        not_worse: e-value against "worse by the margin or more".
        needed: what it must reach to go on.
        worse: e-value against "worse by the margin at most".
        harm_needed: what it must reach to go back.
    """

    verdict: Verdict
    not_worse: float
    needed: float
    worse: float
    harm_needed: float


def judge_pairs(not_worse: Sequence[float], worse: Sequence[float], *, alpha: float, tests: int) -> PairedJudgement:
    """The verdict on all units so far.

    Args:
        not_worse: the logarithm of the capital of each bet that the challenger is not worse; none for no units.
        worse: the same that it is worse by more than the margin.
        alpha: bound on the probability that the release is taken back wrongly, and on that of going on wrongly.
        tests: how many tests share it for going back. To go on each must be proven, so there it is not divided.
    """
    passes, fails = capital(not_worse), capital(worse)
    needed, harm_needed = 1.0 / alpha, tests / alpha
    verdict = Verdict.HOLD
    if fails >= harm_needed:
        verdict = Verdict.ROLL_BACK
    elif passes >= needed:
        verdict = Verdict.ADVANCE
    return PairedJudgement(verdict=verdict, not_worse=passes, needed=needed, worse=fails, harm_needed=harm_needed)


def capital(logs: Sequence[float]) -> float:
    """The mean capital of bets with these logarithms; 1 before the first unit."""
    return mixture([1.0] * len(logs), logs) if logs else 1.0


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How the differences scatter: so large a difference on so many of the units, and none on the rest.

    Attributes:
        size: of the difference, above 0.
        share: of the units that have one, in (0, 1].
    """

    size: float
    share: float


def spread_seen(units: int, squares: float, fourths: float, *, bound: float) -> Spread | None:
    """The spread that has the second and fourth moments of what was seen; None while nothing differed."""
    if not units or squares <= 0.0 or fourths <= 0.0:
        return None
    size = min(bound, math.sqrt(fourths / squares))
    return Spread(size=size, share=min(1.0, squares / units / size**2))


def spread_unseen(*, bound: float, decisions: bool) -> Spread:
    """What is taken for the spread before anything was seen."""
    if decisions:
        return Spread(size=bound, share=UNSEEN_DISAGREEMENT)
    return Spread(size=bound * UNSEEN_SPREAD, share=1.0)


def units_to_go_on(spread: Spread, *, margin: float, bound: float, alpha: float) -> float:
    """How many units pass, in nine of ten cases, before a version that is as good is shown not to be worse."""
    greatest, _ = greatest_bets(margin, bound)
    steps = _differences(spread, 0.0)
    return _units_needed([(share, margin - size) for share, size in steps], greatest, alpha)


def units_to_take_back(
    spread: Spread, *, mean: float, margin: float, bound: float, alpha: float, tests: int
) -> float:
    """How many units pass, in nine of ten cases, before a version that is worse by `mean` is taken back."""
    _, greatest = greatest_bets(margin, bound)
    steps = _differences(spread, mean)
    return _units_needed([(share, size - margin) for share, size in steps], greatest, alpha / tests)


def _differences(spread: Spread, mean: float) -> list[tuple[float, float]]:
    """Probabilities and sizes of differences that scatter so about a mean."""
    size = max(spread.size, abs(mean))
    share = max(min(1.0, spread.share * (spread.size / size) ** 2), abs(mean) / size)
    more = (share + mean / size) / 2.0
    return [(more, size), (share - more, -size), (1.0 - share, 0.0)]


def _units_needed(gains: Sequence[tuple[float, float]], greatest: float, alpha: float) -> float:
    bound = math.log(len(BETS) / alpha)
    return min(
        steps_needed([(share, math.log1p(part * greatest * gain)) for share, gain in gains], bound, FOUND_IN)
        for part in BETS
    )
