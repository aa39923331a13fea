"""What the registry's policies ask of a release beyond what its project declares: before traffic, and at promotion.

A release is made on behalf of who opened it. Evidence is asked for before anybody is asked to approve, and all of
it again in the transaction that moves the version into production: an approval that fell meanwhile, or evidence
that grew too old, holds the release where it is.
"""

import msgspec

from headrace.delivery import tables
from headrace.delivery.machine import (
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
from headrace.project.policy import DeliveryPolicy
from headrace.registry import governed, versions
from headrace.registry.approval import Approval
from headrace.registry.governed import Change, Grounds, Lack
from headrace.registry.nouns import Stage, Version
from headrace.registry.rules import Demand

BEFORE_PEOPLE = frozenset({Phase.GATING, Phase.STAGING})


def asks_of(policy: DeliveryPolicy) -> Demand:
    """What a project's own policy asks for, in the registry's words."""
    approval = policy.approval
    if approval is None:
        return Demand()
    return Demand(
        governed_by=("the project",),
        approvals=1,
        role=approval.role,
        four_eyes=approval.four_eyes,
        expires=approval.expires_after,
    )


def grounds_of(release: Release) -> Grounds:
    """The grounds on which a release moves its version."""
    return Grounds(release_id=release.id, opened_by=release.opened_by, asks=asks_of(release.policy))


def going_back(release: Release) -> Grounds:
    """The grounds on which a release restores what was there before it."""
    return Grounds(release_id=release.id, opened_by=release.opened_by, back=True)


def plan_for(tx: Tx, version: Version, plan: ReleasePlan) -> ReleasePlan:
    """The plan of a release that is to be opened, with the approval that a policy asks for.

    Raises:
        PolicyRefused: a policy keeps whoever opens it from making the move, or asks for evidence that no gate of
            the release will make.
    """
    grounds = Grounds(release_id="to be opened", opened_by=tx.actor)
    demand = governed.demand_of_stage(tx, version, Stage.PRODUCTION, grounds)
    change = _change(version.model, version.number)
    evidence = () if plan.gates or plan.staging else governed.lacking(tx, change, demand).evidence
    lack = Lack(evidence=evidence, mover=governed.not_the_mover(tx, demand, grounds))
    if lack.lines:
        raise governed.refusal_of(change, demand, lack, grounds)
    return msgspec.structs.replace(plan, approval=plan.approval or demand.approvals > 0)


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
    if lack.approvals and not lack.evidence and not lack.mover:
        return ApprovalLost(reason=reason)
    return Paused(reason=f"{reason}; resume the release to try again")


def _lack(tx: Tx, release: Release, *, with_approvals: bool = True) -> Lack:
    demand = _demand(tx, release)
    if not with_approvals:
        demand = msgspec.structs.replace(demand, approvals=0)
    lack = governed.lacking(tx, _change(release.model, release.number), demand, release.id)
    mover = governed.not_the_mover(tx, demand, grounds_of(release))
    return msgspec.structs.replace(lack, mover=mover)


def _demand(tx: Tx, release: Release) -> Demand:
    version = versions.get(tx, release.model, release.number)
    return governed.demand_of_stage(tx, version, Stage.PRODUCTION, grounds_of(release))


def _change(model: str, number: int) -> Change:
    return Change(model=model, number=number, target=f"stage/{Stage.PRODUCTION.value}")
