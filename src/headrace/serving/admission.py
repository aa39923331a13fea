"""Who may call a gateway, decided without control: it sends the hashes of tokens ahead, so serving survives it."""

import hashlib
from collections.abc import Callable

from headrace.errors import NotAuthenticated

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})


def login_required(host: str) -> bool:
    """Whether callers of a platform bound to `host` must prove who they are."""
    return host not in LOOPBACK


def hash_token(token: str) -> str:
    """SHA-256 of a token as hex, as the kernel stores it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Admission:
    """Who may call: known tokens when a login is required, else anyone on this machine.

    Args:
        login_required: whether a request without a token is refused.
        known: tells whether the SHA-256 (hex) of a token is a caller's who may ask now.
    """

    def __init__(self, *, login_required: bool, known: Callable[[str], bool]) -> None:
        self._login_required = login_required
        self._known = known

    def __call__(self, token: str | None) -> None:
        """Let a request pass.

        Raises:
            NotAuthenticated: it has no token and needs one, or a wrong one.
        """
        if token is None:
            if self._login_required:
                raise NotAuthenticated(
                    "this platform asks for a login",
                    where="Authorization",
                    fix="Send the header Authorization: Bearer <token>.",
                )
            return
        if self._login_required and not self._known(hash_token(token)):
            raise NotAuthenticated(
                "the token is not valid",
                where="Authorization",
                fix="Ask an admin for a token: headrace access token NAME",
            )
