"""Stage moves: where each version of a model stands. The history of them is only appended to; see `history`."""

from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import governed, models, tables, tables_history, versions
from headrace.registry.governed import CALLER, Grounds
from headrace.registry.nouns import Stage, StageChange, Version


def transition(
    tx: Tx,
    model: str,
    number: int,
    stage: Stage,
    reason: str = "",
    *,
    archive_existing: bool = False,
    grounds: Grounds = CALLER,
) -> Version:
    """Move a version to a stage; a version that is there already stays and nothing is recorded.

    Args:
        tx: the transaction.
        model: the model's name.
        number: the version's number.
        stage: where it goes.
        reason: why, for the history.
        archive_existing: also archive the other versions that are in that stage.
        grounds: on what grounds, when it is not a caller who asks for it.

    Raises:
        NotFound: there is no such version.
        PermissionRefused: a policy forbids it, or the caller has not got the role.
    """
    version = versions.get(tx, model, number)
    others: list[Version] = []
    if archive_existing and stage in {Stage.STAGING, Stage.PRODUCTION}:
        others = [other for other in tables.versions_in_stage(tx, model, stage) if other.number != number]
    if version.stage == stage and not others:
        return version
    allowed = governed.require_stage(tx, version, stage, grounds, displaces=bool(others))
    for other in others:
        _move(tx, other, Stage.ARCHIVED, f"version {number} took its place in {stage.value}", allowed)
    if version.stage != stage:
        _move(tx, version, stage, reason, allowed)
    return versions.get(tx, model, number)


def production(tx: Tx, model: str) -> Version | None:
    """The version in production: of several, which only a foreign client can cause, the last that entered."""
    found = tables.versions_in_stage(tx, model, Stage.PRODUCTION)
    return found[0] if found else None


def left_production(tx: Tx, model: str) -> int | None:
    """The version that left Production last, unless that was a rollback: then what it did there is undone."""
    left = tables_history.newest_out_of_production(tx, model)
    return None if left is None or left.grounds.startswith(governed.ROLLBACK) else left.number


def history(tx: Tx, model: str) -> tuple[StageChange, ...]:
    """Every stage move of a model, oldest first; `registry.history` has them in pages and up to a moment."""
    models.get(tx, model)
    return tuple(tables_history.every(tx, model))


def _move(tx: Tx, version: Version, stage: Stage, reason: str, allowed: str) -> None:
    event = events.append(
        tx,
        "registry.stage_changed",
        f"version/{version.model}/{version.number}",
        {
            "model": version.model,
            "number": version.number,
            "before": version.stage,
            "after": stage,
            "reason": reason,
            "grounds": allowed,
        },
    )
    tables.set_stage(tx, version.model, version.number, stage, event.seq)
    tables.add_stage_change(
        tx,
        StageChange(
            model=version.model,
            number=version.number,
            before=version.stage,
            after=stage,
            reason=reason,
            grounds=allowed,
            actor=tx.actor,
            at=tx.now,
            event_seq=event.seq,
        ),
    )
