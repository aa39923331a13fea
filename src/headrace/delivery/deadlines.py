"""Deadlines of approvals: nobody decided in time, so the release waits until somebody asks again.

A look of its own beside the canary's, so that trouble with one never keeps the other from its work.
"""

from headrace.delivery import releases
from headrace.delivery.machine import ExpireApproval
from headrace.kernel.database import Tx
from headrace.registry import approvals


def are_due(tx: Tx) -> bool:
    """Whether `lapse` would close a request; only reads."""
    return bool(approvals.workspaces_due(tx))


def lapse(tx: Tx) -> None:
    """Close every request whose time is over, and tell its release."""
    for workspace in approvals.workspaces_due(tx):
        there = tx.within(workspace)
        for lapsed in approvals.expire_due(there):
            if lapsed.release_id is not None:
                releases.execute(there, lapsed.release_id, ExpireApproval())
