"""Quality by paired losses: asks workers for comparisons of the two versions, and judges what they add up.

The version in shadow and production answer the same requests; once it is final what became of one, the losses of
both are compared on it. Pairs are only made in the shadow, and go on to mature afterwards: the evidence grows while
the version has traffic and while it cools, and takes it back when it shows harm.

Comparisons are asked for again and again, one at a time for each release. Each is of everything so far, so that one
that is lost, or comes twice, changes nothing.
"""

import math
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import msgspec
import structlog

from headrace.delivery import policies, tables
from headrace.delivery.foresight import tests_of
from headrace.delivery.kinds import COMPARE
from headrace.delivery.machine import WITH_TRAFFIC, Phase
from headrace.delivery.nouns import Release
from headrace.delivery.paired_nouns import Comparing, PairedRequest, PairedResult, QualityEvidence
from headrace.kernel import business_time, jobs
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Job
from headrace.project.paired import PairedLoss
from headrace.statistics.paired import judge_pairs, spread_seen, spread_unseen, units_to_go_on, units_to_take_back
from headrace.statistics.rollouts import ReleaseJudgement
from headrace.statistics.sequential import Verdict

log = structlog.get_logger()

SHORTEST_REST = timedelta(seconds=15)
LONGEST_REST = timedelta(minutes=15)
PART_OF_THE_TIME = 50
"""A release is compared anew each fiftieth of the time for which it has been, within the limits."""
PART_OF_A_WORKER = 20
"""Comparisons of one release take at most a twentieth of the time of one worker."""
LARGEST_E_VALUE = 1e300
"""JSON has no infinity."""


def is_due(tx: Tx) -> bool:
    """Whether a release is to be compared now; only reads."""
    return any(_is_due(tx.within(workspace), release) for workspace, release in _watched(tx))


def ask(tx: Tx) -> None:
    """Have workers compare what is due; what is wrong with one release holds up no other."""
    for workspace, release in _watched(tx):
        try:
            tx.within(workspace).apart(partial(_ask, release=release))
        except Exception:  # of whatever kind: the others go on, and it is due again at the next look
            log.exception("a release could not be compared by its outcomes", release_id=release.id)


def settle(tx: Tx, job: Job, result: PairedResult) -> None:
    """Keep what a worker added up; a comparison that another has overtaken is dropped."""
    _settled(tx, job, result=result, problem="")


def failed(tx: Tx, job: Job, error: str) -> None:
    """Keep why there is no newer evidence; what there was stays, and it is tried again."""
    _settled(tx, job, result=None, problem=error.splitlines()[0] if error else "no reason was told")


def foretold(tx: Tx, release: Release) -> QualityEvidence | None:
    """What it will take, before anything was compared; None where outcomes are not asked for."""
    declared, declaration = release.paired_loss, policies.declaration_of(tx, release.model)
    if declared is None or declaration is None:
        return None
    maturity = declared.maturity or declaration.label.maturity
    nothing = PairedResult(release_id=release.id, number=0)
    return _judged(release, declared, nothing, maturity.total_seconds())


def evidence(tx: Tx, release: Release) -> QualityEvidence | None:
    """What the outcomes show so far; None where they are not asked for."""
    declared, before = release.paired_loss, release.quality
    comparing = None if declared is None else tables.find_comparing(tx, release.id)
    if declared is None or before is None or comparing is None:
        return before
    told = before
    if comparing.result is not None:
        told = _judged(release, declared, comparing.result, before.matures_after_s)
        told = _with_clock(tx, told, comparing.result.ahead)
    return msgspec.structs.replace(
        told, settled_at=comparing.settled_at or told.settled_at, problem=comparing.problem
    )


def bound(release: Release, judgement: ReleaseJudgement, seen: QualityEvidence | None) -> ReleaseJudgement:
    """The verdict of a step: that of everything else, as far as the outcomes let it go on."""
    if judgement.verdict is Verdict.ROLL_BACK:
        return judgement
    verdict = Verdict.HOLD if seen is None else Verdict(seen.verdict)
    reason = "the model declares no label to compare by" if seen is None else seen.reason
    if verdict is Verdict.ROLL_BACK:
        return ReleaseJudgement(verdict=verdict, reason=reason, signals=judgement.signals)
    if judgement.verdict is Verdict.ADVANCE and is_needed(release) and verdict is Verdict.HOLD:
        return ReleaseJudgement(verdict=verdict, reason=reason, signals=judgement.signals)
    return judgement


def is_needed(release: Release) -> bool:
    """Whether the present step may be left only once it is shown that the version is not worse."""
    declared, state = release.paired_loss, release.state
    if declared is None or release.phase is not Phase.ROLLING_OUT or state.step is None:
        return False
    if declared.before == "canary":
        return release.in_shadow
    return declared.before == "full_traffic" and state.plan.steps[state.step + 1 : state.step + 2] == (100,)


def _watched(tx: Tx) -> Iterator[tuple[str, Release]]:
    for workspace, release_id in tables.ids_in_phases(tx, tuple(WITH_TRAFFIC)):
        release = tables.find_readable(tx.within(workspace), release_id)
        if release is not None and release.paired_loss is not None:
            yield workspace, release


