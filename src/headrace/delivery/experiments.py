"""A/B tests and bandits on the control side: have the rewards counted, judge the sums, and say what follows.

The rewards lie in the lake, so a worker counts them; at most one count of a release is under way, and one that
took long is not soon made again. What comes of it is judged when it is settled and kept in a row, which the canary
reads at each look. A count that is repeated, late or lost changes nothing: each is of all that there is.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from headrace.delivery import outlook, releases, tables
from headrace.delivery.experiment_nouns import ArmRewards, ExperimentEvidence, Measured, MeasureRequest, Problem
from headrace.delivery.kinds import MEASURE
from headrace.delivery.machine import SHADOW, Phase, Reallocate
from headrace.delivery.nouns import Release
from headrace.errors import NotFound
from headrace.kernel import business_time, jobs
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Job
from headrace.project.durations import parse_duration
from headrace.project.experiments import Bandit, Experiment
from headrace.registry import policies
from headrace.registry.bounds import RolloutBounds
from headrace.serving import reports
from headrace.statistics.experiments import (
    Period,
    Rewards,
    arrival_e_value,
    difference,
    difference_e_value,
    merged,
    probability_better,
    shortfall_e_value,
    split_e_value,
)
from headrace.statistics.rollouts import ReleaseJudgement
from headrace.statistics.sequential import Verdict

AS_A_CANARY = timedelta(minutes=1)
SOONEST = timedelta(seconds=10)
REST = 20
"""A count that took a second is made again after so many: the lake's readers share the machine with all else."""
PATIENCE = timedelta(minutes=10)
"""A count of which nothing was heard for so long is asked for anew."""
MOST_STEPS = 60
"""A bandit's share stays after so many: each is a row in the counts of every gateway."""
SUSPICIOUS = 20.0
"""No verdict is taken while a wrong split, or rewards that come unequally, have this much evidence: they look like
a difference. A right split reaches it in at most one test of twenty, and comes back from it."""
LARGEST_E_VALUE = 1e300
"""An e-value beyond this is stored as this: JSON has no infinity."""
CAUSES: dict[Problem, str] = {
    "split": (
        "the log of one arm drops predictions (predictions_dropped of the gateways), a gateway's breaker keeps "
        "units from the version, one version answers too late to be logged, callers pin a version, or a gateway "
        "is behind"
    ),
    "arrival": (
        "whoever sends the rewards does not send them for one version's answers, or sends them depending on how it "
        "went; then declare what a missing one is worth: missing=0.0"
    ),
}


def under_way(release: Release) -> Experiment | None:
    """The experiment that decides on the present step, if one does."""
    rollout = release.policy.rollout
    state = release.state
    if not isinstance(rollout, Experiment) or release.champion is None or state.phase is not Phase.ROLLING_OUT:
        return None
    before = int(state.plan.steps[0] == SHADOW) + len(rollout.ramp)
    decided = before <= (state.step or 0) and state.weight_percent < 100
    return rollout if decided else None


def bounds_on(tx: Tx, release: Release) -> RolloutBounds | None:
    """What a policy asks of an experiment as it goes on; a canary keeps to what it declares at each step anyway."""
    if not isinstance(release.policy.rollout, Experiment):
        return None
    return policies.rollout_bounds(tx, release.model)


def rest(release: Release, now: datetime, asked: RolloutBounds | None) -> timedelta:
    """How long the present step still lasts at least; not above zero when its time is over.

    Where no rewards decide, a step lasts as long as that of a canary. Under a policy that bounds the time each
    share lasts that long, also one that a bandit moved to.
    """
    began = release.step_started_at or now
    since = release.judged_since or began
    rollout = release.policy.rollout
    stays = rollout.minimum_time_duration
    if isinstance(rollout, Experiment) and under_way(release) is None:
        stays = min(AS_A_CANARY, stays)
    return max(stays - (now - since), _bounded(asked) - (now - began))


def _bounded(asked: RolloutBounds | None) -> timedelta:
    return timedelta(0) if asked is None or asked.minimum_time is None else parse_duration(asked.minimum_time)


