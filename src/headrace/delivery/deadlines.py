"""Deadlines of approvals: nobody decided in time, so the release waits until somebody asks again.

A look of its own beside the canary's, so that trouble with one never keeps the other from its work.
"""

from functools import partial

from headrace.delivery import releases
from headrace.delivery.apart import each_apart
from headrace.delivery.machine import ExpireApproval
from headrace.kernel.database import Tx
from headrace.registry import approvals
from headrace.registry.approval import Approval


def are_due(tx: Tx) -> bool:
    """Whether `lapse` would close a request; only reads."""
    return bool(approvals.workspaces_due(tx))


def lapse(tx: Tx) -> None:
    """Close every request whose time is over, and tell its release."""
    each_apart(
        (there, partial(_lapse, approval=approval))
        for there in map(tx.within, approvals.workspaces_due(tx))
        for approval in approvals.due(there)
    )


def _lapse(tx: Tx, approval: Approval) -> None:
    approvals.expire(tx, approval)
    if approval.release_id is not None:
        releases.execute(tx, approval.release_id, ExpireApproval())
