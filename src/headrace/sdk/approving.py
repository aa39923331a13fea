"""Policies, and requests for approval with their decisions, as people handle them from Python."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from headrace.client.transport import Transport
from headrace.kernel.events import Event
from headrace.registry.approval import (
    Approval,
    ApprovalLink,
    AskForApproval,
    AskForLink,
    Decision,
    Revocation,
    Withdrawal,
)
from headrace.registry.rules import ModelPolicies, Policy


class Policies:
    """What changes of stages and aliases ask for, on one platform."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self) -> list[Policy]:
        """Every policy that is set."""
        return self._transport.call("GET", "/api/v1/policies", returns=list[Policy])

    def of(self, model: str) -> ModelPolicies:
        """What governs a model, and where it comes from."""
        return self._transport.call("GET", f"/api/v1/policies/{quote(model, safe='*')}", returns=ModelPolicies)

    def set(self, policy: Policy | Mapping[str, Any]) -> Policy:
        """Set a policy, in the place of the one on the same stage or alias.

        Raises:
            InvalidInput: it cannot be meant; a field that is misspelled is named.
            PermissionRefused: the caller is no admin.
        """
        fields = dict(policy) if isinstance(policy, Mapping) else msgspec.to_builtins(policy)
        return self._transport.call("PUT", "/api/v1/policies", fields, returns=Policy, repeatable=True)

    def remove(self, model: str, *, stage: str | None = None, alias: str | None = None) -> Policy:
        """Remove the policy on a stage or an alias; returns it.

        Raises:
            NotFound: there is none.
            PermissionRefused: the caller is no admin.
        """
        query = {"stage": stage, "alias": alias}
        path = f"/api/v1/policies/{quote(model, safe='*')}"
        return self._transport.call("DELETE", path, returns=Policy, query=query)

    def history(self, model: str) -> list[Event]:
        """Every change of a model's policies, oldest first."""
        path = f"/api/v1/policies/{quote(model, safe='*')}/history"
        return self._transport.call("GET", path, returns=list[Event])


class Approving:
    """Requests for approval on one platform."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def search(self, *, status: str | None = None, model: str | None = None) -> list[Approval]:
        """Requests with their decisions, newest first."""
        query = {"status": status, "model": model}
        return self._transport.call("GET", "/api/v1/approvals", returns=list[Approval], query=query)

    def get(self, approval_id: str) -> Approval:
        """One request with its decisions, and whether each counts now."""
        return self._transport.call("GET", f"/api/v1/approvals/{approval_id}", returns=Approval)

    def ask(self, model: str, number: int, target: str, why: str = "") -> Approval:
        """Ask for the approvals of a change ahead of it.

        Args:
            model: the model's name.
            number: the version.
            target: `stage/<stage>` or `alias/<alias>`.
            why: for who decides.

        Raises:
            InvalidInput: no policy asks for an approval of that.
        """
        body = AskForApproval(model=model, number=number, target=target, why=why)
        return self._transport.call("POST", "/api/v1/approvals", body, returns=Approval, repeatable=True)

    def decide(self, approval_id: str, decision: Decision) -> Approval:
        """Grant or refuse a request; repeating an answer changes nothing.

        Raises:
            PolicyRefused: four eyes forbid it to this caller.
            PermissionRefused: the caller lacks the role.
            InvalidInput: a grant says not what it means, or a refusal not why.
        """
        return self._post(approval_id, "decision", decision, repeatable=True)

    def revoke(self, approval_id: str, *, principal: str | None = None, reason: str = "") -> Approval:
        """Take a grant back that has not been used: one's own, or as an admin anybody's."""
        return self._post(approval_id, "revoke", Revocation(principal=principal, reason=reason))

    def withdraw(self, approval_id: str, reason: str = "") -> Approval:
        """Close a request that one asked for oneself."""
        return self._post(approval_id, "withdraw", Withdrawal(reason=reason))

    def link(self, approval_id: str, principal: str, *, valid_for: str = "24h") -> ApprovalLink:
        """A link by which one person decides once without logging in; its address is in this answer alone."""
        body = AskForLink(principal=principal, valid_for=valid_for)
        return self._transport.call("POST", f"/api/v1/approvals/{approval_id}/links", body, returns=ApprovalLink)

    def _post(self, approval_id: str, verb: str, body: msgspec.Struct, *, repeatable: bool = False) -> Approval:
        path = f"/api/v1/approvals/{approval_id}/{verb}"
        return self._transport.call("POST", path, body, returns=Approval, repeatable=repeatable)