def _is_due(tx: Tx, release: Release) -> bool:
    comparing = tables.find_comparing(tx, release.id)
    if comparing is None:
        return True
    if comparing.asked or comparing.settled_at is None:
        job = jobs.by_key(tx, _key(release, comparing.number))
        return job is None or job.finished_at is not None  # it was cancelled
    took_s = 0.0 if comparing.result is None else comparing.result.took_s
    rest = max(SHORTEST_REST, (comparing.settled_at - comparing.began_at) / PART_OF_THE_TIME)
    rest = max(min(rest, LONGEST_REST), timedelta(seconds=took_s * PART_OF_A_WORKER))
    set_back = tx.now < comparing.settled_at
    return set_back or tx.now - comparing.settled_at >= rest


def _ask(tx: Tx, release: Release) -> None:
    declared, declaration = release.paired_loss, policies.declaration_of(tx, release.model)
    known = tables.find_comparing(tx, release.id, lock=True)
    if declared is None or declaration is None or release.champion is None or not _is_due(tx, release):
        return
    number = 1 if known is None else known.number + 1
    request = PairedRequest(
        release_id=release.id,
        number=number,
        model=release.model,
        champion=release.champion,
        challenger=release.number,
        step=0,
        quality=declared,
        label=declaration.label,
        alpha=release.policy.rollout.alpha,
    )
    jobs.enqueue(tx, COMPARE, request, key=_key(release, number), lane=f"{COMPARE.name}/{release.id}")
    asked = Comparing(began_at=tx.now, number=number, asked=True)
    if known is not None:
        asked = msgspec.structs.replace(known, number=number, asked=True)
    tables.put_comparing(tx, release.id, asked)


def _key(release: Release, number: int) -> str:
    return f"{COMPARE.name}/{release.id}/{number}"


def _settled(tx: Tx, job: Job, *, result: PairedResult | None, problem: str) -> None:
    request = msgspec.json.decode(job.payload, type=PairedRequest)
    comparing = tables.find_comparing(tx, request.release_id, lock=True)
    if comparing is None or comparing.number != request.number:
        return
    comparing = msgspec.structs.replace(
        comparing, asked=False, settled_at=tx.now, result=result or comparing.result, problem=problem
    )
    tables.put_comparing(tx, request.release_id, comparing)


def _judged(
    release: Release, declared: PairedLoss, result: PairedResult, matures_after_s: float
) -> QualityEvidence:
    alpha, tests = release.policy.rollout.alpha, tests_of(release)
    found = judge_pairs(result.not_worse, result.worse, alpha=alpha, tests=tests)
    seen = spread_seen(result.units, result.squares, result.fourths, bound=declared.bound)
    spread = seen or spread_unseen(bound=declared.bound, decisions=declared.loss == "error")
    to_go_on = units_to_go_on(spread, margin=declared.margin, bound=declared.bound, alpha=alpha)
    to_take_back = units_to_take_back(
        spread,
        mean=min(2.0 * declared.margin, declared.bound),
        margin=declared.margin,
        bound=declared.bound,
        alpha=alpha,
        tests=tests,
    )
    told = QualityEvidence(
        loss=declared.loss,
        margin=declared.margin,
        before=declared.before,
        verdict=found.verdict.value,
        reason="",
        matures_after_s=matures_after_s,
        units=result.units,
        waiting=result.waiting,
        next_at=result.next_at,
        unlabelled=result.unlabelled,
        incomplete=result.incomplete,
        not_worse=min(found.not_worse, LARGEST_E_VALUE),
        needed=found.needed,
        worse=min(found.worse, LARGEST_E_VALUE),
        harm_needed=found.harm_needed,
        to_go_on_units=None if math.isinf(to_go_on) else math.ceil(to_go_on),
        to_take_back_units=None if math.isinf(to_take_back) else math.ceil(to_take_back),
        assumed=seen is None,
        first_at=result.first_at,
        last_at=result.last_at,
        final_through=result.final_through,
    )
    if result.units:
        told = msgspec.structs.replace(
            told,
            champion_loss=result.champion / result.units,
            challenger_loss=result.challenger / result.units,
            difference=(result.challenger - result.champion) / result.units,
            difference_low=result.low,
            difference_high=result.high,
        )
    return msgspec.structs.replace(told, reason=_reason(told))


def _with_clock(tx: Tx, told: QualityEvidence, ahead: int) -> QualityEvidence:
    """What the clock has to do with it that there is no verdict, where it has."""
    if told.verdict != Verdict.HOLD or not told.waiting:
        return told
    why = business_time.why_nothing_matures(business_time.read(tx), ahead)
    return msgspec.structs.replace(told, reason=f"{told.reason}; {why}") if why else told


def _reason(told: QualityEvidence) -> str:
    """Why the verdict is what it is, for people."""
    name = told.loss.replace("_", " ")
    on = f"on {told.units:,} units with an outcome"
    if told.verdict == Verdict.ROLL_BACK:
        return f"the {name} is worse than production's by more than {told.margin:g} {on} ({told.difference:+.4g})"
    if told.verdict == Verdict.ADVANCE:
        return f"the {name} is not worse than production's by {told.margin:g} {on} ({told.difference:+.4g})"
    expected = "" if told.to_go_on_units is None else f" of about {told.to_go_on_units:,}"
    return (
        f"the {name} is not shown to be within {told.margin:g} of production's: {told.units:,}{expected} units "
        f"have an outcome, {told.waiting:,} wait for theirs"
    )
