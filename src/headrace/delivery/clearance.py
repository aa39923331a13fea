"""What the registry's policies ask of a release beyond what its project declares: before traffic, and at promotion.

A release is made on behalf of who opened it. Evidence is asked for before anybody is asked to approve, and all of
it again in the transaction that moves the version into production: an approval that fell meanwhile, or evidence
that grew too old, holds the release where it is.
"""

from datetime import datetime

import msgspec

from headrace.delivery import tables
from headrace.delivery.machine import (
    SHADOW,
    ApprovalLost,
    Blocked,
    Happening,
    Paused,
    Phase,
    Promoted,
    ReleasePlan,
    ReleaseState,
    evolve,
)
from headrace.delivery.nouns import Release
from headrace.errors import PolicyRefused
from headrace.kernel.database import Tx
from headrace.project.binding import Judge
from headrace.project.durations import parse_duration
from headrace.project.policy import DeliveryPolicy
from headrace.registry import bounds, governed, proof, rules, stages, versions
from headrace.registry import policies as registry_policies
from headrace.registry.approval import Approval
from headrace.registry.governed import Change, Grounds, Lack
from headrace.registry.nouns import Stage, Version
from headrace.registry.rules import Demand

BEFORE_PEOPLE = frozenset({Phase.GATING, Phase.STAGING})


def asks_of(policy: DeliveryPolicy) -> Demand:
    """What a project's own policy asks for, in the registry's words."""
    approval = policy.approval
    if approval is None:
        return Demand(notify=tuple(policy.alerts))
    return Demand(
        notify=tuple(policy.alerts),
        governed_by=("the project",),
        approvals=1,
        role=approval.role,
        four_eyes=approval.four_eyes,
        expires=approval.expires_after,
    )


def grounds_of(release: Release) -> Grounds:
    """The grounds on which a release moves its version."""
    policy = release.policy
    return Grounds(release_id=release.id, opened_by=release.opened_by, asks=asks_of(policy), rollout=policy.rollout)


def going_back(release: Release) -> Grounds:
    """The grounds on which a release restores what was there before it."""
    return Grounds(release_id=release.id, opened_by=release.opened_by, back=True)


def plan_for(tx: Tx, version: Version, plan: ReleasePlan, policy: DeliveryPolicy) -> ReleasePlan:
    """The plan of a release that is to be opened, with the approval that a policy asks for.

    Raises:
        PolicyRefused: a policy keeps whoever opens it from making the move, or asks for evidence that no gate of
            the release will make, or for a more careful rollout.
    """
    grounds = Grounds(release_id="to be opened", opened_by=tx.actor, rollout=policy.rollout)
    demand = governed.demand_of_stage(tx, version, Stage.PRODUCTION, grounds)
    change = _change(version.model, version.number)
    lack = governed.lacking(tx, change, msgspec.structs.replace(demand, approvals=0), grounds)
    hopeless = _hopeless(tx, change, demand, policy) if lack.evidence else ()
    if not lack.rollout:
        _require_company(tx, change, demand)
    lack = Lack(evidence=hopeless, rollout=lack.rollout, mover=governed.not_the_mover(tx, demand, grounds))
    if lack.lines:
        raise governed.refusal_of(change, demand, lack, grounds)
    return msgspec.structs.replace(plan, approval=plan.approval or demand.approvals > 0)


