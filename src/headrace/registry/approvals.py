"""Approvals: somebody answers for a version, by name, on exactly these bytes, before a deadline.

A request is bound to the version's digest. Under four eyes neither the version's author nor whoever asked may
decide, and neither the login-free local principal nor the platform's own processes ever count as a second pair
of eyes. Deadlines are wall time.
"""

from datetime import timedelta

import msgspec

from headrace.errors import Conflict, InvalidInput, NotFound, PermissionRefused, PolicyRefused
from headrace.kernel import events
from headrace.kernel.access import Principal, Role, permits
from headrace.kernel.database import Tx
from headrace.kernel.ids import new_id
from headrace.registry import tables, versions
from headrace.registry.nouns import Approval, ApprovalStatus, Decision, RequestApproval


def request(tx: Tx, asked: RequestApproval) -> Approval:
    """Ask for an approval; while one is open for the release, that one is the answer.

    Raises:
        NotFound: there is no such version.
        InvalidInput: the role is unknown, or the time to live is not positive.
    """
    version = versions.get(tx, asked.model, asked.number)
    _check(asked)
    if asked.release_id is not None:
        for open_request in tables.list_approvals(tx, status=ApprovalStatus.REQUESTED, release_id=asked.release_id):
            return open_request
    approval = Approval(
        id=new_id("apr"),
        model=asked.model,
        number=asked.number,
        digest=version.digest,
        release_id=asked.release_id,
        role=asked.role,
        four_eyes=asked.four_eyes,
        excluded=tuple(sorted({version.author, version.created_by, tx.actor, *asked.excluded})),
        status=ApprovalStatus.REQUESTED,
        requested_by=tx.actor,
        requested_at=tx.now,
        expires_at=tx.now + timedelta(seconds=asked.expires_s),
    )
    tables.add_approval(tx, approval)
    events.append(tx, "registry.approval_requested", _subject(approval), _facts(approval))
    return approval


def get(tx: Tx, approval_id: str) -> Approval:
    """One request for approval.

    Raises:
        NotFound: there is none.
    """
    approval = tables.find_approval(tx, approval_id)
    if approval is None:
        raise NotFound("there is no such request for approval", where=f"approval/{approval_id}")
    return approval


def search(
    tx: Tx,
    *,
    status: ApprovalStatus | None = None,
    model: str | None = None,
    release_id: str | None = None,
    limit: int = 200,
) -> tuple[Approval, ...]:
    """Requests for approval, newest first."""
    return tables.list_approvals(tx, status=status, model=model, release_id=release_id, limit=limit)


def decide(tx: Tx, approval_id: str, decision: Decision, principal: Principal) -> Approval:
    """Grant or refuse an open request; the same answer by the same principal again changes nothing.

    The refusals below leave no trace in this transaction, since it is rolled back: whoever opened it records
    them with `record_refused_attempt` in one of its own.

    Raises:
        NotFound: there is no such request.
        PermissionRefused: the principal lacks the role that the request asks for.
        PolicyRefused: four eyes forbid this principal, or the version's bytes are no longer those asked for.
        Conflict: the request is closed, or its time is over.
    """
    approval = get(tx, approval_id)
    wanted = ApprovalStatus.GRANTED if decision.grant else ApprovalStatus.REFUSED
    if approval.status is not ApprovalStatus.REQUESTED:
        if approval.status is wanted and approval.decided_by == principal.id:
            return approval
        raise Conflict(f"the request is already {approval.status.value}", where=f"approval/{approval.id}")
    if tx.now >= approval.expires_at:
        raise Conflict(
            "the time to decide is over",
            where=f"approval/{approval.id}",
            fix="Resume the release; that asks again.",
        )
    _may_decide(approval, principal)
    version = versions.get(tx, approval.model, approval.number)
    if version.digest != approval.digest:
        raise PolicyRefused(
            "the version's files are not those that the approval was asked for",
            where=f"approval/{approval.id}",
            fix="Open a new release of the version.",
        )
    event = "registry.approval_granted" if decision.grant else "registry.approval_refused"
    return _close(tx, approval, wanted, principal.id, decision.reason, event)


def record_refused_attempt(
    tx: Tx, approval_id: str, decision: Decision, principal: Principal, problem: PermissionRefused
) -> None:
    """Record that somebody tried to decide and was not allowed to, after the attempt was rolled back."""
    approval = get(tx, approval_id)
    facts = _facts(approval)
    attempt = {"attempted_by": principal.id, "grant": decision.grant, "because": problem.message}
    events.append(tx, "registry.approval_attempt_refused", _subject(approval), {**facts, **attempt})


def workspaces_due(tx: Tx) -> tuple[str, ...]:
    """The workspaces in which an open request's time is over."""
    return tables.workspaces_with_expired(tx)


def expire_due(tx: Tx) -> tuple[Approval, ...]:
    """Close every open request whose time is over; returns them."""
    due = tables.list_approvals(tx, status=ApprovalStatus.REQUESTED, expired_at=tx.now)
    return tuple(
        _close(tx, approval, ApprovalStatus.EXPIRED, None, "nobody decided in time", "registry.approval_expired")
        for approval in due
    )


def withdraw(tx: Tx, release_id: str, reason: str) -> None:
    """Close the open request of a release that no longer needs it."""
    for approval in tables.list_approvals(tx, status=ApprovalStatus.REQUESTED, release_id=release_id):
        _close(tx, approval, ApprovalStatus.WITHDRAWN, None, reason, "registry.approval_withdrawn")


def _may_decide(approval: Approval, principal: Principal) -> None:
    where = f"approval/{approval.id}"
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
            f"{principal.id!r} made the version or asked for its release; four eyes need somebody else",
            where=where,
            fix=f"Ask another principal with the role {approval.role!r}.",
        )


def _close(
    tx: Tx, approval: Approval, status: ApprovalStatus, decided_by: str | None, reason: str, event: str
) -> Approval:
    closed = msgspec.structs.replace(
        approval, status=status, decided_by=decided_by, decided_at=tx.now, reason=reason
    )
    tables.close_approval(tx, closed)
    events.append(tx, event, _subject(closed), {**_facts(closed), "reason": reason, "decided_by": decided_by})
    return closed


def _check(asked: RequestApproval) -> None:
    if asked.role not in {role.value for role in Role}:
        raise InvalidInput(f"there is no role {asked.role!r}", where="role")
    if asked.expires_s <= 0:
        raise InvalidInput("an approval needs a time to live above zero", where="expires_s")


def _subject(approval: Approval) -> str:
    return f"approval/{approval.id}"


def _facts(approval: Approval) -> dict[str, object]:
    return {
        "approval_id": approval.id,
        "model": approval.model,
        "number": approval.number,
        "digest": approval.digest,
        "release_id": approval.release_id,
        "role": approval.role,
    }
