"""Approvals: others answer for a change of a version, by name, on exactly these bytes, before a deadline.

A request is open until as many as it needs have granted it; one refusal closes it. Under four eyes neither the
version's author nor whoever asked may decide, and neither the login-free local principal nor the platform's own
processes ever count as a second pair of eyes. Deadlines are wall time, and what has expired stays so.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import msgspec

from headrace.errors import (
    Conflict,
    HeadraceError,
    InternalError,
    InvalidInput,
    NotFound,
    PermissionRefused,
    PolicyRefused,
)
from headrace.kernel import events
from headrace.kernel.access import Principal, Role, permits
from headrace.kernel.database import Tx
from headrace.kernel.events import Event
from headrace.kernel.ids import new_id
from headrace.kernel.subscriptions import Subscriber
from headrace.registry import counting, naming, reminders, tables, tables_approvals
from headrace.registry.approval import (
    Approval,
    ApprovalDecision,
    Decision,
    RequestApproval,
    Revocation,
    Via,
    wish_of,
)
from headrace.registry.nouns import ApprovalStatus, Version

TEXT_LIMIT = 4_000


def request(tx: Tx, asked: RequestApproval) -> Approval:
    """Ask for an approval; while a request for the same waits, that one is the answer.

    A request that needs fewer grants than are asked for now is raised. Who asks again has asked: under four eyes
    they cannot grant it afterwards, while what they granted before stands.

    Raises:
        NotFound: there is no such version or model.
        InvalidInput: the role is unknown, or the time to live is not positive.
    """
    _check(asked)
    digest, makers = _subject_of(tx, asked)
    present = _waiting(tx, asked, digest)
    if present is not None:
        return _raised(tx, _asked_again(tx, present), asked.needed)
    approval = Approval(
        id=new_id("apr"),
        model=asked.model,
        number=asked.number,
        digest=digest,
        target=asked.target,
        details=asked.details,
        release_id=asked.release_id,
        role=asked.role,
        needed=asked.needed,
        four_eyes=asked.four_eyes,
        excluded=tuple(sorted({*makers, tx.actor, *asked.excluded})),
        signed=asked.signed,
        governed_by=asked.governed_by,
        notify=asked.notify,
        remind_at=reminders.moment(tx.now, asked) if asked.notify else None,
        why=asked.why,
        status=ApprovalStatus.REQUESTED,
        requested_by=tx.actor,
        requested_at=tx.now,
        expires_at=counting.later(tx.now, asked.expires_s),
        valid_for_s=asked.valid_for_s,
    )
    if not tables_approvals.add_approval(tx, approval):
        raise InternalError("a request for the same waits already", where=_subject(approval))
    events.append(tx, "registry.approval_requested", _subject(approval), {**_facts(approval), "why": approval.why})
    return approval


def get(tx: Tx, approval_id: str, *, lock: bool = False) -> Approval:
    """One request for approval, with its decisions and whether each counts.

    Raises:
        NotFound: there is none.
    """
    approval = tables_approvals.find_approval(tx, approval_id, lock=lock)
    if approval is None:
        raise NotFound("there is no such request for approval", where=f"approval/{approval_id}")
    return counting.counted(tx, [approval])[0]


def search(
    tx: Tx,
    *,
    status: ApprovalStatus | None = None,
    model: str | None = None,
    release_id: str | None = None,
    limit: int = 200,
) -> tuple[Approval, ...]:
    """Requests for approval with their decisions, newest first.

    Raises:
        NotFound: there is no such model, and nothing of it.
    """
    found = tables_approvals.list_approvals(tx, status=status, model=model, release_id=release_id, limit=limit)
    return tuple(counting.counted(tx, naming.found_of(tx, model, found)))


def decide(
    tx: Tx, approval_id: str, decision: Decision, principal: Principal, *, via: Via | None = None, link: str = ""
) -> Approval:
    """Grant or refuse a request; the same answer by the same principal again changes nothing.

    An attempt that is not allowed has the aftermath of being recorded.

    Raises:
        NotFound: there is no such request.
        PermissionRefused: the principal lacks the role that the request asks for.
        PolicyRefused: four eyes forbid this principal, or the bytes are no longer those asked about.
        InvalidInput: a grant says not what it means, or a refusal not why.
        Conflict: the request is closed, its time is over, or there is evidence that was not seen.
    """
    approval = get(tx, approval_id, lock=True)
    own = _own(approval, principal.id)
    waits = approval.status is ApprovalStatus.REQUESTED
    if own is not None and own.grant == decision.grant and (own.counts or not waits):
        return approval
    if not waits:
        fix = "Take a grant back with: headrace approvals revoke" if approval.status.waits else None
        raise Conflict(f"the request is already {approval.status.value}", where=_subject(approval), fix=fix)
    if tx.now >= approval.expires_at:
        raise Conflict("the time to decide is over", where=_subject(approval), fix="Ask again.")
    try:
        may_decide(approval, principal)
        _same_bytes(tx, approval)
    except PermissionRefused as problem:
        problem.aftermath = partial(_record_attempt, approval, decision, principal, problem)
        raise
    found = tables.list_evidence(tx, approval.model, approval.number)
    known = tuple(each.id for each in found)
    _well_said(approval, decision, known)
    if own is not None:
        _strike(tx, own, principal.id, "another answer was given")
    given = ApprovalDecision(
        id=new_id("apd"),
        approval_id=approval.id,
        principal=principal.id,
        grant=decision.grant,
        reason=decision.reason,
        meaning=decision.meaning,
        via=via or decision.via,
        link=link,
        digest=approval.digest,
        evidence=known,
        at=tx.now,
        valid_until=_valid_until(tx, approval, decision),
        counts=decision.grant,
    )
    return _settle(tx, approval, given)


def revoke(tx: Tx, approval_id: str, asked: Revocation, principal: Principal) -> Approval:
    """Take a grant back: one's own, or as an admin anybody's, until it has been used.

    Raises:
        NotFound: there is no such request, or no such grant on it.
        PermissionRefused: it is somebody else's grant.
        Conflict: the request is closed.
    """
    approval = get(tx, approval_id, lock=True)
    whose = asked.principal or principal.id
    if whose != principal.id and not permits(principal, Role.ADMIN):
        raise PermissionRefused(
            f"the grant is {whose}'s", where=_subject(approval), fix=f"Ask {whose}, or an admin."
        )
    if not approval.status.waits:
        raise Conflict(f"the request is already {approval.status.value}", where=_subject(approval))
    own = _own(approval, whose)
    if own is None:
        raise NotFound(f"{whose} has not granted this request", where=_subject(approval))
    return _take_back(tx, approval, own, asked.reason or "taken back", "registry.approval_revoked")


def use(tx: Tx, approval: Approval) -> Approval:
    """Use a granted request up, in the transaction of the change that it allows."""
    used = msgspec.structs.replace(approval, used_at=tx.now)
    return _close(tx, used, ApprovalStatus.USED, "what it allowed was done", "registry.approval_used")


def workspaces_due(tx: Tx) -> tuple[str, ...]:
    """The workspaces in which a request's time is over."""
    return tables_approvals.workspaces_with_due(tx)


