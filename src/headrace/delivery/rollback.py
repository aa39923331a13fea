"""The way back: one call returns a model to the last version whose release completed."""

from headrace.delivery import releases, tables
from headrace.delivery.machine import WITH_TRAFFIC, Abort, RollBack
from headrace.delivery.nouns import Rollback, RollbackRequest
from headrace.errors import Conflict
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import models, stages, versions
from headrace.registry.governed import Grounds
from headrace.registry.nouns import Stage
from headrace.serving import routing
from headrace.serving.nouns import RouteChange


def roll_back(tx: Tx, model: str, asked: RollbackRequest) -> Rollback:
    """Return to the version before, compare-and-set.

    A release that has traffic is rolled back, which returns to the version that it replaces. Otherwise the
    version in production gives way to the last one before it whose release completed; a release that has no
    traffic yet is aborted, since what it was compared with is no longer in production. Going back twice goes
    two versions back; going back to what is in production changes nothing.

    Raises:
        NotFound: there is no such model.
        Conflict: production is not what the caller believes, or there is no version to go back to.
    """
    models.get(tx, model)
    present = stages.production(tx, model)
    number = None if present is None else present.number
    _compare(model, number, asked)
    release = tables.open_release(tx, model, lock=True)
    if release is not None and release.phase in WITH_TRAFFIC and asked.to in {None, release.champion}:
        releases.execute(tx, release.id, RollBack(reason=asked.reason or "rolled back by command"))
        return Rollback(model=model, left=release.number, now=release.champion, release_id=release.id)
    target = _target(tx, model, number, asked.to)
    if target == number:
        return Rollback(model=model, left=number, now=number)
    if release is not None:
        ending = RollBack if release.phase in WITH_TRAFFIC else Abort
        releases.execute(tx, release.id, ending(reason="production was rolled back"))
    _switch(tx, model, number, target, asked.reason)
    return Rollback(model=model, left=number, now=target, release_id=release.id if release else None)


def _switch(tx: Tx, model: str, left: int | None, target: int, reason: str) -> None:
    stages.transition(
        tx,
        model,
        target,
        Stage.PRODUCTION,
        reason or f"rolled back from version {left}",
        archive_existing=True,
        grounds=Grounds(back=True),  # what completed a release was approved for it, and going back must be quick
    )
    route = routing.set_route(
        tx, RouteChange(model=model, champion=target, resident=() if left is None else (left,))
    )
    events.append(
        tx,
        "delivery.model_rolled_back",
        f"model/{model}",
        {"model": model, "left": left, "now": target, "reason": reason, "sequence": route.sequence},
    )


def _compare(model: str, number: int | None, asked: RollbackRequest) -> None:
    if asked.expected is not None and asked.expected != number:
        raise Conflict(
            f"version {number} is in production, not {asked.expected}" if number else "nothing is in production",
            where=f"model/{model}",
            fix="Look again, and decide whether going back is still what you want.",
        )


def _target(tx: Tx, model: str, number: int | None, to: int | None) -> int:
    completed = tables.completed_numbers(tx, model)
    if to is not None:
        versions.get(tx, model, to)
        if to not in completed:
            raise Conflict(
                f"version {to} never completed a release, so there is no proof that it works",
                where=f"version/{model}/{to}",
                fix="Open a release of it instead.",
            )
        return to
    # history-aware: only what completed before the present version did
    before = completed[completed.index(number) + 1 :] if number in completed else completed
    for candidate in before:
        if candidate != number:
            return candidate
    raise Conflict(
        f"no earlier version of {model!r} completed a release", where=f"model/{model}", fix="Nothing was changed."
    )