def _require_company(tx: Tx, change: Change, demand: Demand) -> None:
    """Refuse to bring a version to all of the traffic at once because what was there was taken out by hand.

    A first version has nobody to share the traffic with. It is no first one where another left Production otherwise
    than by the rollback of its release.

    Raises:
        PolicyRefused: a policy bounds the rollout, and Production was emptied.
    """
    if not demand.rollouts or stages.production(tx, change.model) is not None:
        return
    left = stages.left_production(tx, change.model)
    if left is None and not tables.completed(tx, change.model):
        return
    what = "a version that was released" if left is None else f"version {left}"
    lines = [
        f"{what} is no longer in Production to share the traffic with, and the policy {policy} asks for"
        f" {asked.says}"
        for policy, asked in demand.rollouts
    ]
    refused = governed.refusal_of(change, demand, Lack(rollout=tuple(lines)), Grounds(release_id="to be opened"))
    refused.fix = (
        f"Go back to a version that completed a release: headrace rollback {change.model} --to N. Where none did,"
        f" an admin lifts the bounds for this release: headrace policy show {change.model}"
    )
    raise refused


def require_no_evidence(tx: Tx, version: Version, cohort: datetime) -> None:
    """Refuse rows that somebody chose for a version of which nobody knows what it was trained on.

    Raises:
        PolicyRefused: a policy asks for evidence, and these rows may be those that the version has learned.
    """
    demand = governed.demand_of_stage(tx, version, Stage.PRODUCTION)
    if demand.evidence:
        raise PolicyRefused(
            f"nobody knows what {version.model}@{version.number} was trained on, so a cohort of"
            f" {cohort:%Y-%m-%d} is no evidence for the policy {', '.join(demand.proven_to)}",
            where="cohort",
            fix="Train it with `headrace train`, which chooses rows that it has not seen.",
        )


def _hopeless(tx: Tx, change: Change, demand: Demand, policy: DeliveryPolicy) -> tuple[str, ...]:
    """The evidence that is not there, and that no gate of the release would make as strictly as it is asked for."""
    judges = judges_of(policy)
    told = []
    for required, line in proof.without_proof(demand.evidence, judges, ", ".join(demand.proven_to)):
        alone = msgspec.structs.replace(demand, evidence=(required,), approvals=0)
        missing = governed.lacking(tx, change, alone).evidence
        checked = any(bounds.kind_of(check) == required.gate for check in policy.checks)
        why = "training sets are checked before a version is trained on them, not in a release" if checked else line
        told += [f"{missing[0]}; {why}"] if missing else []
    return tuple(told)


def judges_of(policy: DeliveryPolicy) -> tuple[Judge, ...]:
    """Whatever a release under a policy is judged by; what a training set was checked for is no longer to come."""
    return (*policy.gates, *(() if policy.staging is None else (policy.staging,)))


def shortfalls(tx: Tx, model: str, policy: DeliveryPolicy, governs: str = "") -> tuple[str, ...]:
    """What the policies on a model ask for that its project cannot give, told before anything is trained.

    Args:
        tx: the transaction.
        model: name of the model, which need not be there yet.
        policy: what the project declares.
        governs: of one stage alone, such as `stage/Production`; empty for all that binds the model.
    """
    told: list[str] = []
    for bound in registry_policies.effective(tx, model).policies:
        if governs in {"", bound.governs}:
            asked = bound.policy
            judges = (*judges_of(policy), *policy.checks)
            told += [line for _, line in proof.without_proof(asked.evidence, judges, asked.named)]
            demand = rules.demand([asked])
            told += governed.rollout_lacking(demand, Grounds(release_id="to be", rollout=policy.rollout))
    return tuple(told)


def require_promising(tx: Tx, model: str, policy: DeliveryPolicy) -> None:
    """Refuse to train what no release could bring into production.

    Raises:
        PolicyRefused: a policy asks for what the gates cannot show, or for a more careful rollout.
    """
    lines = shortfalls(tx, model, policy, f"stage/{Stage.PRODUCTION.value}")
    if lines:
        raise PolicyRefused(
            f"no version of {model} could be released: {'; '.join(lines)}",
            where=f"model/{model}",
            fix="Declare it as strictly as the policy asks and `headrace apply`, or train without a release:"
            f" headrace train {model} --no-release",
        )


