"""The canary's verdict: counts from the gateways, a sequential test, and what the release does about it.

The control process calls `evaluate_open` a few times a second. It may be called at any moment and any number of
times, by anyone: the test is anytime-valid, and a verdict that was carried out is stale the next time.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import msgspec

from headrace.delivery import experiments, paired, releases, shadow, tables
from headrace.delivery.experiment_nouns import ExperimentEvidence
from headrace.delivery.foresight import rules_of, tests_of
from headrace.delivery.machine import SHADOW, Advance, Ask, Command, EndCooling, Phase, Retreat
from headrace.delivery.nouns import Comparison, Release, SignalEvidence, StepEvidence
from headrace.delivery.paired_nouns import QualityEvidence
from headrace.kernel.database import Tx
from headrace.registry.bounds import RolloutBounds
from headrace.serving import reports
from headrace.serving.nouns import Counts, Signal
from headrace.statistics.rollouts import ReleaseJudgement
from headrace.statistics.rollouts import judge_release as judge_release_by
from headrace.statistics.sequential import Exposure, Judgement, Verdict

LARGEST_E_VALUE = 1e300
"""An e-value beyond this is stored as this: JSON has no infinity."""

WATCHED = (Phase.ROLLING_OUT, Phase.COOLING)


def is_needed(tx: Tx) -> bool:
    """Whether `evaluate_open` would change anything; only reads.

    A release that cannot be judged, say one that a later program wrote, is told by raising, once nobody else waits.
    """
    problem: Exception | None = None
    for workspace, release_id in tables.ids_in_phases(tx, WATCHED):
        try:
            release = releases.get(tx.within(workspace), release_id)
            if look(tx.within(workspace), release) != (release, None):
                return True
        except Exception as error:  # noqa: BLE001 - raised below, when it holds up nobody
            problem = problem or error
    if problem is not None:
        raise problem
    return False


def evaluate_open(tx: Tx) -> None:
    """Look at every release that waits for evidence or for its timer, and carry out what is due.

    Each by itself: a version that does harm is taken back, whatever may be wrong with the release of another model.
    """
    for workspace, release_id in tables.ids_in_phases(tx, WATCHED):
        with suppress(Exception):  # `is_needed` tells of it
            tx.within(workspace).apart(partial(evaluate, release_id=release_id))


def evaluate(tx: Tx, release_id: str) -> Release:
    """Judge the step of one release, or end its cooling, and keep the evidence."""
    release = releases.get(tx, release_id, lock=True)
    seen, command = look(tx, release)
    if seen != release:
        tables.put_release(tx, seen)
    return seen if command is None else releases.execute(tx, release_id, command)


def look(tx: Tx, release: Release) -> tuple[Release, Command | None]:
    """The release with its newest evidence, and the command that the evidence or a timer asks for."""
    if release.phase not in WATCHED or release.step_started_at is None:
        return release, None
    if tx.now < release.step_started_at:  # the clock was set back: time on this step begins anew
        release = msgspec.structs.replace(
            release, step_started_at=tx.now, judged_since=tx.now, clock_set_back_at=tx.now
        )
    tripped = _trip(tx, release)
    if tripped is not None:
        return release, Retreat(reason=tripped)
    seen = _judged(tx, release)
    kept = _with_evidence(tx, release, seen)
    return kept, _asked_for(kept, seen, tx.now)


def _asked_for(release: Release, seen: "_Seen", now: datetime) -> Command | None:
    judgement = seen.judgement
    rollout = release.policy.rollout
    elapsed = now - (release.judged_since or release.step_started_at or now)
    if judgement.verdict is Verdict.ROLL_BACK:
        return Retreat(reason=judgement.reason)
    if release.state.paused:
        return None
    if release.phase is Phase.COOLING:
        return EndCooling() if elapsed >= rollout.cooling_duration else None
    if experiments.waits(release):
        return Ask(step=release.state.step or 0, reason=judgement.reason, wait=True)
    if judgement.verdict is Verdict.ADVANCE and experiments.rest(release, now, seen.asked) <= timedelta(0):
        if release.in_shadow and shadow.waits(release):
            return Ask(step=release.state.step or 0, reason=f"{judgement.reason}; resume to go on", wait=True)
        return Advance(step=release.state.step or 0, reason=judgement.reason)
    if judgement.verdict is Verdict.HOLD and not release.state.asked and elapsed >= rollout.ask_after_duration:
        return Ask(step=release.state.step or 0, reason=f"no verdict after {rollout.ask_after}: {judgement.reason}")
    return experiments.reallocation(release, now, judgement, seen.asked)


class _Seen(NamedTuple):
    """What was counted in a release, what it shows, and what a policy asks of an experiment."""

    counts: dict[tuple[int, int], Counts]
    judgement: ReleaseJudgement
    comparison: Comparison | None = None
    experiment: ExperimentEvidence | None = None
    quality: QualityEvidence | None = None
    asked: RolloutBounds | None = None

    def at(self, step: int, number: int | None) -> Counts:
        """Counts of a version in a step."""
        return Counts() if number is None else self.counts.get((step, number), Counts())


def judge_release(tx: Tx, release: Release) -> ReleaseJudgement:
    """The sequential tests on everything that the release has seen so far."""
    return _judged(tx, release).judgement


def _judged(tx: Tx, release: Release) -> _Seen:
    counts = reports.counts_of_release(tx, release.id)
    seen = _Seen(counts, ReleaseJudgement(verdict=Verdict.HOLD, reason="", signals={}))
    rules = rules_of(release)
    slow_is_judged = release.slow_us is not None and not release.in_shadow
    judged = [rule for rule in rules if rule.signal != Signal.SLOW or slow_is_judged]
    judgement = judge_release_by(
        {rule.signal: _exposures(release, seen, Signal(rule.signal)) for rule in judged},
        judged,
        alpha=release.policy.rollout.alpha,
        tests=tests_of(release),
        has_champion=release.champion is not None,
    )
    comparison = experiment = None
    asked = experiments.bounds_on(tx, release)
    if experiments.under_way(release) is not None:
        experiment = experiments.evidence_of(tx, release)
        judgement = experiments.judged(judgement, experiment, asked)
    elif release.in_shadow:
        compared = _Seen(counts, judgement).at(release.state.step or 0, release.number).compared
        comparison = shadow.compare(compared, alpha=release.policy.rollout.alpha)
        judgement = shadow.judged(release, judgement, comparison)
    quality = paired.evidence(tx, release)
    return _Seen(counts, paired.bound(release, judgement, quality), comparison, experiment, quality, asked)


def _exposures(release: Release, seen: _Seen, signal: Signal) -> list[Exposure]:
    steps = range((release.state.step or 0) + 1)
    if signal is Signal.SLOW:  # a shadow is timed on a thread of its own: not what anybody would wait for
        steps = range(int(release.state.plan.steps[0] == SHADOW), len(steps))
    return [_exposure(release, seen, signal, step) for step in steps]


def _exposure(release: Release, seen: _Seen, signal: Signal, step: int) -> Exposure:
    challenger, champion = seen.at(step, release.number), seen.at(step, release.champion)
    alone = release.champion is None or step >= len(release.state.plan.steps)
    share = 1.0 if alone else release.state.plan.steps[step] / 100
    return Exposure(
        share=share or shadow.SHARE,
        challenger_requests=challenger.units,
        challenger_faults=challenger.signalled(signal) - challenger.again.get(signal, 0),
        challenger_again=challenger.again.get(signal, 0),
        champion_requests=champion.units,
        champion_faults=champion.signalled(signal) - champion.again.get(signal, 0),
        champion_again=champion.again.get(signal, 0),
    )


def _with_evidence(tx: Tx, release: Release, seen: _Seen) -> Release:
    """The release with this look's evidence; unchanged when nothing new was seen."""
    if seen.experiment is not None and seen.experiment != release.experiment:
        release = msgspec.structs.replace(release, experiment=seen.experiment)
    if seen.quality != release.quality:
        release = msgspec.structs.replace(release, quality=seen.quality)
    step = release.state.step or 0
    evidence = StepEvidence(
        step=step,
        weight_percent=release.state.weight_percent,
        started_at=release.step_started_at or tx.now,
        judged_at=tx.now,
        challenger=seen.at(step, release.number),
        champion=seen.at(step, release.champion),
        verdict=seen.judgement.verdict.value,
        reason=seen.judgement.reason + _set_back(release, seen.judgement),
        slow_us=release.slow_us,
        signals={Signal(name): _kept(found) for name, found in seen.judgement.signals.items()},
        comparison=seen.comparison,
    )
    known = next((one for one in release.canary if one.step == step), None)
    if known is not None and msgspec.structs.replace(evidence, judged_at=known.judged_at) == known:
        return release
    kept = (*(one for one in release.canary if one.step != step), evidence)
    return msgspec.structs.replace(release, canary=kept)


def _set_back(release: Release, judgement: ReleaseJudgement) -> str:
    """That the time on this step began anew, as long as it may be what is waited for."""
    at, began = release.clock_set_back_at, release.step_started_at
    if at is None or began is None or at < began or judgement.verdict is Verdict.ROLL_BACK:
        return ""
    return f"; the clock was set back, so the time on this step began anew at {at:%Y-%m-%d %H:%M}"


def _kept(judgement: Judgement) -> SignalEvidence:
    return SignalEvidence(
        verdict=judgement.verdict.value,
        reason=judgement.reason,
        needed=judgement.needed,
        harm_needed=judgement.harm_needed,
        worse_than_champion=min(judgement.worse_than_champion, LARGEST_E_VALUE),
        above_tolerance=min(judgement.above_tolerance, LARGEST_E_VALUE),
        within_tolerance=min(judgement.within_tolerance, LARGEST_E_VALUE),
    )


def _trip(tx: Tx, release: Release) -> str | None:
    """Why a gateway's own breaker went off while control was away, if one did."""
    for gateway in reports.gateways(tx):
        for trip in gateway.trips:
            if trip.release_id == release.id and trip.version == release.number:
                return f"gateway {gateway.name} saw {trip.consecutive_faults} faults in a row"
    return None
