"""The HTTP door of policies and approvals."""

from typing import Annotated

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, SkipValidation

from headrace.errors import InvalidInput
from headrace.kernel.access import Principal, Role
from headrace.kernel.database import Transactions
from headrace.kernel.events import Event
from headrace.kernel.tickets import Tickets
from headrace.registry import approvals, governed, links, policies
from headrace.registry.approval import (
    Approval,
    ApprovalLink,
    AskForApproval,
    AskForLink,
    Decision,
    Revocation,
    Withdrawal,
)
from headrace.registry.nouns import ApprovalStatus
from headrace.registry.rules import ModelPolicies, Policy, PolicyToSet

PageSize = Annotated[int, QueryParameter(ge=1, le=1_000)]


@get("/api/v1/policies")
async def list_policies(transactions: NamedDependency[Transactions]) -> tuple[Policy, ...]:
    """Every policy that is set."""
    return await transactions.read(policies.search)


@put("/api/v1/policies")
async def set_policy(data: JSONBody[PolicyToSet], transactions: NamedDependency[Transactions]) -> Policy:
    """Set a policy on a stage or an alias of a model, or of all with `*`, in the place of the one before it."""
    return await transactions.write(lambda tx: policies.put(tx, data.policy))


@get("/api/v1/policies/{model:str}")
async def get_policies(model: FromPath[str], transactions: NamedDependency[Transactions]) -> ModelPolicies:
    """What governs a model, stage by stage and alias by alias, and where each comes from."""
    return await transactions.read(lambda tx: policies.effective(tx, model))


@delete("/api/v1/policies/{model:str}", status_code=200)
async def remove_policy(
    model: FromPath[str],
    transactions: NamedDependency[Transactions],
    stage: FromQuery[str | None] = None,
    alias: FromQuery[str | None] = None,
) -> Policy:
    """Remove the policy on a stage or an alias."""
    if (stage is None) == (alias is None):
        raise InvalidInput("name a stage or an alias, one of them", where="stage")
    governs = f"alias/{alias}" if stage is None else f"stage/{stage}"
    return await transactions.write(lambda tx: policies.remove(tx, model, governs))


@get("/api/v1/policies/{model:str}/history")
async def get_policy_history(model: FromPath[str], transactions: NamedDependency[Transactions]) -> list[Event]:
    """Every change of a model's policies, oldest first, with what was loosened."""
    return await transactions.read(lambda tx: policies.history(tx, model))


@get("/api/v1/approvals")
async def list_approvals(
    transactions: NamedDependency[Transactions],
    status: FromQuery[ApprovalStatus | None] = None,
    model: FromQuery[str | None] = None,
    limit: PageSize = 200,
) -> tuple[Approval, ...]:
    """Requests for approval with their decisions, newest first."""
    return await transactions.read(lambda tx: approvals.search(tx, status=status, model=model, limit=limit))


@post("/api/v1/approvals")
async def request_approval(data: JSONBody[AskForApproval], transactions: NamedDependency[Transactions]) -> Approval:
    """Ask for the approvals of a change ahead of it; while a request for the same waits, that is the answer."""
    return await transactions.write(lambda tx: governed.ask(tx, data))


@get("/api/v1/approvals/{approval_id:str}")
async def get_approval(approval_id: FromPath[str], transactions: NamedDependency[Transactions]) -> Approval:
    """One request for approval with its decisions, whether each counts now, and what else is missing."""
    return await transactions.read(lambda tx: governed.look_at(tx, approval_id))


@post("/api/v1/approvals/{approval_id:str}/decision", status_code=200)
async def decide_approval(
    approval_id: FromPath[str],
    data: JSONBody[Decision],
    transactions: NamedDependency[Transactions],
    principal: NamedDependency[Principal],
) -> Approval:
    """Grant or refuse; an attempt that is not allowed is recorded before it is refused."""
    return await transactions.write(lambda tx: approvals.decide(tx, approval_id, data, principal))


@post("/api/v1/approvals/{approval_id:str}/revoke", status_code=200)
async def revoke_approval(
    approval_id: FromPath[str],
    data: JSONBody[Revocation],
    transactions: NamedDependency[Transactions],
    principal: NamedDependency[Principal],
) -> Approval:
    """Take a grant back that has not been used: one's own, or as an admin anybody's."""
    return await transactions.write(lambda tx: approvals.revoke(tx, approval_id, data, principal))


@post("/api/v1/approvals/{approval_id:str}/withdraw", status_code=200)
async def withdraw_approval(
    approval_id: FromPath[str],
    data: JSONBody[Withdrawal],
    transactions: NamedDependency[Transactions],
    principal: NamedDependency[Principal],
) -> Approval:
    """Close a request that whoever asked, or an admin, no longer wants."""
    return await transactions.write(lambda tx: approvals.withdraw_request(tx, approval_id, data.reason, principal))


@post("/api/v1/approvals/{approval_id:str}/links")
async def issue_link(
    approval_id: FromPath[str],
    data: JSONBody[AskForLink],
    transactions: NamedDependency[Transactions],
    principal: NamedDependency[Principal],
    tickets: NamedDependency[SkipValidation[Tickets]],
) -> ApprovalLink:
    """Make a link by which one person decides once without logging in; its address is in this answer alone."""
    link, ticket = await transactions.write(lambda tx: links.issue(tx, approval_id, data, principal))
    valid_for = link.expires_at - link.issued_at
    sealed = tickets.issue(links.PURPOSE, ticket, now=link.issued_at, valid_for=valid_for)
    return ApprovalLink(
        id=link.id,
        approval_id=link.approval_id,
        principal=link.principal,
        expires_at=link.expires_at,
        url=f"{transactions.address()}/approvals/{link.approval_id}/decide?ticket={sealed}",
    )


HANDLERS = [
    list_policies, set_policy, get_policies, remove_policy, get_policy_history,
    list_approvals, request_approval, get_approval, decide_approval, revoke_approval, withdraw_approval, issue_link,
]  # fmt: skip

AUTHORIZATION = {
    "GET /api/v1/policies": Role.VIEWER,
    "PUT /api/v1/policies": Role.ADMIN,
    "GET /api/v1/policies/{model}": Role.VIEWER,
    "DELETE /api/v1/policies/{model}": Role.ADMIN,
    "GET /api/v1/policies/{model}/history": Role.VIEWER,
    "GET /api/v1/approvals": Role.VIEWER,
    "POST /api/v1/approvals": Role.DEVELOPER,
    "GET /api/v1/approvals/{approval_id}": Role.VIEWER,
    # every role reaches these, so that an attempt without the right role is refused, and recorded, by the verb
    "POST /api/v1/approvals/{approval_id}/decision": Role.VIEWER,
    "POST /api/v1/approvals/{approval_id}/revoke": Role.VIEWER,
    "POST /api/v1/approvals/{approval_id}/withdraw": Role.VIEWER,
    "POST /api/v1/approvals/{approval_id}/links": Role.VIEWER,
}
