"""The way back: one call returns a model to the last version whose release completed.

It is decided by what is there when it is carried out, in one transaction with the end of an open release, the stage
moves and the route. Going back needs no gate and no approval: the version has passed them before.
"""

from contextlib import suppress
from typing import NamedTuple

import msgspec

from headrace.delivery import policies, releases, tables
from headrace.delivery.machine import WITH_TRAFFIC, Abort, RollBack
from headrace.delivery.nouns import Release, Rollback, RollbackRequest
from headrace.delivery.tables import Completed
from headrace.errors import Conflict, InvalidInput, NotFound
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import models, stages, versions
from headrace.registry.governed import Grounds
from headrace.registry.nouns import Stage
from headrace.serving import routing
from headrace.serving.nouns import RouteChange


class _Way(NamedTuple):
    """What a rollback does.

    Attributes:
        left: the version that loses its traffic.
        target: the version that gets it; None when nothing was in production before the release.
        ends: the open release that it ends.
        stands_at: the completed release that production returns to; None when ending the release is all.
    """

    left: int | None
    target: int | None
    ends: Release | None = None
    stands_at: Completed | None = None


def look(tx: Tx, model: str) -> Rollback:
    """What a rollback would do now, for whoever wants to say which version is to be left.

    Raises:
        NotFound: there is no such model.
        Conflict: there is no version to go back to.
    """
    return _told(tx, model, _find(tx, model, RollbackRequest(), lock=False))


def roll_back(tx: Tx, model: str, asked: RollbackRequest) -> Rollback:
    """Return to the version before, compare-and-set.

    A release that has traffic is rolled back, which returns to the version that it replaces. Otherwise the
    version in production gives way to the last one before it whose release completed and was not undone; a release
    that has no traffic yet is aborted, since what it was compared with is no longer in production. Going back to
    what is in production changes nothing.

    Raises:
        InvalidInput: the request says neither what to leave nor where to go.
        NotFound: there is no such model or version.
        Conflict: the version to be left has left already, or there is none to go back to.
    """
    if asked.to is None and asked.expected is None:
        raise InvalidInput(
            "a rollback names the version that it leaves, or the one that it goes to",
            where="expected",
            fix=f"GET /api/v1/models/{model}/rollback tells both.",
        )
    way = _find(tx, model, asked, lock=True)
    told = _told(tx, model, way)
    if way.left != way.target:
        _carry_out(tx, model, way, asked.reason or "rolled back by command")
    return msgspec.structs.replace(told, sequence=_told(tx, model, way).sequence)


def _find(tx: Tx, model: str, asked: RollbackRequest, *, lock: bool) -> _Way:
    models.get(tx, model)
    present = stages.production(tx, model)
    number = None if present is None else present.number
    release = tables.open_release(tx, model, lock=lock)
    rolling = release if release is not None and release.phase in WITH_TRAFFIC else None
    left = number if rolling is None else rolling.number
    if asked.to is not None and asked.to == number == left:
        return _Way(left, left)
    if asked.expected not in {None, left, number}:
        raise Conflict(
            f"version {left} has the traffic, not version {asked.expected}" if left else "nothing has traffic",
            where=f"model/{model}",
            fix="Look again, and decide whether going back is still what you want.",
        )
    leaves = left if asked.expected is None else asked.expected
    if rolling is not None and (asked.to == rolling.champion if asked.to else leaves == rolling.number):
        return _Way(rolling.number, rolling.champion, ends=rolling)
    target = _target(tx, model, leaves, asked.to)
    return _Way(leaves, target.number, ends=release, stands_at=target)


def _target(tx: Tx, model: str, leaves: int | None, to: int | None) -> Completed:
    completed = tables.completed(tx, model)
    if to is not None:
        digest = versions.get(tx, model, to).digest
        same = [release for release in completed if (release.number, release.digest) == (to, digest)]
        for release in sorted(same, key=lambda release: release.undone):  # the last that stands, else the last
            return release
        raise Conflict(
            f"version {to} never completed a release, so there is no proof that it works",
            where=f"version/{model}/{to}",
            fix="Open a release of it instead.",
        )
    standing = [release for release in completed if not release.undone]
    places = [place for place, release in enumerate(standing) if release.number == leaves]
    for release in standing[places[0] + 1 if places else 0 :]:
        if release.number != leaves and _is_there(tx, model, release):
            return release
    raise Conflict(
        f"no earlier version of {model!r} completed a release", where=f"model/{model}", fix="Nothing was changed."
    )


def _is_there(tx: Tx, model: str, release: Completed) -> bool:
    """Whether the version that was released has not been deleted since."""
    with suppress(NotFound):
        return versions.get(tx, model, release.number).digest == release.digest
    return False


def _carry_out(tx: Tx, model: str, way: _Way, reason: str) -> None:
    if way.ends is not None:
        ending = RollBack if way.ends.phase in WITH_TRAFFIC else Abort
        why = reason if way.stands_at is None else f"production was rolled back: {reason}"
        releases.execute(tx, way.ends.id, ending(reason=why))
    if way.stands_at is None:
        return
    target = way.stands_at.number
    back = Grounds(back=True)  # what completed a release was approved for it, and going back must be quick
    stages.transition(tx, model, target, Stage.PRODUCTION, reason, archive_existing=True, grounds=back)
    kept = () if way.left is None else (way.left,)
    default = policies.of_model(tx, model).fallback.default
    route = routing.set_route(tx, RouteChange(model=model, champion=target, resident=kept, default=default))
    tables.stand_at(tx, model, way.stands_at.seq)
    events.append(
        tx,
        "delivery.model_rolled_back",
        f"model/{model}",
        {"model": model, "left": way.left, "now": target, "reason": reason, "sequence": route.sequence},
    )


def _told(tx: Tx, model: str, way: _Way) -> Rollback:
    route = routing.find(tx, model)
    held = () if route is None else route.versions
    return Rollback(
        model=model,
        left=way.left,
        now=way.target,
        release_id=None if way.ends is None else way.ends.id,
        resident=way.target is None or any(version.number == way.target for version in held),
        sequence=None if route is None else route.sequence,
    )