def ask(tx: Tx, release: Release) -> Approval:
    """File the request for the approvals that the project and the policies ask of a release together."""
    demand = _demand(tx, release)
    project = tables.project_of_model(tx, release.model)
    return governed.request(
        tx.acting_as(release.opened_by),
        _change(release.model, release.number),
        msgspec.structs.replace(demand, approvals=max(1, demand.approvals)),
        release_id=release.id,
        excluded=() if project is None else (project.applied_by,),
    )


def held(tx: Tx, release: Release, state: ReleaseState | None, happened: list[Happening]) -> list[Happening]:
    """What happens to a release, as far as the policies let it: what they do not becomes a block or a pause."""
    kept: list[Happening] = []
    for happening in happened:
        after = evolve(state, happening)
        if state is not None and state.phase in BEFORE_PEOPLE and not (after.phase in BEFORE_PEOPLE or after.final):
            missing = _lack(tx, release, with_approvals=False).lines
            if missing:
                return [*kept, Blocked(reason=f"the policy of Production: {'; '.join(missing)}")]
        if isinstance(happening, Promoted):
            lack = _lack(tx, release)
            if lack.lines:
                return [*kept, _hold(lack)]
        kept.append(happening)
        state = after
    return kept


def require_patience(tx: Tx, release: Release) -> None:
    """Refuse a person who would pass over what a policy asks of the rollout: the first share, and the time at it.

    Raises:
        PolicyRefused: the version has had no share yet, or not for so long.
    """
    demand, weight = _demand(tx, release), release.state.weight_percent
    stayed = tx.now - (release.step_started_at or tx.now)
    lines = []
    for policy, asked in demand.rollouts:
        asks = f"and the policy {policy} asks for no laxer than"
        if weight == SHADOW:
            lines.append(f"it has answered nobody yet, {asks} {bounds.words(asked.asked)}")
        if asked.minimum_time is not None and stayed < parse_duration(asked.minimum_time):
            spent = rules.age_of(stayed)
            lines.append(f"it has been at {weight} % for {spent}, {asks} minimum_time={asked.minimum_time}")
    if lines:
        change, lack = _change(release.model, release.number), Lack(rollout=tuple(lines))
        refused = governed.refusal_of(change, demand, lack, grounds_of(release))
        refused.fix = "Wait, or take the traffic back: headrace release " + release.model + " --do roll_back"
        raise refused


def refusal(tx: Tx, release: Release) -> PolicyRefused:
    """Why a release cannot be promoted now."""
    return governed.refusal_of(
        _change(release.model, release.number), _demand(tx, release), _lack(tx, release), grounds_of(release)
    )


def may_show_staging(tx: Tx, release: Release) -> bool:
    """Whether a release may move its version to Staging meanwhile: where a policy governs that, it stays put."""
    version = versions.get(tx, release.model, release.number)
    return governed.may_enter(tx, version, Stage.STAGING, release.opened_by)


def _hold(lack: Lack) -> Happening:
    reason = "; ".join(lack.lines)
    if lack.approvals and not (lack.evidence or lack.rollout or lack.mover):
        return ApprovalLost(reason=reason)
    return Paused(reason=f"{reason}; resume the release to try again")


def _lack(tx: Tx, release: Release, *, with_approvals: bool = True) -> Lack:
    demand = _demand(tx, release)
    if not with_approvals:
        demand = msgspec.structs.replace(demand, approvals=0)
    lack = governed.lacking(tx, _change(release.model, release.number), demand, grounds_of(release))
    mover = governed.not_the_mover(tx, demand, grounds_of(release))
    return msgspec.structs.replace(lack, mover=mover)


def _demand(tx: Tx, release: Release) -> Demand:
    version = versions.get(tx, release.model, release.number)
    return governed.demand_of_stage(tx, version, Stage.PRODUCTION, grounds_of(release))


def _change(model: str, number: int) -> Change:
    return Change(model=model, number=number, target=f"stage/{Stage.PRODUCTION.value}")
