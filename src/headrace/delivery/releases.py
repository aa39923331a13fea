"""Releases on the control side: load the state, decide, evolve, and write the effects in the same transaction.

Each event of the machine is one event of the platform. Effects are rows: a job for the workers, a request for
approval, a route for the gateways, a stage in the registry. A crash therefore loses nothing and does nothing
twice.
"""

from datetime import datetime
from functools import partial

import msgspec

from headrace.delivery import clearance, cohorts, effects, foresight, paired, policies, tables
from headrace.delivery.machine import (
    SHADOW,
    Abort,
    AnswerApproval,
    Command,
    Happening,
    Open,
    Opened,
    Pause,
    Phase,
    Promote,
    Promoted,
    Reallocated,
    ReleasePlan,
    ReleaseState,
    Resume,
    RollBack,
    StepStarted,
    decide,
    evolve,
)
from headrace.delivery.nouns import OpenRelease, Pipeline, Release, ReleaseAction, ReleaseCommand
from headrace.errors import Conflict, HeadraceError, InternalError, InvalidInput, NotFound, PolicyRefused
from headrace.kernel import events, lineage, pins
from headrace.kernel.database import Tx
from headrace.kernel.events import Event
from headrace.kernel.ids import new_id
from headrace.kernel.lineage import Link
from headrace.project.policy import DeliveryPolicy
from headrace.registry import approvals, governed, models, naming, stages, versions
from headrace.registry.lineage import version_subject
from headrace.registry.nouns import ApprovalStatus, Stage, Version
from headrace.serving import reports
from headrace.training import register as training_sets

SLOW_QUANTILE = 0.95
"""What is slower than this part of the champion's answers counts as slow."""

APPROVAL_EVENTS = ("registry.approval_granted", "registry.approval_refused")


def open_release(tx: Tx, asked: OpenRelease, *, pipeline_id: str | None = None) -> Release:
    """Open the release of a version; asked again for the same version, it is the one that is open.

    Raises:
        NotFound: there is no such version.
        Conflict: another version of the model is on its way, or this one is in production.
        PolicyRefused: a policy of the stage Production keeps the caller from it.
        InvalidInput: the version has seen some of the cohort that it is to be judged on.
    """
    version = versions.get(tx, asked.model, asked.number)
    present = tables.open_release(tx, asked.model, lock=True)
    if present is not None:
        if present.number == asked.number:
            return present
        raise Conflict(
            f"version {present.number} of {asked.model!r} is on its way (release {present.id})",
            where=f"model/{asked.model}",
            fix="Wait until that release is over, or abort it.",
        )
    if version.stage is Stage.PRODUCTION:
        raise Conflict(
            f"version {asked.number} is in production already", where=f"version/{asked.model}/{asked.number}"
        )
    models.get(tx, asked.model)
    champion = stages.production(tx, asked.model)
    made_by = tables.pipeline_of_version(tx, asked.model, asked.number)
    declared = policies.of_model(tx, asked.model)
    policy = policies.binding(tx, asked.model, declared)
    plan = clearance.plan_for(tx, version, plan_of(policy, first=champion is None), policy)
    happened = decide(None, Open(plan=plan))
    release = Release(
        id=new_id("rel"),
        model=asked.model,
        number=asked.number,
        digest=version.digest,
        champion=None if champion is None else champion.number,
        cohort=_cohort(tx, asked, version, made_by, chosen=pipeline_id is not None),
        state=evolve(None, happened[0]),
        policy=policy,
        declared=declared,
        pipeline_id=pipeline_id or (made_by.id if made_by else None),
        opened_by=tx.actor,
        opened_at=tx.now,
        updated_at=tx.now,
    )
    tables.add_release(tx, release)
    _connect(tx, release)
    for number in {release.number, release.champion} - {None}:
        pins.pin(tx, f"version/{release.model}/{number}", _holder(release), "its release is open")
    return _carry_out(tx, release, None, happened)


def _cohort(
    tx: Tx, asked: OpenRelease, version: Version, made_by: Pipeline | None, *, chosen: bool
) -> datetime | None:
    """What the version is judged on: whoever opens a release may not choose rows that it was trained on."""
    of_pipeline = made_by.cohort if made_by else None
    if asked.cohort is None or chosen or asked.cohort == of_pipeline:
        return asked.cohort or of_pipeline
    if asked.cohort.tzinfo is None:
        raise InvalidInput("a business time needs a time zone", where="cohort", fix="Write 1997-05-01T00:00:00Z.")
    declaration = policies.declaration_of(tx, version.model)
    if version.training_set_id is None or declaration is None:
        clearance.require_no_evidence(tx, version, asked.cohort)
        return asked.cohort
    as_of = training_sets.get_training_set(tx, version.training_set_id).as_of
    cohorts.require_unseen(asked.cohort, as_of, declaration.label.maturity)
    return asked.cohort


def _connect(tx: Tx, release: Release) -> None:
    """Put a release into the graph of lineage, under the version that it releases."""
    subject = f"release/{release.id}"
    lineage.connect(tx, [Link(version_subject(release.model, release.number), "released by", subject)])
    about = {"model": release.model, "number": release.number, "opened_by": release.opened_by}
    lineage.enter(tx, subject, about)


def plan_of(policy: DeliveryPolicy, *, first: bool) -> ReleasePlan:
    """What a policy asks of a release; a first version has nobody to share the traffic with."""
    return ReleasePlan(
        gates=bool(policy.gates),
        staging=policy.staging is not None,
        approval=policy.approval is not None,
        steps=(100,) if first else ((SHADOW,) if policy.shadow else ()) + tuple(policy.rollout.steps),
    )


