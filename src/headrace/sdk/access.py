"""Principals, roles and tokens, as an admin handles them from Python."""

import builtins
from collections.abc import Sequence

from headrace.client.transport import Transport
from headrace.kernel.access import IssuedToken, Principal


class Access:
    """Who may do what on one platform."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def whoami(self) -> Principal:
        """Who this connection acts as."""
        return self._transport.call("GET", "/api/v1/access/whoami", returns=Principal)

    def list(self) -> builtins.list[Principal]:
        """Every principal."""
        return self._transport.call("GET", "/api/v1/access/principals", returns=builtins.list[Principal])

    def add(self, name: str, roles: Sequence[str]) -> Principal:
        """Make a principal; it can do nothing until it has a token.

        Raises:
            AlreadyExists: the name was given before.
            InvalidInput: the name or a role cannot be used.
        """
        body = {"name": name, "roles": builtins.list(roles)}
        return self._transport.call("POST", "/api/v1/access/principals", body, returns=Principal)

    def issue_token(self, name: str) -> IssuedToken:
        """Make a token; the answer is the only place where its secret stands."""
        return self._transport.call("POST", f"/api/v1/access/principals/{name}/tokens", returns=IssuedToken)

    def grant(self, name: str, role: str) -> Principal:
        """Give a role."""
        return self._transport.call("PUT", f"/api/v1/access/principals/{name}/roles/{role}", returns=Principal)

    def revoke(self, name: str, role: str) -> Principal:
        """Take a role away, at once for every token."""
        return self._transport.call("DELETE", f"/api/v1/access/principals/{name}/roles/{role}", returns=Principal)

    def disable(self, name: str) -> Principal:
        """Refuse a principal and all its tokens from now on."""
        return self._transport.call("POST", f"/api/v1/access/principals/{name}/disable", returns=Principal)

    def enable(self, name: str) -> Principal:
        """Let a disabled principal in again; it needs a new token."""
        return self._transport.call("POST", f"/api/v1/access/principals/{name}/enable", returns=Principal)
