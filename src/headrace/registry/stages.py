"""Stage moves: where each version of a model stands, and the history that is only appended to."""

from datetime import datetime

from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import governed, models, tables, versions
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


def history(tx: Tx, model: str, *, until: datetime | None = None) -> tuple[StageChange, ...]:
    """Every stage move of a model, oldest first, up to and with a moment of wall time."""
    models.get(tx, model)
    return tables.list_stage_changes(tx, model, until=until)


def production_at(tx: Tx, model: str, moment: datetime) -> int | None:
    """The number of the version that was in production at a moment of wall time."""
    entered: dict[int, int] = {}
    for change in history(tx, model, until=moment):
        if change.after is Stage.PRODUCTION:
            entered[change.number] = change.event_seq
        else:
            entered.pop(change.number, None)
    return max(entered, key=entered.__getitem__) if entered else None


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