def judged(
    guarded: ReleaseJudgement, seen: ExperimentEvidence | None, asked: RolloutBounds | None = None
) -> ReleaseJudgement:
    """The verdict of the step: harm by one of the signals, or else what the rewards say.

    Under a policy that bounds the rollout, what the rewards let on waits until no harm is shown, too: its tolerance
    would mean nothing else. Without one it is for the project to say what decides, and it says the rewards.
    """
    if guarded.verdict is Verdict.ROLL_BACK:
        return guarded
    if seen is None:
        verdict, reason = Verdict.HOLD, "no rewards have been counted yet"
    else:
        verdict, reason = Verdict(seen.verdict), seen.reason
    if asked is not None and verdict is Verdict.ADVANCE and guarded.verdict is Verdict.HOLD:
        verdict, reason = Verdict.HOLD, f"{reason}; {guarded.reason}"
    return ReleaseJudgement(verdict=verdict, reason=reason, signals=guarded.signals)


def waits(release: Release) -> bool:
    """Whether the test cannot be trusted, and a person has not been waited for because of that."""
    seen = release.experiment
    untrusted = under_way(release) is not None and seen is not None and seen.problem is not None
    return untrusted and not release.state.waited


def reallocation(
    release: Release, now: datetime, judgement: ReleaseJudgement, asked: RolloutBounds | None = None
) -> Reallocate | None:
    """The move of a bandit's share that is due, if one is; under a policy it grows only once no harm is shown."""
    rollout, seen = under_way(release), release.experiment
    began, state = release.step_started_at, release.state
    if not isinstance(rollout, Bandit) or seen is None or seen.wanted_percent is None or began is None:
        return None
    known = seen.challenger_rewards > 0 and seen.champion_rewards > 0 and seen.problem is None
    if not known or seen.measured_at < began or now - began < max(rollout.every_duration, _bounded(asked)):
        return None
    wanted = seen.wanted_percent
    harmless = all(found.verdict is Verdict.ADVANCE for found in judgement.signals.values())
    if asked is not None and wanted > state.weight_percent and not harmless:
        return None
    far = abs(wanted - state.weight_percent) >= rollout.change
    at_an_end = wanted in {rollout.floor, 100 - rollout.floor} and wanted != state.weight_percent
    if not (far or at_an_end) or len(state.plan.steps) >= MOST_STEPS:
        return None
    reason = f"with {seen.better_probability:.0%} it is the better one by {rollout.reward}"
    return Reallocate(step=state.step or 0, weight_percent=wanted, reason=reason)


def is_due(tx: Tx) -> bool:
    """Whether the rewards of a release are to be counted now."""
    return any(_due(tx.within(workspace), release_id) for workspace, release_id in _open(tx))


def ask(tx: Tx) -> None:
    """Have workers count them."""
    for workspace, release_id in _open(tx):
        mine = tx.within(workspace)
        release = _due(mine, release_id)
        if release is not None:
            job_id = jobs.enqueue(mine, MEASURE, _request(release), lane=f"{MEASURE.name}/{release_id}")
            tables.ask_for_measurement(mine, release_id, job_id)


def settle(tx: Tx, job: Job, measured: Measured) -> None:
    """Judge what a worker counted and keep it."""
    request = msgspec.json.decode(job.payload, type=MeasureRequest)
    try:
        release = releases.get(tx, request.release_id)
    except NotFound:
        return
    rollout = release.policy.rollout
    found = judge(tx, release, rollout, measured) if isinstance(rollout, Experiment) else None
    tables.put_measurement(tx, release.id, job.id, found, timedelta(seconds=measured.took_s))


def failed(tx: Tx, job: Job, error: str) -> None:  # noqa: ARG001 - the signature of every settlement
    """What could not be counted is counted again after a while; until then there is no evidence."""
    request = msgspec.json.decode(job.payload, type=MeasureRequest)
    tables.put_measurement(tx, request.release_id, job.id, None, PATIENCE / REST)


