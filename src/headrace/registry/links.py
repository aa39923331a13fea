"""Links by which one person decides on one request without logging in: sealed, bound to the digest, good for once.

Whoever holds a link decides in its principal's name, so it is issued to oneself, or by an admin for somebody who
may decide; under four eyes never by whoever is not to decide.
"""

import msgspec

from headrace.errors import Conflict, NotFound, PermissionRefused, PolicyRefused
from headrace.kernel import access, events
from headrace.kernel.access import Principal, Role, permits
from headrace.kernel.database import Tx
from headrace.kernel.ids import new_id
from headrace.registry import approvals, counting, rules, tables_approvals
from headrace.registry.approval import Approval, AskForLink, Decision, LinkRecord, LinkTicket

PURPOSE = "approval link"
ANOTHER = "Ask for another."


def issue(tx: Tx, approval_id: str, asked: AskForLink, issuer: Principal) -> tuple[LinkRecord, LinkTicket]:
    """Make a link for one person on one request; the ticket is what has to be sealed into its address.

    Raises:
        NotFound: there is no such request or principal.
        InvalidInput: it would be valid for no time, or for too long.
        PermissionRefused: the issuer is neither that person nor an admin, or that person may not decide.
        PolicyRefused: four eyes forbid it to the issuer, or to that person.
        Conflict: the request is closed.
    """
    approval = approvals.get(tx, approval_id)
    valid_for = rules.window(asked.valid_for, "valid_for")
    where = f"approval/{approval.id}"
    if asked.principal != issuer.id and not permits(issuer, Role.ADMIN):
        raise PermissionRefused(
            "a link for somebody else is for an admin to issue",
            where=where,
            fix=f"Send {asked.principal} the address of the request instead.",
        )
    if approval.four_eyes and asked.principal != issuer.id and issuer.id in approval.excluded:
        raise PolicyRefused(
            f"{issuer.id!r} made the version or asked for this; who may not decide hands out no link to decide by",
            where=where,
            fix="Ask another admin.",
        )
    if not approval.status.waits:
        raise Conflict(f"the request is already {approval.status.value}", where=where)
    approvals.may_decide(approval, access.principal(tx, asked.principal))
    link = LinkRecord(
        id=new_id("lnk"),
        approval_id=approval.id,
        principal=asked.principal,
        issued_by=issuer.id,
        issued_at=tx.now,
        expires_at=min(approval.expires_at, counting.later(tx.now, valid_for.total_seconds())),
    )
    facts = {"link": link.id, "approval_id": approval.id, "for": link.principal, "expires_at": link.expires_at}
    event = events.append(tx, "registry.approval_link_issued", where, facts)
    tables_approvals.add_link(tx, msgspec.structs.replace(link, event_seq=event.seq))
    ticket = LinkTicket(link.id, approval.id, approval.digest, link.principal, tx.workspace)
    return link, ticket


def look(tx: Tx, ticket: LinkTicket) -> Approval:
    """The request that a link opens; looking changes nothing.

    Raises:
        PermissionRefused: the link is over, or its person may not decide any more.
    """
    approval = approvals.get(tx, ticket.approval_id)
    link = _require_open(tx, ticket)
    approvals.may_decide(approval, access.principal(tx, ticket.principal))
    _require_trusted(tx, link, approval)
    return approval


def answer(tx: Tx, ticket: LinkTicket, decision: Decision) -> Approval:
    """Decide by a link, which is used up by it; the same answer sent twice changes nothing.

    Raises:
        PermissionRefused: the link is over, or its person may not decide any more.
    """
    person = access.principal(tx, ticket.principal)
    approval = approvals.get(tx, ticket.approval_id, lock=True)
    if any(each.link == ticket.id and each.grant == decision.grant for each in approval.decisions):
        return approval
    link = _require_open(tx, ticket)
    decided = approvals.decide(tx, ticket.approval_id, decision, person, via="link", link=ticket.id)
    if decided.digest != ticket.digest or not tables_approvals.use_link(tx, ticket.id):
        raise _over()
    _require_trusted(tx, link, approval)
    return decided


def _require_open(tx: Tx, ticket: LinkTicket) -> LinkRecord:
    link = tables_approvals.find_link(tx, ticket.id)
    if link is None:
        raise NotFound("there is no such link", where="link")
    if link.used_at is not None or tx.now >= link.expires_at:
        raise _over()
    return link


def _require_trusted(tx: Tx, link: LinkRecord, approval: Approval) -> None:
    """Refuse a link whose person, or the admin who issued it, lost the role since, even if it was given back."""
    people = [(link.principal, approval.role)]
    people += [(link.issued_by, Role.ADMIN.value)] if link.issued_by != link.principal else []
    for name, role in people:
        because = counting.lost_since(tx, name, role, link.event_seq)
        if because:
            raise PermissionRefused(f"this link opens nothing any more: {because}", where="link", fix=ANOTHER)


def _over() -> PermissionRefused:
    return PermissionRefused("this link was used already, or its time is over", where="link", fix=ANOTHER)
