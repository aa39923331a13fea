"""Statements on policies, requests for approval, decisions on them, and links to decide by."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.registry.approval import Approval, ApprovalDecision, LinkRecord
from headrace.registry.nouns import ApprovalStatus
from headrace.registry.rules import ANY_MODEL, Policy
from headrace.registry.tables import approval_decisions, approval_links, approvals, policies

T = TypeVar("T", bound=msgspec.Struct)

_APPROVAL_COLUMNS = frozenset(
    {"id", "model", "number", "digest", "target", "release_id", "status", "requested_at", "remind_at"}
)
_DECISION_COLUMNS = frozenset({"id", "approval_id", "principal", "revoked_at"})
_COMPUTED = frozenset({"decisions", "missing", "counts", "why_not"})
_WAITING = (ApprovalStatus.REQUESTED.value, ApprovalStatus.GRANTED.value)


def _fields(record: msgspec.Struct) -> dict[str, Any]:
    return dict(msgspec.to_builtins(record, builtin_types=(datetime,)))


def _columns(record: msgspec.Struct, named: frozenset[str]) -> dict[str, Any]:
    """A record as values for its columns; what has no column of its own is in the document."""
    fields = _fields(record)
    document = {name: value for name, value in fields.items() if name not in named | _COMPUTED}
    return {**{name: value for name, value in fields.items() if name in named}, "document": document}


def _record(row: sa.RowMapping, kind: type[T]) -> T:
    """The record of a row; what its document lacks, since it was written before, has its default."""
    columns = {str(name): value for name, value in row.items() if name not in {"document", "workspace"}}
    return msgspec.convert({**row.get("document", {}), **columns}, kind)


# -- policies -----------------------------------------------------------------------------------------------


def put_policy(tx: Tx, policy: Policy) -> None:
    """Set a policy in the place of the one on the same stage or pattern."""
    keys = {"workspace": tx.workspace, "model": policy.model, "kind": policy.kind, "pattern": policy.pattern}
    statement = insert(tx, policies).values(**keys, document=policy)
    tx.execute(statement.on_conflict_do_update(index_elements=list(keys), set_={"document": policy}))


def drop_policy(tx: Tx, policy: Policy) -> None:
    """Remove a policy."""
    tx.execute(
        sa.delete(policies).where(
            policies.c.workspace == tx.workspace,
            policies.c.model == policy.model,
            policies.c.kind == policy.kind,
            policies.c.pattern == policy.pattern,
        )
    )


def list_policies(tx: Tx, *models: str) -> tuple[Policy, ...]:
    """The policies of some models and those of all models; of every model when none is named."""
    query = (
        sa.select(policies.c.model, policies.c.document)
        .where(policies.c.workspace == tx.workspace)
        .order_by(policies.c.model, policies.c.kind.desc(), policies.c.pattern)
    )
    if models:
        query = query.where(policies.c.model.in_([*models, ANY_MODEL]))
    return tuple(
        msgspec.convert({**row.document, "model": row.model}, Policy)  # the name may have changed
        for row in tx.execute(query)
    )


# -- requests for approval ----------------------------------------------------------------------------------


def _due(approval: Approval) -> datetime | None:
    return approval.valid_until if approval.status is ApprovalStatus.GRANTED else approval.expires_at


def add_approval(tx: Tx, approval: Approval) -> bool:
    """Insert a request; False when one that waits asks for the same."""
    values = _columns(approval, _APPROVAL_COLUMNS)
    statement = insert(tx, approvals).values(workspace=tx.workspace, due_at=_due(approval), **values)
    return tx.execute(statement.on_conflict_do_nothing()).rowcount == 1


def find_approval(tx: Tx, approval_id: str, *, lock: bool = False) -> Approval | None:
    """One request without its decisions; `lock` keeps others from changing it until the transaction ends."""
    query = sa.select(approvals).where(approvals.c.workspace == tx.workspace, approvals.c.id == approval_id)
    row = tx.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    return None if row is None else _approval(row)


def _approval(row: sa.RowMapping) -> Approval:
    return _record(row, Approval)


def list_approvals(
    tx: Tx,
    *,
    status: ApprovalStatus | None = None,
    model: str | None = None,
    release_id: str | None = None,
    limit: int = 200,
) -> tuple[Approval, ...]:
    """Requests, newest first."""
    query = (
        sa.select(approvals)
        .where(approvals.c.workspace == tx.workspace)
        .order_by(approvals.c.requested_at.desc(), approvals.c.id.desc())
        .limit(limit)
    )
    if status is not None:
        query = query.where(approvals.c.status == status.value)
    if model is not None:
        query = query.where(approvals.c.model == model)
    if release_id is not None:
        query = query.where(approvals.c.release_id == release_id)
    return tuple(_approval(row) for row in tx.execute(query).mappings())


def newest_approval(tx: Tx, model: str, number: int, digest: str, target: str) -> Approval | None:
    """The newest request, of no release, for a change of these bytes; one that waits goes before all others."""
    query = (
        sa.select(approvals)
        .where(
            approvals.c.workspace == tx.workspace,
            approvals.c.model == model,
            approvals.c.number == number,
            approvals.c.digest == digest,
            approvals.c.target == target,
            approvals.c.release_id.is_(None),
        )
        .order_by(approvals.c.status.in_(_WAITING).desc(), approvals.c.requested_at.desc(), approvals.c.id.desc())
        .limit(1)
    )
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _approval(row)


def waiting_of_release(tx: Tx, release_id: str) -> Approval | None:
    """The request of a release that waits."""
    query = sa.select(approvals).where(
        approvals.c.workspace == tx.workspace,
        approvals.c.release_id == release_id,
        approvals.c.status.in_(_WAITING),
    )
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _approval(row)


def waiting_about(tx: Tx, model: str, number: int | None = None) -> tuple[Approval, ...]:
    """The requests that wait about a version, or about a model and all of its versions."""
    query = sa.select(approvals).where(
        approvals.c.workspace == tx.workspace, approvals.c.model == model, approvals.c.status.in_(_WAITING)
    )
    if number is not None:
        query = query.where(approvals.c.number == number)
    return tuple(_approval(row) for row in tx.execute(query.order_by(approvals.c.id)).mappings())


def due_approvals(tx: Tx) -> tuple[Approval, ...]:
    """The requests whose time is over now."""
    query = sa.select(approvals).where(
        approvals.c.workspace == tx.workspace, approvals.c.status.in_(_WAITING), approvals.c.due_at <= tx.now
    )
    return tuple(_approval(row) for row in tx.execute(query.order_by(approvals.c.id)).mappings())


def workspaces_with_due(tx: Tx) -> tuple[str, ...]:
    """The workspaces that hold a request whose time is over now."""
    query = (
        sa.select(approvals.c.workspace)
        .distinct()
        .where(approvals.c.status.in_(_WAITING), approvals.c.due_at <= tx.now)
    )
    return tuple(tx.execute(query).scalars())


def approvals_to_remind(tx: Tx) -> tuple[Approval, ...]:
    """The requests whose time runs out, and of which nobody was reminded yet."""
    query = sa.select(approvals).where(approvals.c.workspace == tx.workspace, *_running_out(tx))
    return tuple(_approval(row) for row in tx.execute(query.order_by(approvals.c.id)).mappings())


def workspaces_to_remind(tx: Tx) -> tuple[str, ...]:
    """The workspaces that hold such a request."""
    query = sa.select(approvals.c.workspace).distinct().where(*_running_out(tx))
    return tuple(tx.execute(query).scalars())


def _running_out(tx: Tx) -> tuple[sa.ColumnElement[bool], ...]:
    return approvals.c.status == ApprovalStatus.REQUESTED.value, approvals.c.remind_at <= tx.now


def put_approval(tx: Tx, approval: Approval, *, before: ApprovalStatus) -> bool:
    """Write a request back; False when it has not got the status any more that it had."""
    values = _columns(approval, _APPROVAL_COLUMNS)
    changed = tx.execute(
        sa.update(approvals)
        .where(
            approvals.c.workspace == tx.workspace,
            approvals.c.id == approval.id,
            approvals.c.status == before.value,
        )
        .values(
            status=values["status"],
            due_at=_due(approval),
            remind_at=values["remind_at"],
            document=values["document"],
        )
    )
    return changed.rowcount == 1


# -- decisions ----------------------------------------------------------------------------------------------


def add_decision(tx: Tx, decision: ApprovalDecision) -> None:
    """Append a decision."""
    values = _columns(decision, _DECISION_COLUMNS)
    tx.execute(sa.insert(approval_decisions).values(workspace=tx.workspace, **values))


def put_decision(tx: Tx, decision: ApprovalDecision) -> None:
    """Write a decision back, as one that was revoked."""
    values = _columns(decision, _DECISION_COLUMNS)
    tx.execute(
        sa.update(approval_decisions)
        .where(approval_decisions.c.workspace == tx.workspace, approval_decisions.c.id == decision.id)
        .values(revoked_at=values["revoked_at"], document=values["document"])
    )


def list_decisions(tx: Tx, approval_ids: Sequence[str]) -> dict[str, list[ApprovalDecision]]:
    """The decisions on some requests, oldest first."""
    query = (
        sa.select(approval_decisions)
        .where(
            approval_decisions.c.workspace == tx.workspace,
            approval_decisions.c.approval_id.in_(approval_ids),
        )
        .order_by(approval_decisions.c.id)
    )
    found: dict[str, list[ApprovalDecision]] = {each: [] for each in approval_ids}
    for row in tx.execute(query).mappings():
        found[row["approval_id"]].append(_record(row, ApprovalDecision))
    return found


def standing_decisions_of(tx: Tx, principal: str) -> tuple[ApprovalDecision, ...]:
    """What one person decided on requests that wait, and did not revoke."""
    query = (
        sa.select(approval_decisions)
        .join(
            approvals,
            sa.and_(
                approvals.c.workspace == approval_decisions.c.workspace,
                approvals.c.id == approval_decisions.c.approval_id,
            ),
        )
        .where(
            approval_decisions.c.workspace == tx.workspace,
            approval_decisions.c.principal == principal,
            approval_decisions.c.revoked_at.is_(None),
            approvals.c.status.in_(_WAITING),
        )
        .order_by(approval_decisions.c.id)
    )
    return tuple(_record(row, ApprovalDecision) for row in tx.execute(query).mappings())


# -- links --------------------------------------------------------------------------------------------------


def add_link(tx: Tx, link: LinkRecord) -> None:
    """Keep a link that is issued."""
    tx.execute(sa.insert(approval_links).values(workspace=tx.workspace, **_fields(link)))


def find_link(tx: Tx, link_id: str) -> LinkRecord | None:
    """One link."""
    query = sa.select(approval_links).where(
        approval_links.c.workspace == tx.workspace, approval_links.c.id == link_id
    )
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _record(row, LinkRecord)


def use_link(tx: Tx, link_id: str) -> bool:
    """Mark a link as used; False when it was before."""
    unused = sa.and_(
        approval_links.c.workspace == tx.workspace,
        approval_links.c.id == link_id,
        approval_links.c.used_at.is_(None),
    )
    return tx.execute(sa.update(approval_links).where(unused).values(used_at=tx.now)).rowcount == 1
