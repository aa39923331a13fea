"""Telling who may approve: a message to a request's channels when it is filed, a grant falls, or its time runs out.

The message goes through monitoring's jobs: asked for in the transaction that hears of the request, and sent by a
worker at least once. It holds no ticket: who reads it decides with a login of their own, or asks for a link.
"""

from functools import partial

from headrace.delivery.apart import each_apart
from headrace.kernel.database import Tx
from headrace.kernel.events import Event
from headrace.monitoring import alerts
from headrace.registry import approvals, reminders, rules
from headrace.registry.approval import Approval
from headrace.registry.nouns import ApprovalStatus

WHY_LIMIT = 500

FELL = ("registry.approval_revoked", "registry.approval_voided")
"""A grant was taken back or counts no more, under which a release may have traffic already; or all is over."""
EVENTS = ("registry.approval_requested", "registry.approval_reopened", *FELL)


def on_asked(tx: Tx, event: Event) -> None:
    """Tell the channels of a request that was filed, or that needs more grants than it has by now."""
    approval = approvals.get(tx, str(event.payload["approval_id"]))
    if approval.status is ApprovalStatus.REQUESTED:
        question = "a grant fell, who approves it?" if event.type in FELL else "who approves it?"
        _tell(tx, approval, f"asked/{event.seq}", f"{approval.about} is to {approval.wish}: {question}")


def are_due(tx: Tx) -> bool:
    """Whether `remind` would tell anybody; only reads."""
    return bool(reminders.workspaces(tx))


def remind(tx: Tx) -> None:
    """Tell the channels of every request whose time runs out, once."""
    each_apart(
        (there, partial(_remind, found=found))
        for there in map(tx.within, reminders.workspaces(tx))
        for found in reminders.due(there)
    )


def _remind(tx: Tx, found: Approval) -> None:
    approval = approvals.get(tx, found.id)
    left = rules.age_of(approval.expires_at - tx.now)
    title = f"{approval.about} is to {approval.wish}: still too few have decided, and {left} are left"
    _tell(tx, approval, "expiring", title)
    reminders.done(tx, found)


def _tell(tx: Tx, approval: Approval, transition: str, title: str) -> None:
    why = f": {approval.why[:WHY_LIMIT]}" if approval.why else ""
    policies = f" So asks the policy {', '.join(approval.governed_by)}." if approval.governed_by else ""
    text = (
        f"{approval.requested_by} asks{why}. It has {approval.granted} of"
        f" {rules.count_of(approval.needed, approval.role)}, and is open until"
        f" {approval.expires_at:%Y-%m-%d %H:%M} UTC.{policies} Look: headrace approvals show {approval.id}"
    )
    alerts.tell(tx, f"approval/{approval.id}", transition, title, text, approval.notify)
