"""The one place that allows or refuses: every verb that changes a stage, an alias, a name or words asks here.

What a change asks for is found in the policies that bind the stages and aliases which it touches. A refused caller
has a request for approval filed in its name, once; when enough have granted it the same call goes through, and uses
it up.
"""

import hashlib
from functools import partial
from typing import Any

import msgspec

from headrace.errors import (
    ApprovalNeeded,
    HeadraceError,
    InvalidInput,
    NotFound,
    PermissionRefused,
    PolicyRefused,
)
from headrace.kernel import access, events
from headrace.kernel.access import Principal, Role, permits
from headrace.kernel.database import Tx
from headrace.project.experiments import Rollout
from headrace.registry import approvals, bounds, counting, naming, proof, rules, tables, tables_approvals
from headrace.registry.approval import Approval, AskForApproval, RequestApproval, wish_of
from headrace.registry.nouns import ApprovalStatus, Stage, Version
from headrace.registry.rules import Demand, Policy

DELETED = "deleted"
REMOVED = "removed"
ROLLBACK = "rollback"
"""How the grounds of a move begin that went back to what was there before."""


class Grounds(msgspec.Struct, frozen=True, kw_only=True):
    """On what grounds a stage is changed, when it is not a caller who asks for it.

    Attributes:
        release_id: the release that makes the move.
        opened_by: who opened it, and so makes it.
        asks: what the release's own plan asks for, beyond the policies.
        rollout: how it moves the traffic.
        back: whether it goes back to what was there before, which must be quick and asks for nothing.
    """

    release_id: str | None = None
    opened_by: str = ""
    asks: Demand = Demand()
    rollout: Rollout | None = None
    back: bool = False

    @property
    def says(self) -> str:
        """For the history."""
        release = f"release {self.release_id}" if self.release_id else ""
        return " of ".join(part for part in (ROLLBACK if self.back else "", release) if part)


CALLER = Grounds()


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change that policies may govern.

    Attributes:
        number: the version; 0 for the model as a whole.
        target: what is to become of it, such as `stage/Production`.
        details: what is asked for beyond the target.
    """

    model: str
    number: int
    target: str
    details: dict[str, Any] = {}

    @property
    def subject(self) -> str:
        """What its events are about."""
        return f"version/{self.model}/{self.number}" if self.number else f"model/{self.model}"

    @property
    def about(self) -> str:
        """For people."""
        return f"{self.model}@{self.number}" if self.number else self.model


class Lack(msgspec.Struct, frozen=True, kw_only=True):
    """What is missing for a change.

    Attributes:
        evidence: a line for each piece that is missing, failing or too old.
        rollout: a line for each policy that asks for a more careful rollout.
        approvals: how many grants are missing, in a sentence.
        mover: that whoever makes it has not got the role for that.
        approval: the request that waits, or that was refused.
    """

    evidence: tuple[str, ...] = ()
    rollout: tuple[str, ...] = ()
    approvals: str = ""
    mover: str = ""
    approval: Approval | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it."""
        return tuple(line for line in (self.approvals, *self.evidence, *self.rollout, self.mover) if line)


# -- the changes --------------------------------------------------------------------------------------------


def require_stage(
    tx: Tx, version: Version, stage: Stage, grounds: Grounds = CALLER, *, displaces: bool = False
) -> str:
    """Allow a version to enter a stage; returns on what grounds, for the history.

    Args:
        tx: the transaction.
        version: what moves.
        stage: where to.
        grounds: on what grounds, when it is not a caller who asks for it.
        displaces: whether others in that stage are archived by it, which is a change even of a version that stays.

    Raises:
        PolicyRefused: a policy forbids it, or evidence is missing.
        ApprovalNeeded: it waits for approvals.
        PermissionRefused: the caller has not got the role.
    """
    change = Change(model=version.model, number=version.number, target=f"stage/{stage.value}")
    if grounds.back:
        return grounds.says
    if grounds.release_id is not None:
        if stage is Stage.PRODUCTION:
            _require(tx, change, demand_of_stage(tx, version, stage, grounds), grounds)
        return grounds.says
    if displaces or stage is not version.stage:
        _require_own_move(tx, version, stage, change)
    return _require(tx, change, demand_of_stage(tx, version, stage))