def due(tx: Tx) -> tuple[Approval, ...]:
    """Every request whose time is over."""
    return tables_approvals.due_approvals(tx)


def withdraw(tx: Tx, release_id: str, reason: str) -> None:
    """Close the request of a release that no longer needs it."""
    approval = tables_approvals.waiting_of_release(tx, release_id)
    if approval is not None:
        _close(tx, approval, ApprovalStatus.WITHDRAWN, reason, "registry.approval_withdrawn")


def withdraw_request(tx: Tx, approval_id: str, reason: str, principal: Principal) -> Approval:
    """Close a request that whoever asked, or an admin, no longer wants.

    Raises:
        NotFound: there is no such request.
        PermissionRefused: somebody else asked.
        Conflict: it is closed, or a release asked for it.
    """
    approval = get(tx, approval_id, lock=True)
    if approval.requested_by != principal.id and not permits(principal, Role.ADMIN):
        raise PermissionRefused(
            f"{approval.requested_by} asked for it", where=_subject(approval), fix="Refuse it instead."
        )
    if approval.release_id is not None:
        raise Conflict(
            "a release asks for it", where=_subject(approval), fix=f"Abort release {approval.release_id} instead."
        )
    if not approval.status.waits:
        raise Conflict(f"the request is already {approval.status.value}", where=_subject(approval))
    reason = reason or "no longer wanted"
    return _close(tx, approval, ApprovalStatus.WITHDRAWN, reason, "registry.approval_withdrawn")


