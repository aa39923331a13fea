"""The history of stages: which version was in production at any moment, since when, by whom and why.

The order of the record decides, not the clock: a clock that was set back gives a later move an earlier time. What
had happened by a moment is the last move that bears its time or an earlier one, and every move before it in the
record. A model that was deleted keeps its history.
"""

import re
from datetime import UTC, date, datetime, timedelta

import msgspec

from headrace.errors import InvalidInput
from headrace.kernel.database import Tx
from headrace.registry import approvals, models, tables_history
from headrace.registry.approval import Approval
from headrace.registry.moves import History, StageMove
from headrace.registry.nouns import ApprovalStatus, Stage, StageChange
from headrace.tracking import cursors, keys

PAGE_LIMIT = 1_000

_RELEASE = re.compile(r"\brelease (\S+)")
_APPROVAL = re.compile(r"\bapproval (\S+)")


def moment_of(text: str) -> datetime:
    """A moment as people write it; a date alone is the end of that day in UTC, and a time without zone is in UTC.

    Raises:
        InvalidInput: it is none.
    """
    try:
        if len(text) <= len("2026-03-01"):
            return datetime.combine(date.fromisoformat(text) + timedelta(days=1), datetime.min.time(), UTC) - (
                timedelta(microseconds=1)
            )
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{text[:50]!r} is no moment",
            where="at",
            fix="Write 2026-03-01, which is the end of that day in UTC, or 2026-03-01T14:30:00Z.",
        ) from error


def production_at(tx: Tx, model: str, moment: datetime) -> int | None:
    """The number of the version that was in production at a moment of wall time.

    Raises:
        NotFound: there is no such model.
    """
    _require(tx, model)
    last = tables_history.last_until(tx, model, moment)
    since = None if last is None else tables_history.newest_in_production(tx, model, last)
    return None if since is None else since.number


def read(tx: Tx, model: str, *, at: datetime | None = None, limit: int = 100, cursor: str = "") -> History:
    """A page of a model's moves up to a moment, newest first, and what was in production then.

    Without a moment, or with one that is still to come, it is every move that is on record.

    Raises:
        NotFound: there is no such model.
        InvalidInput: the limit or the cursor is not one.
    """
    _require(tx, model)
    keys.check_limit(limit, PAGE_LIMIT)
    signature = cursors.signature("history", model, at)
    after = cursors.read(signature, cursor)
    moment = None if at is None or at >= tx.now else at
    last = tables_history.last_until(tx, model, moment)
    since = None if last is None else tables_history.newest_in_production(tx, model, last)
    until = last if after is None else int(after[0])
    found = [] if until is None else tables_history.page(tx, model, until=until, limit=limit + 1)
    brought = [] if since is None else [since]
    moves = _resting(tx, model, [*found[:limit], *brought])
    return History(
        model=model,
        at=moment or tx.now,
        production=None if since is None else since.number,
        since=None if since is None else moves[-1],
        changes=tuple(moves[: len(found[:limit])]),
        next_cursor=cursors.write(signature, (found[limit].event_seq,) if len(found) > limit else None),
    )


def approval_of(tx: Tx, model: str, release_id: str) -> Approval | None:
    """The approval that a release was granted, with who decided."""
    for found in approvals.search(tx, model=model, release_id=release_id):
        if found.status in {ApprovalStatus.GRANTED, ApprovalStatus.USED}:
            return found
    return None


def _require(tx: Tx, model: str) -> None:
    if not tables_history.known(tx, model):
        models.get(tx, model)


def _resting(tx: Tx, model: str, changes: list[StageChange]) -> list[StageMove]:
    """The moves with the release and the approval that they rest on, as their grounds name them."""
    known: dict[str, Approval | None] = {}
    moves = []
    for change in changes:
        release, asked = _RELEASE.search(change.grounds), _APPROVAL.search(change.grounds)
        # a release's approval is for production: it enters staging before anybody is asked, and goes back unasked
        of_production = Stage.PRODUCTION in {change.before, change.after}
        if change.grounds not in known:
            known[change.grounds] = None
            if asked is not None:
                known[change.grounds] = approvals.get(tx, asked[1])
            elif release is not None and not change.grounds.startswith("rollback"):
                known[change.grounds] = approval_of(tx, model, release[1])
        moves.append(
            StageMove(
                release_id=None if release is None else release[1],
                approval=known[change.grounds] if asked is not None or of_production else None,
                **msgspec.structs.asdict(change),
            )
        )
    return moves