def evidence_of(tx: Tx, release: Release) -> ExperimentEvidence | None:
    """What was last counted and judged of a release; what it knows already when nothing newer is there."""
    known = tables.measurement(tx, release.id)
    return release.experiment if known is None or known.evidence is None else known.evidence


def judge(tx: Tx, release: Release, rollout: Experiment, measured: Measured) -> ExperimentEvidence:
    """The verdict on the rewards of a release, and whether units and rewards came as they should."""
    by_step = _by_step(release, measured.arms)
    low, high = rollout.range
    width = high - low
    periods = merged([_period(rollout, share, *arms) for share, *arms in by_step])
    margin = rollout.margin / width
    better = difference_e_value(periods, at_most=-margin)
    worse = shortfall_e_value(periods, at_least=-margin)
    seen = difference(periods, alpha=rollout.alpha)
    split = split_e_value([(share, mine.units, theirs.units) for share, mine, theirs in by_step])
    arrival = None
    if rollout.missing is None:
        arrival = arrival_e_value(
            [(share, mine.mature, mine.arrived, theirs.mature, theirs.arrived) for share, mine, theirs in by_step]
        )
    mine, theirs = _sum([mine for _, mine, _ in by_step]), _sum([theirs for _, _, theirs in by_step])
    probability = probability_better(periods)
    turned = -width if rollout.lower_is_better else width
    ends = sorted(turned * end for end in (seen.low, seen.high))
    evidence = ExperimentEvidence(
        verdict=Verdict.HOLD.value,
        reason="",
        measured_at=tx.now,
        until=measured.until,
        challenger_units=mine.units,
        champion_units=theirs.units,
        challenger_expected=sum(share * (one.units + other.units) for share, one, other in by_step),
        challenger_mature=mine.mature,
        champion_mature=theirs.mature,
        challenger_rewards=mine.rewards,
        champion_rewards=theirs.rewards,
        challenger_mean=low + width * mine.total / mine.rewards if mine.rewards else None,
        champion_mean=low + width * theirs.total / theirs.rewards if theirs.rewards else None,
        difference=turned * seen.estimate,
        difference_low=ends[0],
        difference_high=ends[1],
        better=min(better, LARGEST_E_VALUE),
        worse=min(worse, LARGEST_E_VALUE),
        needed=2.0 / rollout.alpha,
        split=min(split, LARGEST_E_VALUE),
        arrival=None if arrival is None else min(arrival, LARGEST_E_VALUE),
        split_needed=1.0 / rollout.split_alpha,
        better_probability=probability,
        wanted_percent=_wanted(rollout, probability),
        beyond=mine.beyond + theirs.beyond,
        outlook=outlook.of_rewards(rollout, reports.units_per_s(tx, release.model), outlook.seen_spread(periods)),
    )
    judged = _with_verdict(release, rollout, evidence)
    waiting = mine.units + theirs.units > mine.mature + theirs.mature
    if judged.verdict != Verdict.HOLD or judged.problem is not None or not waiting:
        return judged
    why = business_time.why_nothing_matures(business_time.read(tx), mine.ahead + theirs.ahead)
    return msgspec.structs.replace(judged, reason=f"{judged.reason}; {why}") if why else judged