def may_enter(tx: Tx, version: Version, stage: Stage, name: str) -> bool:
    """Whether somebody could move a version to a stage now, without any approval."""
    demand = demand_of_stage(tx, version, stage)
    change = Change(model=version.model, number=version.number, target=f"stage/{stage.value}")
    if demand.asks_nothing:
        return True
    if not_the_mover(tx.acting_as(name), demand):
        return False
    return not demand.approvals and not lacking(tx, change, demand).lines


def require_alias(tx: Tx, model: str, alias: str, number: int, *, removed: bool = False) -> str:
    """Allow an alias to point at a version, or to be removed from the one that it points at; as `require_stage`."""
    demand = _demand_of_alias(tx, model, alias, removed=removed)
    target = f"alias/{alias}/{REMOVED}" if removed else f"alias/{alias}"
    return _require(tx, Change(model=model, number=number, target=target), demand)


def require_deletion(tx: Tx, model: str, number: int = 0) -> str:
    """Allow a version, or a whole model, to be deleted; what a version has been counts as what it is."""
    return _require(tx, Change(model=model, number=number, target=DELETED), _demand_of_end(tx, model, number))


def require_renaming(tx: Tx, model: str, after: str) -> str:
    """Allow a model to have another name, under which no policies of its own are waiting."""
    if any(policy.model == after for policy in _policies(tx, after)):
        raise PolicyRefused(
            f"policies are set for the name {after!r}, which {model!r} has not gone through",
            where=f"model/{after}",
            fix="Choose another name, or have an admin remove them first.",
        )
    change = Change(model=model, number=0, target=f"renamed/{after}")
    return _require(tx, change, _demand_of_end(tx, model, 0))


def require_description(tx: Tx, model: str, number: int, details: dict[str, Any]) -> str:
    """Allow the description or the tags of a version, or of a model, to become these.

    Who may make the moves of the stages and aliases that it has may also describe it; anybody else needs approval,
    which is for exactly these words.
    """
    demand = _demand_of_words(tx, model, number)
    content = hashlib.sha256(msgspec.json.encode(details, order="deterministic")).hexdigest()[:32]
    change = Change(model=model, number=number, target=f"described/{content}", details=details)
    if demand.movers:
        if not not_the_mover(tx, demand):
            return ""
        demand = rules.approved_instead(demand)
    return _require(tx, change, demand)


def require_files(tx: Tx, version: Version) -> None:
    """Refuse files to a version that came without them and was let in somewhere since: nobody has seen these.

    Raises:
        PolicyRefused: a policy governs a stage or an alias that it has.
    """
    demand = rules.demand(_governing(tx, version.model, version.number, past=False))
    if demand.approvals or demand.evidence:
        raise PolicyRefused(
            f"it stands without files where the policy {', '.join(demand.governed_by)} asks for more than files",
            where=f"version/{version.model}/{version.number}",
            fix="Move it out of there, take its files in, and move it back.",
        )


def demand_of_stage(tx: Tx, version: Version, stage: Stage, grounds: Grounds = CALLER) -> Demand:
    """What a move asks for: all of the stage that is entered; of the one that is left, no evidence.

    What is no longer the newest in its stage may leave it without approvals: nothing rests on it any more.
    """
    policies = _policies(tx, version.model)
    entered = rules.binding(policies, version.model, "stage", stage.value)
    left = rules.binding(policies, version.model, "stage", version.stage.value)
    found = rules.demand([entered])
    if left is not None and stage is not version.stage and grounds.release_id is None:
        leaving = rules.demand((), [left])
        found = rules.together(found, leaving if _is_newest(tx, version) else rules.without_approvals(leaving))
    return rules.together(found, grounds.asks)


