"""What the steps of a release can show and how soon, told before they begin from the traffic that is measured.

In nine of ten cases what is there is found within the figures. They assume that each unit comes once; where the
same units come again and again, there are fewer of them, and it takes longer.
"""

import math

from headrace.delivery import outlook
from headrace.delivery.experiment_nouns import RewardOutlook
from headrace.delivery.machine import SHADOW
from headrace.delivery.nouns import Detectable, Foresight, Release
from headrace.delivery.shadow import SHARE
from headrace.kernel.database import Tx
from headrace.project.experiments import Experiment
from headrace.serving import reports
from headrace.serving.nouns import Counts, Signal
from headrace.statistics.rollouts import Rule, Setting, rate_to_detect, units_to_detect, units_to_go_on
from headrace.statistics.sequential import CHAMPION_FLOOR


def rules_of(release: Release) -> list[Rule]:
    """What a release may be judged by; latency is not while nothing is known of the champion's."""
    rollout = release.policy.rollout
    found = [Rule(signal=Signal.FAULTS, what="faults", tolerance=rollout.tolerance)]
    if rollout.invalid_tolerance is not None:
        found.append(
            Rule(signal=Signal.INVALID_OUTPUTS, what="invalid outputs", tolerance=rollout.invalid_tolerance)
        )
    if rollout.fallback_tolerance is not None:
        found.append(Rule(signal=Signal.FALLBACKS, what="fallbacks", tolerance=rollout.fallback_tolerance))
    if rollout.slow_tolerance is not None and release.champion is not None:
        slow = Rule(signal=Signal.SLOW, what="slow answers", tolerance=None, ratio_tolerance=rollout.slow_tolerance)
        found.append(slow)
    return found


def tests_of(release: Release) -> int:
    """How many tests share the release's alpha for going back: one for each signal, and that of the outcomes."""
    return len(rules_of(release)) + (release.paired_loss is not None)


def foresee(tx: Tx, release: Release) -> tuple[Foresight, ...]:
    """What every step from the present one on can show; what was told of earlier steps stays."""
    now = release.state.step or 0
    units_per_s = reports.units_per_s(tx, release.model)
    champion = Counts()
    if release.champion is not None:
        champion = reports.counts_of_version(tx, release.model, release.champion)
    steps = range(now, len(release.state.plan.steps))
    told = tuple(known for known in release.foresight if known.step < now)
    return (*told, *(_foresee(tx, release, step, units_per_s, champion) for step in steps))


def _foresee(tx: Tx, release: Release, step: int, units_per_s: float, champion: Counts) -> Foresight:
    rollout = release.policy.rollout
    weight = release.state.plan.steps[step]
    rules = rules_of(release)
    shadow = weight == SHADOW
    setting = Setting(
        share=SHARE if shadow else weight / 100,
        alpha=rollout.alpha,
        tests=tests_of(release),
        has_champion=release.champion is not None,
    )
    needed = {rule.signal: units_to_go_on(rule, setting) for rule in rules}
    if shadow:  # each unit counts on both, and latency is not judged
        needed = {signal: units / 2 for signal, units in needed.items() if signal != Signal.SLOW}
        rules = [rule for rule in rules if rule.signal in needed]
    to_go_on = max(needed.values())
    if shadow and release.policy.shadow:
        to_go_on = max(to_go_on, release.policy.shadow.units)
        units_per_s *= release.policy.shadow.percent / 100
    outcomes = release.quality if shadow else None
    outcomes_last_s = 0.0
    if outcomes is not None and outcomes.before == "canary" and outcomes.to_go_on_units is not None:
        to_go_on = max(to_go_on, outcomes.to_go_on_units)
        outcomes_last_s = outcomes.matures_after_s
    seen = 2 if shadow else 1
    asked = rollout.ask_after_duration.total_seconds() * units_per_s
    signals = {}
    for rule in rules:
        rate = _rate(champion, Signal(rule.signal))
        always = units_to_detect(rule, 1.0, rate, setting)
        signals[Signal(rule.signal)] = Detectable(
            to_go_on_units=math.ceil(needed[rule.signal]),
            rate=rate_to_detect(rule, seen * to_go_on, rate, setting),
            rate_until_asked=rate_to_detect(rule, seen * asked, rate, setting) if asked else None,
            always_units=None if math.isinf(always) else math.ceil(always / seen),
        )
    shortest_s = rollout.minimum_time_duration.total_seconds()
    return Foresight(
        step=step,
        weight_percent=weight,
        units_per_s=units_per_s,
        to_go_on_units=math.ceil(to_go_on),
        to_go_on_s=max(shortest_s, to_go_on / units_per_s + outcomes_last_s) if units_per_s > 0 else None,
        signals=signals,
        reward=_outlook(tx, release, step, units_per_s),
    )


def _outlook(tx: Tx, release: Release, step: int, units_per_s: float) -> RewardOutlook | None:
    """What the step on which rewards decide will find; the one before the last."""
    rollout, champion = release.policy.rollout, release.champion
    if not isinstance(rollout, Experiment) or champion is None or step != len(release.state.plan.steps) - 2:
        return None
    return outlook.of_rewards(rollout, units_per_s, outlook.champions_spread(tx, rollout, release.model, champion))


def _rate(champion: Counts, signal: Signal) -> float:
    """The champion's rate of a signal by rows; what was never seen is taken for half a row."""
    if signal is Signal.SLOW:
        return CHAMPION_FLOOR
    seen = {
        Signal.FAULTS: champion.faults,
        Signal.INVALID_OUTPUTS: champion.invalid,
        Signal.FALLBACKS: champion.fallbacks,
    }[signal]
    return (seen + 0.5) / (champion.requests + 1.0)
