"""A step on copies of the requests: what it takes to go on from it, and how far its answers are from production's.

Both versions answer the same requests. Under the null, that the version fails no more often than production, a
request that one of the two fails on is as likely to be the one's as the other's, and one that both fail on speaks
for neither: so the canary's tests hold with a share of one half. Answers that differ take no version back, since a
better version is meant to differ; beyond what is declared they hold the release and ask a person.
"""

import math

from headrace.delivery.nouns import Comparison, Release
from headrace.serving.nouns import Compared
from headrace.statistics.rollouts import ReleaseJudgement
from headrace.statistics.sequences import mean_sequence, share_sequence
from headrace.statistics.sequential import Verdict

SHARE = 0.5
"""Of two that fail on the same requests, either is the one with the same probability."""


def compare(compared: Compared | None, *, alpha: float) -> Comparison | None:
    """How the answers differ, with intervals that may be looked at any time; None before any was compared."""
    if compared is None or not compared.units:
        return None
    low, high = share_sequence(compared.flipped, compared.units, alpha=alpha)
    found = Comparison(
        units=compared.units, flips=compared.flipped / compared.units, flips_low=low, flips_high=high
    )
    if not compared.numbers:
        return found
    nearest, furthest = mean_sequence(
        compared.numbers, compared.distance_sum, compared.distance_squares, alpha=alpha
    )
    return Comparison(
        units=found.units,
        flips=found.flips,
        flips_low=low,
        flips_high=high,
        difference=compared.distance_sum / compared.numbers,
        difference_low=max(0.0, nearest),
        difference_high=furthest if math.isfinite(furthest) else None,
        correlation=_correlation(compared),
    )


def judged(release: Release, judgement: ReleaseJudgement, comparison: Comparison | None) -> ReleaseJudgement:
    """The verdict of the step: that of the signals, as far as the answers let it go on."""
    declared = release.policy.shadow
    if declared is None or judgement.verdict is not Verdict.ADVANCE:
        return judgement
    units = 0 if comparison is None else comparison.units
    if comparison is None or units < declared.units:
        return _held(judgement, f"{units:,} of {declared.units:,} units are compared")
    if declared.flips is not None and comparison.flips_high > declared.flips:
        return _held(
            judgement,
            f"{comparison.flips:.2%} of the units are decided otherwise, at most {comparison.flips_high:.2%}: "
            f"not shown to be within {declared.flips:.2%}",
        )
    furthest = comparison.difference_high
    if declared.difference is not None and (furthest is None or furthest > declared.difference):
        return _held(
            judgement, f"the answers are not shown to differ by {declared.difference:g} at most on average"
        )
    return judgement


def waits(release: Release) -> bool:
    """Whether a person is to say that the release goes on, and has not been waited for."""
    declared = release.policy.shadow
    return declared is not None and declared.then == "person" and not release.state.waited


def _held(judgement: ReleaseJudgement, reason: str) -> ReleaseJudgement:
    return ReleaseJudgement(verdict=Verdict.HOLD, reason=reason, signals=judgement.signals)


def _correlation(compared: Compared) -> float | None:
    number = compared.numbers
    new = compared.shadow_squares - compared.shadow_sum**2 / number
    old = compared.champion_squares - compared.champion_sum**2 / number
    shared = compared.products - compared.shadow_sum * compared.champion_sum / number
    if new <= 0.0 or old <= 0.0:
        return None
    return max(-1.0, min(1.0, shared / math.sqrt(new * old)))
