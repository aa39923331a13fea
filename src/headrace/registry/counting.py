"""Which grants count now: a grant stands by the role, the clock and the bytes of the moment at which it is used."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from headrace.kernel import access, events
from headrace.kernel.access import Principal, Role, permits
from headrace.kernel.database import Tx
from headrace.kernel.events import Event
from headrace.registry import tables_approvals
from headrace.registry.approval import Approval, ApprovalDecision
from headrace.registry.nouns import ApprovalStatus
from headrace.registry.rules import CLOCK_STEP

_LATEST = timedelta(days=3650)
_LOSSES = {"kernel.role_revoked", "kernel.principal_disabled"}


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a grant is held to, beyond what its request asked for: what policies ask for by now.

    Attributes:
        role: which role it takes; None for the one that the request names.
        four_eyes: whether four eyes are asked for, even if the request does not.
        valid_for: how long a grant counts, if that is shorter than what the request said; None without end.
    """

    role: str | None = None
    four_eyes: bool = False
    valid_for: timedelta | None = None


AS_ASKED = Terms()


def counted(tx: Tx, approvals: Sequence[Approval], terms: Terms = AS_ASKED) -> list[Approval]:
    """The requests with their decisions and whether each counts now."""
    decisions = tables_approvals.list_decisions(tx, [approval.id for approval in approvals])
    return [
        msgspec.structs.replace(
            approval,
            decisions=tuple(_judged(tx, approval, each, terms) for each in decisions[approval.id]),
        )
        for approval in approvals
    ]


def _judged(tx: Tx, approval: Approval, decision: ApprovalDecision, terms: Terms) -> ApprovalDecision:
    if decision.revoked_at is not None or not decision.grant:
        return decision
    why_not = _why_not(tx, approval, decision, terms) if approval.status.waits else ""
    return msgspec.structs.replace(decision, counts=not why_not, why_not=why_not)


def _why_not(tx: Tx, approval: Approval, decision: ApprovalDecision, terms: Terms) -> str:
    """Why a grant that nobody took back does not count now; empty when it does."""
    name, role = decision.principal, terms.role or approval.role
    ends = [decision.valid_until, None if terms.valid_for is None else decision.at + terms.valid_for]
    if any(end is not None and tx.now >= end for end in ends):
        return "its time is over"
    if decision.at > tx.now + CLOCK_STEP:
        return "it is dated later than now: a clock was set back"
    if decision.digest != approval.digest:
        return "it was given for other bytes"
    person = access.acting(tx.acting_as(name))
    if not permits(person, Role(role)):
        return f"{name} is disabled" if person.disabled else f"{name} has not got the role {role}"
    if (approval.four_eyes or terms.four_eyes) and (person.is_local or name in approval.excluded):
        return f"{name} is no second pair of eyes"
    return lost_since(tx, name, role, decision.event_seq)


def lost_since(tx: Tx, name: str, role: str, seq: int) -> str:
    """What somebody who has a role lost after an event, even if it was given back since; empty for nothing."""
    for event in events.of_subject(tx, f"principal/{name}", after=seq):
        if event.type in _LOSSES and lost(event, name, role):
            return loss_of(event, name, role)
    return ""


def lost(event: Event, name: str, role: str) -> bool:
    """Whether an event took from somebody what deciding needs, even if it was given back since."""
    if event.type == "kernel.principal_disabled":
        return True
    left = tuple(Role(each) for each in event.payload.get("roles", ()))
    return not permits(Principal(id=name, name=name, roles=left), Role(role))


def loss_of(event: Event, name: str, role: str) -> str:
    """What an event took from somebody, for people."""
    if event.type == "kernel.principal_disabled":
        return f"{name} was disabled"
    return f"the role {role} was taken from {name}"


def is_due(approval: Approval, now: datetime) -> bool:
    """Whether the time of a request that waits is over."""
    end = approval.valid_until if approval.status is ApprovalStatus.GRANTED else approval.expires_at
    return end is not None and now >= end


def later(now: datetime, seconds: float) -> datetime:
    """A moment after now, no further than ten years."""
    return now + min(_LATEST, timedelta(seconds=min(seconds, _LATEST.total_seconds())))


def digest_of_all(digests: Sequence[tuple[int, str]]) -> str:
    """The digest of a model as a whole: of the numbers and digests of all its versions."""
    return "sha256:" + hashlib.sha256(msgspec.json.encode(sorted(digests))).hexdigest()
