"""The canary's verdict: counts from the gateways, a sequential test, and what the release does about it.

The control process calls `evaluate_open` a few times a second. It may be called at any moment and any number of
times, by anyone: the test is anytime-valid, and a verdict that was carried out is stale the next time.
"""

from contextlib import suppress
from datetime import timedelta
from functools import partial

import msgspec

from headrace.delivery import releases, tables
from headrace.delivery.machine import Advance, Command, EndCooling, Phase, Retreat
from headrace.delivery.nouns import Release, StepEvidence
from headrace.kernel.database import Tx
from headrace.serving import reports
from headrace.serving.nouns import Counts
from headrace.statistics.sequential import Exposure, Judgement, Verdict, judge

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
        release = msgspec.structs.replace(release, step_started_at=tx.now)
    tripped = _trip(tx, release)
    if tripped is not None:
        return release, Retreat(reason=tripped)
    judgement = judge_release(tx, release)
    seen = _with_evidence(tx, release, judgement)
    return seen, _asked_for(seen, judgement, tx.now - (release.step_started_at or tx.now))


def _asked_for(release: Release, judgement: Judgement, elapsed: timedelta) -> Command | None:
    rollout = release.policy.rollout
    if judgement.verdict is Verdict.ROLL_BACK:
        return Retreat(reason=judgement.reason)
    if release.state.paused:
        return None
    if release.phase is Phase.COOLING:
        return EndCooling() if elapsed >= rollout.cooling_duration else None
    if judgement.verdict is Verdict.ADVANCE and elapsed >= rollout.minimum_time_duration:
        return Advance(step=release.state.step or 0, reason=judgement.reason)
    return None


def judge_release(tx: Tx, release: Release) -> Judgement:
    """The sequential test on everything that the release has seen so far."""
    last = release.state.step or 0
    exposures = [_exposure(tx, release, step) for step in range(last + 1)]
    return judge(
        exposures,
        tolerance=release.policy.rollout.tolerance,
        alpha=release.policy.rollout.alpha,
        has_champion=release.champion is not None,
    )


def _exposure(tx: Tx, release: Release, step: int) -> Exposure:
    challenger, champion = _counts(tx, release, step)
    alone = release.champion is None or step >= len(release.state.plan.steps)
    return Exposure(
        share=1.0 if alone else release.state.plan.steps[step] / 100,
        challenger_requests=challenger.units,
        challenger_faults=challenger.failed_units,
        champion_requests=champion.units,
        champion_faults=champion.failed_units,
    )


def _counts(tx: Tx, release: Release, step: int) -> tuple[Counts, Counts]:
    challenger = reports.counts(tx, release.id, step, release.number)
    if release.champion is None:
        return challenger, Counts()
    return challenger, reports.counts(tx, release.id, step, release.champion)


def _with_evidence(tx: Tx, release: Release, judgement: Judgement) -> Release:
    """The release with this look's evidence; unchanged when nothing new was seen."""
    step = release.state.step or 0
    challenger, champion = _counts(tx, release, step)
    evidence = StepEvidence(
        step=step,
        weight_percent=release.state.weight_percent,
        started_at=release.step_started_at or tx.now,
        judged_at=tx.now,
        challenger=challenger,
        champion=champion,
        verdict=judgement.verdict.value,
        reason=judgement.reason,
        needed=judgement.needed,
        worse_than_champion=min(judgement.worse_than_champion, LARGEST_E_VALUE),
        above_tolerance=min(judgement.above_tolerance, LARGEST_E_VALUE),
        within_tolerance=min(judgement.within_tolerance, LARGEST_E_VALUE),
    )
    known = next((one for one in release.canary if one.step == step), None)
    if known is not None and msgspec.structs.replace(evidence, judged_at=known.judged_at) == known:
        return release
    kept = (*(one for one in release.canary if one.step != step), evidence)
    return msgspec.structs.replace(release, canary=kept)


def _trip(tx: Tx, release: Release) -> str | None:
    """Why a gateway's own breaker went off while control was away, if one did."""
    for gateway in reports.gateways(tx):
        for trip in gateway.trips:
            if trip.release_id == release.id and trip.version == release.number:
                return f"gateway {gateway.name} saw {trip.consecutive_faults} faults in a row"
    return None
