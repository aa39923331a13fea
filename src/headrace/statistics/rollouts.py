"""The verdict on a release from all that it is watched for, and what a step can show before it begins.

Each signal has a sequential test of its own. A false roll-back by any of them is one, so they share alpha; to go on
each of them must be within its tolerance, so there nothing is shared. See `sequential` for the tests.

This module imports the standard library alone, because the control process uses it and stays small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.statistics.sequential import Exposure, Judgement, Verdict, judge


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
    for wanted in (Verdict.ROLL_BACK, Verdict.HOLD, Verdict.ADVANCE):
        reasons = [judgement.reason for judgement in found.values() if judgement.verdict is wanted]
        if reasons:
            return ReleaseJudgement(verdict=wanted, reason="; ".join(reasons), signals=found)
    return ReleaseJudgement(verdict=Verdict.HOLD, reason="nothing is judged", signals=found)
