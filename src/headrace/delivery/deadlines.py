"""Deadlines of approvals: nobody decided in time, so the release waits until somebody asks again.

A look of its own beside the canary's, so that trouble with one never keeps the other from its work.
"""

from functools import partial

from headrace.delivery import releases
from headrace.delivery.machine import ExpireApproval
from headrace.kernel.database import Tx
from headrace.registry import approvals
from headrace.registry.approval import Approval


def are_due(tx: Tx) -> bool:
    """Whether `lapse` would close a request; only reads."""
    return bool(approvals.workspaces_due(tx))


def lapse(tx: Tx) -> None:
    """Close every request whose time is over, and tell its release.

    Each by itself: a release that cannot be told, say one that a later program wrote, keeps no other from its
    deadline. It is told by raising, once nobody else is due.
    """
    problem: Exception | None = None
    lapsed = 0
    for workspace in approvals.workspaces_due(tx):
        there = tx.within(workspace)
        for approval in approvals.due(there):
            try:
                there.apart(partial(_lapse, approval=approval))
                lapsed += 1
            except Exception as error:  # noqa: BLE001 - raised below, when it undoes nothing of the others
                problem = problem or error
    if problem is not None and not lapsed:
        raise problem


def _lapse(tx: Tx, approval: Approval) -> None:
    approvals.expire(tx, approval)
    if approval.release_id is not None:
        releases.execute(tx, approval.release_id, ExpireApproval())