def void_about(tx: Tx, model: str, number: int | None, reason: str) -> None:
    """Close the requests about a version, or about a model and all of its versions: it is no longer what it was."""
    for approval in tables_approvals.waiting_about(tx, model, number):
        _close(tx, approval, ApprovalStatus.VOID, reason, "registry.approval_voided")


def on_access_lost(tx: Tx, event: Event) -> None:
    """Take back what somebody granted who may not decide any more; it does not count from that moment on anyway."""
    name = event.subject.removeprefix("principal/")
    for decision in tables_approvals.standing_decisions_of(tx, name):
        approval = get(tx, decision.approval_id, lock=True)
        if decision.grant and counting.lost(event, name, approval.role):
            because = counting.loss_of(event, name, approval.role)
            _take_back(tx, approval, decision, because, "registry.approval_voided")


def may_decide(approval: Approval, principal: Principal) -> None:
    """Refuse a principal who may not decide on a request.

    Raises:
        PermissionRefused: it lacks the role.
        PolicyRefused: four eyes forbid it.
    """
    where = _subject(approval)
    if principal.disabled:
        raise PermissionRefused(f"{principal.name} is disabled", where=where, fix="Ask another approver.")
    if not permits(principal, Role(approval.role)):
        raise PermissionRefused(
            f"this needs the role {approval.role}, and {principal.name} has not got it",
            where=where,
            fix=f"An admin can give it: headrace access grant {principal.name} {approval.role}",
        )
    if not approval.four_eyes:
        return
    if principal.is_local or Role.SYSTEM in principal.roles:
        raise PolicyRefused(
            "without a login of one's own nobody is a second pair of eyes",
            where=where,
            fix="Create a principal with `headrace access` and decide with its token.",
        )
    if principal.id in approval.excluded:
        raise PolicyRefused(
            f"{principal.id!r} made the version or asked for this; four eyes need somebody else",
            where=where,
            fix=f"Ask another principal with the role {approval.role!r}.",
        )


# -- what a request is about --------------------------------------------------------------------------------


def digest_of(tx: Tx, model: str, number: int) -> str | None:
    """The digest that a request about a version binds to, of all versions for the number 0; None: it is gone."""
    if number:
        version = tables.find_version(tx, model, number)
        return None if version is None else version.digest
    return None if tables.find_model(tx, model) is None else counting.digest_of_all(tables.digests(tx, model))


def _subject_of(tx: Tx, asked: RequestApproval) -> tuple[str, set[str]]:
    """The digest of what is asked about, and who made it."""
    digest = digest_of(tx, asked.model, asked.number)
    if digest is None:
        what = f"model {asked.model!r} has no version {asked.number}"
        raise NotFound(what, where=f"version/{asked.model}/{asked.number}")
    if asked.number:
        version = tables.find_version(tx, asked.model, asked.number)
        return digest, set() if version is None else _makers(version)
    model = tables.find_model(tx, asked.model)
    return digest, set() if model is None else {model.created_by}


def _makers(version: Version) -> set[str]:
    return {version.author, version.created_by}


def _waiting(tx: Tx, asked: RequestApproval, digest: str) -> Approval | None:
    """The request for the same that waits; one whose time is over is closed first."""
    if asked.release_id is not None:
        present = tables_approvals.waiting_of_release(tx, asked.release_id)
    else:
        present = tables_approvals.newest_approval(tx, asked.model, asked.number, digest, asked.target)
    if present is None or not present.status.waits:
        return None
    other = _other(present, asked, digest) or _outdated(tx, present, asked)
    if other:
        _close(tx, present, ApprovalStatus.VOID, other, "registry.approval_voided")
        return None
    if counting.is_due(present, tx.now) or (tx.now >= present.expires_at and _is_short(tx, present, asked.needed)):
        expire(tx, present)
        return None
    return present


def _other(present: Approval, asked: RequestApproval, digest: str) -> str:
    """Why a request is not for what is asked now; empty when it is."""
    if present.digest != digest:
        return "the files are others now"
    if present.role != asked.role:
        return f"the role {asked.role} is asked for now"
    return "four eyes are asked for now" if asked.four_eyes and not present.four_eyes else ""