def _with_verdict(release: Release, rollout: Experiment, seen: ExperimentEvidence) -> ExperimentEvidence:
    problem: Problem | None = None
    if seen.split >= seen.split_needed:
        problem = "split"
        whole = seen.challenger_units + seen.champion_units
        found = (
            f"{seen.challenger_units:,} of {whole:,} units are the challenger's where the shares say "
            f"{seen.challenger_expected:,.0f}"
        )
    elif seen.arrival is not None and seen.arrival >= seen.split_needed:
        problem = "arrival"
        found = (
            f"{seen.challenger_rewards:,} of {seen.challenger_mature:,} units of the challenger have a reward and "
            f"{seen.champion_rewards:,} of {seen.champion_mature:,} of the champion: they do not come as often"
        )
    if problem is not None:
        reason = f"{found}; no verdict is taken on it. Look whether {CAUSES[problem]}"
        return msgspec.structs.replace(seen, problem=problem, reason=reason)
    said = f"{rollout.reward} {seen.difference:+.4g} ({seen.difference_low:+.4g} to {seen.difference_high:+.4g})"
    champion = f"version {release.champion}"
    if rollout.margin:
        champion += f", less the margin of {rollout.margin:g}"
    if max(seen.split, seen.arrival or 0.0) >= SUSPICIOUS:
        reason = f"units or rewards may not be split as the shares say; no verdict until that is clear: {said}"
        return msgspec.structs.replace(seen, verdict=Verdict.HOLD.value, reason=reason)
    if not seen.challenger_rewards or not seen.champion_rewards:
        verdict, reason = Verdict.HOLD, f"no {rollout.reward} of both versions is mature yet"
    elif seen.worse >= seen.needed:
        verdict, reason = Verdict.ROLL_BACK, f"it is shown to bring less than {champion}: {said}"
    elif seen.better >= seen.needed:
        verdict, reason = Verdict.ADVANCE, f"it is shown to bring more than {champion}: {said}"
    else:
        verdict, reason = Verdict.HOLD, f"neither is shown to bring more: {said}"
    return msgspec.structs.replace(seen, verdict=verdict.value, reason=reason)


def _wanted(rollout: Experiment, probability: float) -> int | None:
    if not isinstance(rollout, Bandit):
        return None
    return min(100 - rollout.floor, max(rollout.floor, round(100 * probability)))


def _by_step(release: Release, arms: Sequence[ArmRewards]) -> list[tuple[float, ArmRewards, ArmRewards]]:
    """Share and both arms of each step in which the traffic was shared."""
    found = {(arm.step, arm.challenger): arm for arm in arms}
    steps = release.state.plan.steps
    return [
        (weight / 100, found.get((step, True), _nothing(step)), found.get((step, False), _nothing(step)))
        for step, weight in enumerate(steps)
        if SHADOW < weight < 100 and ((step, True) in found or (step, False) in found)
    ]


def _nothing(step: int) -> ArmRewards:
    return _sum([], step)


def _sum(arms: Sequence[ArmRewards], step: int = 0) -> ArmRewards:
    names = ("units", "mature", "arrived", "rewards", "total", "squares", "ends", "beyond", "ahead")
    sums = {name: sum(getattr(arm, name) for arm in arms) for name in names}
    return ArmRewards(step=step, challenger=True, **sums)


def _period(rollout: Experiment, share: float, mine: ArmRewards, theirs: ArmRewards) -> Period:
    return Period(share=share, challenger=_rewards(rollout, mine), champion=_rewards(rollout, theirs))


def _rewards(rollout: Experiment, arm: ArmRewards) -> Rewards:
    rewards = Rewards(count=arm.rewards, total=arm.total, squares=arm.squares, binary=arm.ends == arm.rewards)
    return rewards.turned() if rollout.lower_is_better else rewards


def _open(tx: Tx) -> tuple[tuple[str, str], ...]:
    return tables.ids_in_phases(tx, (Phase.ROLLING_OUT,))


def _due(tx: Tx, release_id: str) -> Release | None:
    release = tables.find_readable(tx, release_id)
    if release is None or not isinstance(release.policy.rollout, Experiment) or release.champion is None:
        return None
    if release.in_shadow or release.state.weight_percent == 100:
        return None
    known = tables.measurement(tx, release_id)
    if known is None:
        return release
    rest = PATIENCE if known.under_way else max(SOONEST, REST * known.took)
    waited = tx.now - known.at
    return release if waited >= rest or waited < timedelta(0) else None


def _request(release: Release) -> MeasureRequest:
    rollout = release.policy.rollout
    if not isinstance(rollout, Experiment):
        raise NotFound("the release is no experiment", where=f"release/{release.id}")
    low, high = rollout.range
    return MeasureRequest(
        release_id=release.id,
        model=release.model,
        reward=rollout.reward,
        low=low,
        high=high,
        missing=rollout.missing,
        matures_after_s=rollout.matures_after_duration.total_seconds(),
    )
