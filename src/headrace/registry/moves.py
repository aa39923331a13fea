"""The records of a model's history: each move of a version with the release and the approval that it rests on."""

from datetime import datetime

import msgspec

from headrace.registry.approval import Approval
from headrace.registry.nouns import StageChange


class StageMove(StageChange, frozen=True, kw_only=True):
    """A line of the stage history.

    Attributes:
        release_id: the release that made the move, or went back from it.
        approval: what was granted for it, with who decided.
    """

    release_id: str | None = None
    approval: Approval | None = None

    @property
    def approved_by(self) -> tuple[str, ...]:
        """Who granted it, in order."""
        decisions = () if self.approval is None else self.approval.decisions
        return tuple(each.principal for each in decisions if each.grant and each.revoked_at is None)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A model's stage moves up to a moment, newest first, and what was in production then.

    Attributes:
        at: the moment, of wall time.
        production: number of the version that was in production.
        since: the move that brought it there.
        changes: a page of the moves.
        next_cursor: empty on the last page.
    """

    model: str
    at: datetime
    production: int | None
    since: StageMove | None
    changes: tuple[StageMove, ...]
    next_cursor: str = ""
