"""Who may call a gateway, decided without control: it sends the hashes of tokens ahead, so serving survives it."""

import hashlib
from collections.abc import Callable

from headrace.errors import NotAuthenticated, PermissionRefused
from headrace.serving.nouns import Caller

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})

LOCAL = "local"
"""Whoever calls from this machine without a login."""


def login_required(host: str) -> bool:
    """Whether callers of a platform bound to `host` must prove who they are."""
    return host not in LOOPBACK


def hash_token(token: str) -> str:
    """SHA-256 of a token as hex, as the kernel stores it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Admission:
    """Who may call: whoever has any role when a login is required, else anyone on this machine.

    Args:
        login_required: whether a request without a token is refused.
        find: the caller whose token has this SHA-256 (hex) and is valid now.
    """

    def __init__(self, *, login_required: bool, find: Callable[[str], Caller | None]) -> None:
        self._login_required = login_required
        self._find = find

    def __call__(self, token: str | None) -> str:
        """Let a request pass, and say whose it is.

        Raises:
            NotAuthenticated: it has no token and needs one, or a wrong one.
            PermissionRefused: whose token it is has no role.
        """
        if not self._login_required:
            return LOCAL
        if token is None:
            raise NotAuthenticated(
                "this platform asks for a login",
                where="Authorization",
                fix="Send the header Authorization: Bearer <token>.",
            )
        caller = self._find(hash_token(token))
        if caller is None:
            raise NotAuthenticated(
                "the token is not valid",
                where="Authorization",
                fix="Ask an admin for a token: headrace access token NAME",
            )
        if not caller.may_read:
            raise PermissionRefused(
                f"asking for predictions needs the role viewer, and {caller.principal_id} has none",
                where="Authorization",
                fix=f"An admin can give it: headrace access grant {caller.principal_id} viewer",
            )
        return caller.principal_id