def _outdated(tx: Tx, present: Approval, asked: RequestApproval) -> str:
    """Why the grants of a request, which it would let nobody repeat, count no more by what is asked for now."""
    if asked.valid_for_s is None:
        return ""
    terms = counting.Terms(valid_for=timedelta(seconds=asked.valid_for_s))
    before, now = (counting.counted(tx, [present], each)[0].granted for each in (counting.AS_ASKED, terms))
    return "grants count for a shorter time now" if now < before else ""


def _is_short(tx: Tx, present: Approval, needed: int) -> bool:
    """Whether too few grants count, by what is asked for now."""
    return counting.counted(tx, [present])[0].granted < needed


def _asked_again(tx: Tx, present: Approval) -> Approval:
    """A request that waits, with whoever asks for it now among those who asked."""
    if not present.four_eyes or tx.actor in present.excluded:
        return present
    own = _own(counting.counted(tx, [present])[0], tx.actor)
    if own is not None and own.counts:
        return present
    joined = msgspec.structs.replace(present, excluded=tuple(sorted({*present.excluded, tx.actor})))
    _put(tx, joined, present.status)
    facts = {**_facts(joined), "asked_by": tx.actor, "excluded": joined.excluded}
    events.append(tx, "registry.approval_asked_again", _subject(joined), facts)
    return joined


def _raised(tx: Tx, present: Approval, needed: int) -> Approval:
    """A request that waits, open for as many grants as are asked for now; its own number is never lowered."""
    counted = counting.counted(tx, [present])[0]
    short = counted.granted < needed
    if not short or (present.status is ApprovalStatus.REQUESTED and present.needed >= needed):
        return counted
    raised = msgspec.structs.replace(
        counted, needed=max(present.needed, needed), status=ApprovalStatus.REQUESTED, valid_until=None
    )
    _put(tx, raised, present.status)
    events.append(tx, "registry.approval_reopened", _subject(raised), _facts(raised))
    return raised


# -- decisions ----------------------------------------------------------------------------------------------


def _settle(tx: Tx, approval: Approval, given: ApprovalDecision) -> Approval:
    """Write a decision, which is signed by its event, and what becomes of the request by it."""
    granted = approval.granted + given.grant
    status = ApprovalStatus.REFUSED
    if given.grant:
        status = ApprovalStatus.GRANTED if granted >= approval.needed else ApprovalStatus.REQUESTED
    event = events.append(
        tx,
        "registry.approval_granted" if given.grant else "registry.approval_refused",
        _subject(approval),
        {
            **_facts(approval),
            "decided_by": given.principal,
            "decided_at": given.at,
            "reason": given.reason,
            "meaning": given.meaning,
            "evidence": given.evidence,
            "via": given.via,
            "link": given.link,
            "granted": granted,
            "complete": status is not ApprovalStatus.REQUESTED,
        },
    )
    tables_approvals.add_decision(tx, msgspec.structs.replace(given, event_seq=event.seq))
    decided = msgspec.structs.replace(
        approval,
        status=status,
        decided_by=given.principal,
        decided_at=tx.now,
        reason=given.reason,
        valid_until=_usable_until((*approval.decisions, given), status),
    )
    _put(tx, decided, approval.status)
    return get(tx, approval.id)


def _valid_until(tx: Tx, approval: Approval, decision: Decision) -> datetime | None:
    """Until when a grant that is given now counts."""
    if approval.valid_for_s is None or not decision.grant:
        return None
    return counting.later(tx.now, approval.valid_for_s)


def _take_back(tx: Tx, approval: Approval, decision: ApprovalDecision, because: str, event: str) -> Approval:
    """Strike a grant; the request waits for another one, unless its time to decide is over."""
    _strike(tx, decision, tx.actor, because)
    left = get(tx, approval.id)
    status = approval.status
    if status is ApprovalStatus.GRANTED and left.granted < approval.needed:
        status = ApprovalStatus.REQUESTED if tx.now < approval.expires_at else ApprovalStatus.EXPIRED
    until = _usable_until(left.decisions, status)
    changed = msgspec.structs.replace(left, status=status, reason=because, valid_until=until)
    _put(tx, changed, approval.status)
    facts = {"principal": decision.principal, "because": because, "status": status, "granted": left.granted}
    events.append(tx, event, _subject(approval), {**_facts(approval), **facts})
    return get(tx, approval.id)


def _usable_until(decisions: Sequence[ApprovalDecision], status: ApprovalStatus) -> datetime | None:
    """Until when a request that is granted may be used: until the first of its grants ends."""
    if status is not ApprovalStatus.GRANTED:
        return None
    return min((each.valid_until for each in decisions if each.counts and each.valid_until), default=None)


