"""Reminders: when the time of a request for approval runs out, who may decide is told once more.

The registry says who is to be told and when; sending is for the rooms above it, which know channels.
"""

from datetime import datetime, timedelta

import msgspec

from headrace.errors import InternalError
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import counting, tables_approvals
from headrace.registry.approval import Approval, RequestApproval

LAST_PART = 0.25
"""Of the time that a request stands: what is left of it when a reminder is sent."""
AT_MOST = timedelta(days=1)


def moment(now: datetime, asked: RequestApproval) -> datetime:
    """When a request that is filed now is to be reminded of."""
    before_s = min(AT_MOST.total_seconds(), LAST_PART * asked.expires_s)
    return counting.later(now, asked.expires_s) - timedelta(seconds=before_s)


def workspaces(tx: Tx) -> tuple[str, ...]:
    """The workspaces in which the time of a request runs out."""
    return tables_approvals.workspaces_to_remind(tx)


def due(tx: Tx) -> tuple[Approval, ...]:
    """Every request whose time runs out, and of which nobody was reminded yet."""
    return tables_approvals.approvals_to_remind(tx)


def done(tx: Tx, approval: Approval) -> None:
    """Record that its channels are told, once."""
    told = msgspec.structs.replace(approval, remind_at=None)
    subject = f"approval/{approval.id}"
    if not tables_approvals.put_approval(tx, told, before=approval.status):
        raise InternalError("the request was changed meanwhile", where=subject)
    facts = {"approval_id": approval.id, "channels": approval.notify, "expires_at": approval.expires_at}
    events.append(tx, "registry.approval_reminded", subject, facts)