def ask(tx: Tx, wish: AskForApproval) -> Approval:
    """File a request ahead of the change that it is for, or again after a refusal, whatever that was for.

    Raises:
        NotFound: there is no such version or model.
        InvalidInput: the target is none, or nothing is asked for it.
        PolicyRefused: only a release makes the move.
    """
    kind, _, name = wish.target.partition("/")
    change = Change(model=wish.model, number=wish.number, target=wish.target)
    version = tables.find_version(tx, wish.model, wish.number) if wish.number else None
    if wish.number and version is None:
        raise missing_version(tx, wish.model, wish.number)
    digest = approvals.digest_of(tx, wish.model, wish.number)
    if digest is None:
        raise naming.unknown(tx, wish.model)
    before = tables_approvals.newest_approval(tx, wish.model, wish.number, digest, wish.target)
    if version is not None and _names_target(kind, name):
        if kind == "stage" and version.stage is not Stage(name):
            _require_own_move(tx, version, Stage(name), change)
        demand = _demand_of_target(tx, version, kind, name)
    elif before is not None:
        change = msgspec.structs.replace(change, details=before.details)
        demand = _demand_again(tx, change, kind, name)
    else:
        raise InvalidInput("this is no target", where="target", fix="Write stage/Production or alias/champion.")
    if not demand.approvals:
        raise InvalidInput(
            f"no policy asks for an approval of {change.about} to {wish_of(wish.target)}",
            where="target",
            fix=f"See: headrace policy show {wish.model}",
        )
    return request(tx, change, demand, wish.why)


def missing_version(tx: Tx, model: str, number: int) -> NotFound:
    """That there is no such version, or not even such a model."""
    where = f"version/{model}/{number}"
    if tables.find_model(tx, model) is None:
        return naming.unknown(tx, model, where=where)
    return NotFound(f"model {model!r} has no version {number}", where=where, fix=f"See: headrace models {model}")


def _names_target(kind: str, name: str) -> bool:
    """Whether a target is a stage, or an alias that is to be set."""
    return name in set(Stage) if kind == "stage" else kind == "alias" and bool(name) and "/" not in name


def _demand_of_target(tx: Tx, version: Version, kind: str, name: str) -> Demand:
    if kind == "stage":
        return demand_of_stage(tx, version, Stage(name))
    return _demand_of_alias(tx, version.model, name)


def _demand_again(tx: Tx, change: Change, kind: str, name: str) -> Demand:
    """What a change asks for that is no move of a version, and was asked for before."""
    if kind == "alias":
        return _demand_of_alias(tx, change.model, name.partition("/")[0], removed=True)
    if kind == "described":
        demand = _demand_of_words(tx, change.model, change.number)
        return rules.approved_instead(demand) if demand.movers else demand
    return _demand_of_end(tx, change.model, change.number)


def _demand_of_alias(tx: Tx, model: str, alias: str, *, removed: bool = False) -> Demand:
    bound = [rules.binding(_policies(tx, model), model, "alias", alias)]
    return rules.demand((), bound) if removed else rules.demand(bound)


def _demand_of_end(tx: Tx, model: str, number: int) -> Demand:
    """What it takes to delete a version or a model, or to give a model another name."""
    return rules.demand((), _governing(tx, model, number, past=True))


def _demand_of_words(tx: Tx, model: str, number: int) -> Demand:
    return rules.demand((), _governing(tx, model, number, past=False))


def look_at(tx: Tx, approval_id: str) -> Approval:
    """One request, with what policies ask for beyond approvals and that is not there for what it is about.

    Raises:
        NotFound: there is none.
    """
    approval = approvals.get(tx, approval_id)
    if not approval.status.waits:
        return approval
    return msgspec.structs.replace(approval, missing=missing_evidence(tx, approval))