def execute(tx: Tx, release_id: str, command: Command) -> Release:
    """Apply a command to a release, with all its effects; one that changes nothing is no error.

    Raises:
        NotFound: there is no such release.
        Conflict: the release is in a phase in which the command makes no sense.
        PolicyRefused: it is to be promoted by a person, and a policy asks for what is not there.
    """
    release = get(tx, release_id, lock=True)
    wanted = decide(release.state, command)
    if wanted and isinstance(command, Promote):
        clearance.require_patience(tx, release)
    happened = clearance.held(tx, release, release.state, wanted)
    if happened != wanted and isinstance(command, Promote):
        refusal = clearance.refusal(tx, release)
        refusal.aftermath = partial(_hold, release_id, command, refusal)
        raise refusal
    return _carry_out(tx, release, release.state, happened)


def _hold(release_id: str, command: Command, refusal: PolicyRefused, tx: Tx, address: str) -> HeadraceError:
    """What is left of a promotion that was refused: the release stands still, and asks again for its approval."""
    release = get(tx, release_id, lock=True)
    held = clearance.held(tx, release, release.state, decide(release.state, command))
    changed = _carry_out(tx, release, release.state, held)
    if not changed.state.approval_open:
        return refusal
    approval = clearance.ask(tx, changed)
    return type(refusal)(
        refusal.message, where=refusal.where, fix=governed.how_to_grant(address, approval, changed.reason)
    )


def command(tx: Tx, release_id: str, asked: ReleaseCommand) -> Release:
    """Apply a person's command."""
    commands: dict[ReleaseAction, Command] = {
        ReleaseAction.PAUSE: Pause(reason=asked.reason),
        ReleaseAction.RESUME: Resume(),
        ReleaseAction.ABORT: Abort(reason=asked.reason),
        ReleaseAction.PROMOTE: Promote(reason=asked.reason),
        ReleaseAction.ROLL_BACK: RollBack(reason=asked.reason),
    }
    return execute(tx, release_id, commands[asked.command])


def get(tx: Tx, release_id: str, *, lock: bool = False) -> Release:
    """One release.

    Raises:
        NotFound: there is none.
    """
    release = tables.find_release(tx, release_id, lock=lock)
    if release is None:
        raise NotFound("there is no such release", where=f"release/{release_id}")
    return release


def search(tx: Tx, *, model: str | None = None, open_only: bool = False, limit: int = 100) -> tuple[Release, ...]:
    """Releases, newest first.

    Raises:
        NotFound: there is no such model, and nothing of it.
    """
    return naming.found_of(tx, model, tables.list_releases(tx, model=model, open_only=open_only, limit=limit))


def on_approval_decided(tx: Tx, event: Event) -> None:
    """Take the answer to a release's request for approval; a grant that fell before it was heard of is none."""
    release_id = event.payload.get("release_id")
    if not release_id or not event.payload.get("complete", True):
        return
    granted = event.type == "registry.approval_granted"
    if granted:
        approval = approvals.get(tx, str(event.payload["approval_id"]))
        if approval.status is not ApprovalStatus.GRANTED or approval.granted < approval.needed:
            return
    reason = str(event.payload.get("reason", ""))
    execute(tx, release_id, AnswerApproval(granted=granted, reason=reason))


def _carry_out(tx: Tx, release: Release, before: ReleaseState | None, happened: list[Happening]) -> Release:
    """Write the events, the state after each, and their effects."""
    for happening in happened:
        after = evolve(before, happening)
        begun = isinstance(happening, StepStarted | Promoted)
        timed = begun or isinstance(happening, Reallocated)
        release = msgspec.structs.replace(
            release,
            state=after,
            slow_us=_slow_us(tx, release) if timed else release.slow_us,
            step_started_at=tx.now if timed else release.step_started_at,
            judged_since=tx.now if begun else release.judged_since,
            updated_at=tx.now,
            ended_at=tx.now if after.final else None,
        )
        if isinstance(happening, Opened):
            release = msgspec.structs.replace(release, quality=paired.foretold(tx, release))
        if timed or isinstance(happening, Opened):
            release = msgspec.structs.replace(release, foresight=foresight.foresee(tx, release))
        event = events.append(
            tx, f"delivery.{_kind(happening)}", f"release/{release.id}", _facts(release, happening)
        )
        completed = after.phase is Phase.COMPLETED
        tables.put_release(tx, release, completed_seq=event.seq if completed else None)
        effects.carry_out(tx, release, before, after)
        before = after
    if release.state.final and happened:
        pins.release(tx, _holder(release))
    return release


def _slow_us(tx: Tx, release: Release) -> int | None:
    """What counts as slow from now on; the limit of the step before while nothing newer is measured."""
    if release.champion is None or release.policy.rollout.slow_tolerance is None:
        return None
    measured = reports.latency_quantile_us(
        tx, release.model, release.champion, SLOW_QUANTILE, release_id=release.id
    )
    if measured is None:
        return release.slow_us
    return max(measured, round(1000 * release.policy.rollout.slow_from_ms))


def _holder(release: Release) -> str:
    return f"release/{release.id}"


def _kind(happening: Happening) -> str:
    tag = happening.__struct_config__.tag
    if not isinstance(tag, str):
        raise InternalError("an event of a release has no name", where=type(happening).__name__)
    return tag


def _facts(release: Release, happening: Happening) -> dict[str, object]:
    return {
        "release_id": release.id,
        "model": release.model,
        "number": release.number,
        "champion": release.champion,
        "phase": release.phase,
        "weight_percent": release.state.weight_percent,
        "happening": happening,
        "evidence": release.canary[-1] if release.canary else None,
        "quality": release.quality,
    } | ({} if release.experiment is None else {"experiment": release.experiment})
