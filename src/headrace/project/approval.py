"""Approval: who must agree before a version reaches production."""

from datetime import timedelta
from typing import Literal

from headrace.project.declaration import Declaration
from headrace.project.durations import parse_window


class Approval(Declaration, frozen=True):
    """A person's decision, waited for as a row and never as a thread.

    Args:
        role: the role that may decide.
        four_eyes: whether the author of the version is refused as its approver.
        expires: how long the request stands; an expired request holds the release, it does not fail it.
    """

    role: Literal["approver", "admin"] = "approver"
    four_eyes: bool = True
    expires: str = "7d"

    @property
    def expires_after(self) -> timedelta:
        """How long the request stands, in wall time."""
        return parse_window(self.expires, where=self.declared_at, field="expires")

    def _check(self) -> None:
        if self.role not in {"approver", "admin"}:
            self._refuse(f"the role {self.role!r} cannot approve", fix='Use "approver" or "admin".')
        parse_window(self.expires, where=self.declared_at, field="expires")