def missing_evidence(tx: Tx, approval: Approval) -> tuple[str, ...]:
    """What evidence the policies ask for, beyond approvals, that is not there for what a request is about."""
    kind, _, name = approval.target.partition("/")
    version = tables.find_version(tx, approval.model, approval.number) if approval.number else None
    if version is None or not _names_target(kind, name):
        return ()
    demand = msgspec.structs.replace(_demand_of_target(tx, version, kind, name), approvals=0)
    change = Change(model=approval.model, number=approval.number, target=approval.target)
    lack = lacking(tx, change, demand)
    return lack.evidence if approval.release_id else (*lack.evidence, *lack.rollout)


def request(tx: Tx, change: Change, demand: Demand, why: str = "", **of_release: Any) -> Approval:
    """File the request for the approvals that a change needs; while one for the same waits, that is it."""
    return approvals.request(
        tx,
        RequestApproval(
            model=change.model,
            number=change.number,
            target=change.target,
            details=change.details,
            role=demand.role,
            needed=demand.approvals,
            four_eyes=demand.four_eyes,
            signed=demand.signed,
            governed_by=demand.governed_by,
            notify=demand.notify,
            why=why,
            expires_s=demand.expires.total_seconds(),
            valid_for_s=None if demand.valid_for is None else demand.valid_for.total_seconds(),
            **of_release,
        ),
    )


def lacking(tx: Tx, change: Change, demand: Demand, grounds: Grounds = CALLER) -> Lack:
    """What is missing for a change now: evidence that passes and is young enough, and grants that count."""
    rollout = rollout_lacking(demand, grounds)
    missing: list[str] = []
    if demand.evidence:
        found = tables.list_evidence(tx, change.model, change.number)
        production = _other_in_production(tx, change)
        asked_by = ", ".join(demand.proven_to)
        missing = proof.lacking_evidence(demand.evidence, found, tx.now, production, asked_by)
    if not demand.approvals:
        return Lack(evidence=tuple(missing), rollout=rollout)
    approval = _approval(tx, change, demand, grounds.release_id)
    granted = 0
    if approval is not None and approval.status.waits and not counting.is_due(approval, tx.now):
        granted = approval.granted
    short = ""
    if granted < demand.approvals:
        short = f"it needs {rules.count_of(demand.approvals, demand.role)} and has {granted}"
        fallen = [each.why_not for each in approval.decisions if each.why_not] if approval else []
        short += f" ({'; '.join(fallen)})" if fallen else ""
    return Lack(evidence=tuple(missing), rollout=rollout, approvals=short, approval=approval)


def rollout_lacking(demand: Demand, grounds: Grounds) -> tuple[str, ...]:
    """Why the traffic does not move as carefully as policies ask; nothing but a release moves it carefully."""
    told = []
    for policy, asked in demand.rollouts:
        if grounds.rollout is None:
            told.append(f"the policy {policy} asks for {asked.says}")
        elif short := bounds.laxer_rollout(grounds.rollout, asked):
            was, wanted = bounds.words_of_rollout(grounds.rollout, short), bounds.words(asked.asked, short)
            told.append(
                f"the rollout is declared with {was}, and the policy {policy} asks for no laxer than {wanted}"
            )
    return tuple(told)


# -- allowing and refusing ----------------------------------------------------------------------------------


def _require(tx: Tx, change: Change, demand: Demand, grounds: Grounds = CALLER) -> str:
    if demand.asks_nothing:
        if grounds.release_id is None:
            _require_developer(access.acting(tx), change)
        return ""
    lack = lacking(tx, change, demand, grounds)
    lack = msgspec.structs.replace(lack, mover=not_the_mover(tx, demand, grounds))
    if lack.lines:
        raise refusal_of(change, demand, lack, grounds)
    if not demand.approvals or lack.approval is None:
        return f"policy {', '.join(demand.governed_by)}"[:128]
    approvals.use(tx, lack.approval)
    return f"approval {lack.approval.id}"


