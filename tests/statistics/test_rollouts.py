"""A release goes back by any of its signals, and on by all of them."""

import pytest

from headrace.statistics.rollouts import Rule, judge_release
from headrace.statistics.sequential import Exposure, Verdict

RULES = [
    Rule(signal="faults", what="faults", tolerance=0.01),
    Rule(signal="slow", what="slow answers", tolerance=None, ratio_tolerance=1.0),
]


def period(challenger: int, champion: int = 0, units: int = 1000) -> list[Exposure]:
    return [
        Exposure(
            share=0.05,
            challenger_requests=units,
            challenger_faults=challenger,
            champion_requests=19 * units,
            champion_faults=champion,
        )
    ]


CLEAN, BAD, TOO_FEW = period(0), period(600), period(0, units=20)


@pytest.mark.parametrize(
    ("faults", "slow", "verdict", "reason"),
    [
        (CLEAN, CLEAN, Verdict.ADVANCE, "the rate of faults is within the tolerance of 1.00%; the rate of slow"),
        (CLEAN, BAD, Verdict.ROLL_BACK, "slow answers fall on the challenger"),
        (BAD, TOO_FEW, Verdict.ROLL_BACK, "faults fall on the challenger"),
        (BAD, BAD, Verdict.ROLL_BACK, "faults fall on the challenger more often than the split explains; slow"),
        (TOO_FEW, CLEAN, Verdict.HOLD, "the evidence on faults is not sufficient"),
        (CLEAN, TOO_FEW, Verdict.HOLD, "the evidence on slow answers is not sufficient"),
    ],
)
def test_verdicts(faults: list[Exposure], slow: list[Exposure], verdict: Verdict, reason: str) -> None:
    periods = {"faults": faults, "slow": slow}
    judgement = judge_release(periods, RULES, alpha=0.05, tests=2, has_champion=True)
    assert judgement.verdict is verdict
    assert judgement.reason.startswith(reason)
    assert list(judgement.signals) == ["faults", "slow"]


def test_a_signal_that_is_not_judged_yet_has_its_part_of_alpha_all_the_same() -> None:
    early = judge_release({"faults": CLEAN}, RULES[:1], alpha=0.05, tests=2, has_champion=True)
    late = judge_release({"faults": CLEAN, "slow": CLEAN}, RULES, alpha=0.05, tests=2, has_champion=True)
    assert early.signals["faults"].harm_needed == late.signals["faults"].harm_needed == 80
