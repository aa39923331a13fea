"""The verdict on a release from all that it is watched for, and what a step can show before it begins.

Each signal has a sequential test of its own. A false roll-back by any of them is one, so they share alpha; to go on
each of them must be within its tolerance, so there nothing is shared. See `sequential` for the tests.

This module imports the standard library alone, because the control process uses it and stays small.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.statistics.sequential import (
    CHAMPION_FLOOR,
    Exposure,
    Judgement,
    Verdict,
    calm_requests,
    clean_requests_needed,
    judge,
    requests_to_detect,
    requests_to_exceed,
)

FOUND_IN = 0.9
"""What is foretold holds in nine of ten cases."""
FOUND_IN_EACH = 0.95
"""Where two tests must both find it."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a release is judged by one signal.

    Attributes:
        signal: its name.
        what: the signal, for people, in the plural.
        tolerance: tolerated share of the challenger's units; None compares with the champion only.
        ratio_tolerance: tolerated excess over the champion's rate, as a part of it.
    """

    signal: str
    what: str
    tolerance: float | None
    ratio_tolerance: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the traffic of a step is split, and what its release is judged by.

    Attributes:
        share: of the units that the challenger answers, in (0, 1].
        alpha: of the release.
        tests: how many signals share it.
        has_champion: false for a first version.
    """

    share: float
    alpha: float
    tests: int
    has_champion: bool = True


@dataclass(frozen=True, kw_only=True)
class ReleaseJudgement:
    """The verdict on a release: back if one signal says so, on if all do."""

    verdict: Verdict
    reason: str
    signals: dict[str, Judgement]


def judge_release(
    periods: Mapping[str, Sequence[Exposure]],
    rules: Sequence[Rule],
    *,
    alpha: float,
    tests: int,
    has_champion: bool,
) -> ReleaseJudgement:
    """The verdict on the latest period of a release.

    Args:
        periods: by signal, the counts of the release's steps so far, oldest first.
        rules: one for each signal that is judged now; at least one.
        alpha: bound on the probability of a false roll-back by any signal over the whole release, and on that of a
            false advance at this step.
        tests: how many signals may be judged in the course of the release; each has its part of alpha throughout.
        has_champion: false for a first version.
    """
    found = {
        rule.signal: judge(
            periods[rule.signal],
            tolerance=rule.tolerance,
            ratio_tolerance=rule.ratio_tolerance,
            alpha=alpha,
            has_champion=has_champion,
            tests=tests,
            what=rule.what,
        )
        for rule in rules
    }
    open_still = [rule.what for rule in rules if found[rule.signal].verdict is Verdict.HOLD]
    if len(open_still) > 1 and not any(one.verdict is Verdict.ROLL_BACK for one in found.values()):
        on = f"{', '.join(open_still[:-1])} and {open_still[-1]}"
        reason = f"the evidence on {on} is not sufficient either way"
        return ReleaseJudgement(verdict=Verdict.HOLD, reason=reason, signals=found)
    for wanted in (Verdict.ROLL_BACK, Verdict.HOLD, Verdict.ADVANCE):
        reasons = [judgement.reason for judgement in found.values() if judgement.verdict is wanted]
        if reasons:
            return ReleaseJudgement(verdict=wanted, reason="; ".join(reasons), signals=found)
    return ReleaseJudgement(verdict=Verdict.HOLD, reason="nothing is judged", signals=found)


def units_to_detect(rule: Rule, rate: float, champion_rate: float, setting: Setting) -> float:
    """How many units of both arms pass, in nine of ten cases, before a challenger is taken back for a signal.

    Args:
        rule: how it is judged.
        rate: of the challenger's units that give the signal, in (0, 1].
        champion_rate: of the champion's units.
        setting: of the step.

    Returns:
        The number of units; infinity when it would not be seen.
    """
    share = setting.share
    halved = setting.has_champion and rule.tolerance is not None
    part = setting.alpha / setting.tests / (2.0 if halved else 1.0)
    if not setting.has_champion or share >= 1.0:
        if rule.tolerance is None:
            return math.inf
        return requests_to_exceed(rate, tolerance=rule.tolerance, alpha=part, found_in=FOUND_IN) / share
    found_in = FOUND_IN_EACH if rule.tolerance is None else FOUND_IN
    needed = requests_to_detect(
        rate,
        champion_rate,
        share=share,
        alpha=part,
        ratio_tolerance=rule.ratio_tolerance,
        found_in=found_in,
    )
    if rule.tolerance is None:
        floor = (1.0 + rule.ratio_tolerance) * CHAMPION_FLOOR
        exceed = requests_to_exceed(rate, tolerance=floor, alpha=part, found_in=found_in)
        needed = max(needed, exceed / share)
    return needed


def rate_to_detect(rule: Rule, units: float, champion_rate: float, setting: Setting) -> float | None:
    """The smallest rate of a challenger that so many units of both arms show in nine of ten cases.

    Returns:
        The rate in (0, 1], to three digits; None when even a version that always gives the signal is not seen.
    """

    def is_seen(rate: float) -> bool:
        return units_to_detect(rule, rate, champion_rate, setting) <= units

    if not is_seen(1.0):
        return None
    low, high = math.log(1e-9), 0.0
    while high - low > 1e-3:
        middle = (low + high) / 2.0
        low, high = (low, middle) if is_seen(math.exp(middle)) else (middle, high)
    return math.exp(high)


def units_to_go_on(rule: Rule, setting: Setting) -> float:
    """About how many units of both arms pass before a challenger without the signal may go on.

    Of what is compared with the champion alone, one that gives it as often as the champion.
    """
    share, alpha = setting.share, setting.alpha
    if rule.tolerance is not None:
        return clean_requests_needed(tolerance=rule.tolerance, alpha=alpha) / share
    if not setting.has_champion or share >= 1.0:
        return 0.0
    # once the champion has shown enough of it, the comparison is the quicker of the two ways
    floor = (1.0 + rule.ratio_tolerance) * CHAMPION_FLOOR
    return calm_requests(CHAMPION_FLOOR, share=share, alpha=alpha / 2.0, tolerated=floor / CHAMPION_FLOOR)