def _require_own_move(tx: Tx, version: Version, stage: Stage, change: Change) -> None:
    """Refuse a caller's move into or out of production where a project delivers the model."""
    model = tables.find_model(tx, version.model)
    if model is not None and model.declaration is not None and Stage.PRODUCTION in {stage, version.stage}:
        refusal = PolicyRefused(
            f"model {version.model!r} is delivered by its project: only a release moves a version into or out of"
            " Production, through its gates and its approval.",
            where=change.subject,
            fix=f"Start one with: headrace release {change.about}",
        )
        refusal.aftermath = partial(_record, change, refusal)
        raise refusal


def _require_developer(maker: Principal, change: Change) -> None:
    """Where nothing is asked for, whoever may register versions may make a change; so may the platform itself."""
    if not maker.roles and not maker.is_local and not maker.disabled:
        return  # a name without roles comes through no door: it is the platform's own code
    if Role.SYSTEM in maker.roles or permits(maker, Role.DEVELOPER):
        return
    raise PermissionRefused(
        f"{maker.name} has not got the role {Role.DEVELOPER.value}",
        where=change.subject,
        fix=f"Ask an admin: headrace access grant {maker.name} {Role.DEVELOPER.value}",
    )


def not_the_mover(tx: Tx, demand: Demand, grounds: Grounds = CALLER) -> str:
    """Why whoever makes a change may not; empty when they may.

    Without a role named by a policy that is whoever may register versions; who opened a release was let in then.
    """
    maker = access.acting(tx.acting_as(grounds.opened_by) if grounds.release_id else tx)
    usual = () if grounds.release_id else ((Role.DEVELOPER.value, Role.SYSTEM.value),)
    wrong = [
        f"it is for the role {' or '.join(roles)} to make, which {maker.name} has not got"
        for roles in demand.movers or usual
        if not any(permits(maker, Role(role)) for role in roles)
    ]
    return "; ".join(wrong)


def refusal_of(change: Change, demand: Demand, lack: Lack, grounds: Grounds = CALLER) -> PolicyRefused:
    """The refusal of a change, which is kept; of a caller who may ask for it also the request is filed."""
    message = f"{change.about} may not {wish_of(change.target)} yet: {'; '.join(lack.lines)}."
    if demand.governed_by:
        message += f" So asks the policy {', '.join(demand.governed_by)}."
    kind = ApprovalNeeded if lack.approvals else PolicyRefused
    refusal = kind(message, where=change.subject, fix=_repair(change, demand, lack, grounds))
    if grounds.release_id is None and not lack.rollout:  # no approval makes a move by hand a careful one
        refusal.aftermath = partial(_file, change, demand, lack, refusal)
    else:
        refusal.aftermath = partial(_record, change, refusal)
    return refusal


def _repair(change: Change, demand: Demand, lack: Lack, grounds: Grounds) -> str:
    """What to do about a refusal."""
    see = f"See: headrace policy show {change.model}"
    if lack.rollout and grounds.rollout is None:
        return f"Open a release, which moves it there: headrace release {change.about}. {see}"
    if not lack.rollout and proof.only_stale(lack.evidence):
        return f"Have it judged anew by another release: headrace release {change.about}. {see}"
    if lack.rollout or (lack.evidence and any(each.bounds for each in demand.evidence)):
        again = f"headrace release {change.about}"
        return f"Declare it as strictly as the policy asks, `headrace apply`, and release it again: {again}. {see}"
    return see