def _strike(tx: Tx, decision: ApprovalDecision, by: str, because: str) -> None:
    struck = msgspec.structs.replace(decision, revoked_at=tx.now, revoked_by=by, revoked_because=because)
    tables_approvals.put_decision(tx, struck)


def _own(approval: Approval, name: str) -> ApprovalDecision | None:
    for decision in approval.decisions:
        if decision.principal == name and decision.revoked_at is None:
            return decision
    return None


def _same_bytes(tx: Tx, approval: Approval) -> None:
    if digest_of(tx, approval.model, approval.number) != approval.digest:
        raise PolicyRefused(
            "the version's files are not those that the approval was asked for",
            where=_subject(approval),
            fix="Ask again about what is there now.",
        )


def _well_said(approval: Approval, decision: Decision, known: tuple[str, ...]) -> None:
    where = _subject(approval)
    for field in ("reason", "meaning"):
        if len(getattr(decision, field)) > TEXT_LIMIT:
            raise InvalidInput(f"a {field} has at most {TEXT_LIMIT} characters", where=field)
    if approval.signed and decision.grant and not decision.meaning.strip():
        raise InvalidInput(
            "say what the approval means: the policy asks for it",
            where="meaning",
            fix='For example --meaning "I have reviewed the evidence and accept the risk."',
        )
    if approval.signed and not decision.grant and not decision.reason.strip():
        raise InvalidInput("say why it is refused: the policy asks for it", where="reason")
    if decision.seen is not None and set(decision.seen) != set(known):
        raise Conflict("there is evidence that was not seen", where=where, fix="Look again, then decide.")


def _record_attempt(
    approval: Approval, decision: Decision, principal: Principal, problem: HeadraceError, tx: Tx, _address: str
) -> HeadraceError:
    """Record that somebody tried to decide and was not allowed to, after the attempt was rolled back."""
    attempt = {"attempted_by": principal.id, "grant": decision.grant, "because": problem.message}
    events.append(tx, "registry.approval_attempt_refused", _subject(approval), {**_facts(approval), **attempt})
    return problem


# -- ends ---------------------------------------------------------------------------------------------------


def expire(tx: Tx, approval: Approval) -> Approval:
    """Close a request whose time is over."""
    late = approval.status is ApprovalStatus.GRANTED
    reason = "it was not used in time" if late else "nobody decided in time"
    return _close(tx, approval, ApprovalStatus.EXPIRED, reason, "registry.approval_expired")


def _close(tx: Tx, approval: Approval, status: ApprovalStatus, reason: str, event: str) -> Approval:
    closed = msgspec.structs.replace(approval, status=status, reason=reason)
    _put(tx, closed, approval.status)
    events.append(tx, event, _subject(closed), {**_facts(closed), "reason": reason})
    return closed


def _put(tx: Tx, approval: Approval, before: ApprovalStatus) -> None:
    if not tables_approvals.put_approval(tx, approval, before=before):
        raise InternalError("the request was changed meanwhile", where=_subject(approval))


def _check(asked: RequestApproval) -> None:
    if asked.role not in {role.value for role in Role}:
        raise InvalidInput(f"there is no role {asked.role!r}", where="role")
    if asked.expires_s <= 0:
        raise InvalidInput("an approval needs a time to live above zero", where="expires_s")
    if asked.needed < 1:
        raise InvalidInput("an approval needs somebody to grant it", where="needed")
    if len(asked.why) > TEXT_LIMIT:
        raise InvalidInput(f"a reason has at most {TEXT_LIMIT} characters", where="why")


def _subject(approval: Approval) -> str:
    return f"approval/{approval.id}"


def _facts(approval: Approval) -> dict[str, object]:
    return {
        "approval_id": approval.id,
        "model": approval.model,
        "number": approval.number,
        "digest": approval.digest,
        "target": approval.target,
        "wish": wish_of(approval.target),
        "release_id": approval.release_id,
        "role": approval.role,
        "needed": approval.needed,
        "governed_by": approval.governed_by,
    }


SUBSCRIBERS = [
    Subscriber("registry.approvals", ("kernel.role_revoked", "kernel.principal_disabled"), on_access_lost),
]
"""A grant falls with the role that it was given by."""