def _file(
    change: Change, demand: Demand, lack: Lack, refusal: PolicyRefused, tx: Tx, address: str
) -> HeadraceError:
    """Keep a refused attempt, and file the request that it takes; again is the same request."""
    gone = approvals.digest_of(tx, change.model, change.number) is None
    if not demand.approvals or gone or not _may_ask(tx, demand):
        return _record(change, refusal, tx, address)
    present = _approval(tx, change, demand, None)
    if present is not None and present.status is ApprovalStatus.REFUSED and tx.now < present.expires_at:
        _record(change, refusal, tx, address, approval_id=present.id)
        ask = f"headrace approvals request {change.about} --target {change.target}"
        return type(refusal)(
            f"{refusal.message} {present.decided_by} refused request {present.id}: {present.reason}",
            where=refusal.where,
            fix=f"See {page_of(address, present)} . Ask again with: {ask}",
        )
    approval = request(tx, change, demand, "filed for a call that was refused")
    _record(change, refusal, tx, address, approval_id=approval.id)
    short = lacking(tx, change, demand).approvals
    granting = how_to_grant(address, approval, short)
    fix = f"{refusal.fix} . {granting}" if lack.evidence else granting
    return type(refusal)(refusal.message, where=refusal.where, fix=fix)


def _may_ask(tx: Tx, demand: Demand) -> bool:
    """Whether a refused caller may put a request before others: who may ask ahead, or could make the change."""
    return permits(access.acting(tx), Role.DEVELOPER) or not not_the_mover(tx, demand)


def _record(
    change: Change, refusal: PolicyRefused, tx: Tx, _address: str, approval_id: str | None = None
) -> HeadraceError:
    facts = {
        "model": change.model,
        "number": change.number,
        "target": change.target,
        "reason": refusal.message,
        "approval_id": approval_id,
    }
    events.append(tx, "registry.change_refused", change.subject, facts)
    return refusal


def how_to_grant(address: str, approval: Approval, short: str) -> str:
    """Where a request stands and how it is granted, for who was refused; `short` says what grants are missing."""
    if not short:
        return f"Request {approval.id} has the approvals that it needs: {page_of(address, approval)}"
    return (
        f"Request {approval.id} is open until {approval.expires_at:%Y-%m-%d %H:%M} UTC:"
        f" {page_of(address, approval)} . Somebody with the role {approval.role} grants it with:"
        f" headrace approvals grant {approval.id}"
    )


def page_of(address: str, approval: Approval) -> str:
    """The page of a request."""
    return f"{address}/approvals/{approval.id}"


# -- what is there ------------------------------------------------------------------------------------------


def _policies(tx: Tx, model: str) -> tuple[Policy, ...]:
    return tables_approvals.list_policies(tx, model)


def _governing(tx: Tx, model: str, number: int, *, past: bool) -> list[Policy | None]:
    """The policies on the stages and aliases that a version has, or any version of a model; also of past stages."""
    policies = _policies(tx, model)
    if not policies:
        return []
    of = number or None
    stages = tables.stages_of(tx, model, of, past=past)
    aliases = [each.alias for each in tables.list_aliases(tx, model) if number in {0, each.number}]
    return [
        *(rules.binding(policies, model, "stage", stage.value) for stage in sorted(stages)),
        *(rules.binding(policies, model, "alias", alias) for alias in aliases),
    ]


def _approval(tx: Tx, change: Change, demand: Demand, release_id: str | None) -> Approval | None:
    """The request for a change of these bytes, judged by what is asked for now."""
    digest = approvals.digest_of(tx, change.model, change.number)
    if digest is None:
        return None
    if release_id is not None:
        found = tables_approvals.waiting_of_release(tx, release_id)
        found = None if found is None or found.digest != digest else found
    else:
        found = tables_approvals.newest_approval(tx, change.model, change.number, digest, change.target)
    if found is None:
        return None
    terms = counting.Terms(role=demand.role, four_eyes=demand.four_eyes, valid_for=demand.valid_for)
    return counting.counted(tx, [found], terms)[0]


def _other_in_production(tx: Tx, change: Change) -> int | None:
    """The version in production, unless that is the one that a change is about."""
    serving = tables.versions_in_stage(tx, change.model, Stage.PRODUCTION)
    return serving[0].number if serving and serving[0].number != change.number else None


def _is_newest(tx: Tx, version: Version) -> bool:
    newest = tables.versions_in_stage(tx, version.model, version.stage)
    return bool(newest) and newest[0].number == version.number
