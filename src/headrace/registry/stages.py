"""Stage moves: where each version of a model stands. The history of them is only appended to; see `history`."""

from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import tables, versions
from headrace.registry.nouns import Stage, StageChange, Version


def transition(
    tx: Tx,
    model: str,
    number: int,
    stage: Stage,
    reason: str = "",
    *,
    archive_existing: bool = False,
    release_id: str | None = None,
) -> Version:
    """Move a version to a stage; a version that is there already stays and nothing is recorded.

    Args:
        tx: the transaction.
        model: the model's name.
        number: the version's number.
        stage: where it goes.
        reason: why, for the history.
        archive_existing: also archive the other versions that are in that stage.
        release_id: the release that moves it, for the history.

    Raises:
        NotFound: there is no such version.
    """
    version = versions.get(tx, model, number)
    if archive_existing and stage in {Stage.STAGING, Stage.PRODUCTION}:
        for other in tables.versions_in_stage(tx, model, stage):
            if other.number != number:
                _move(tx, other, Stage.ARCHIVED, f"version {number} took its place in {stage.value}", release_id)
    if version.stage != stage:
        _move(tx, version, stage, reason, release_id)
    return versions.get(tx, model, number)


def production(tx: Tx, model: str) -> Version | None:
    """The version in production: of several, which only a foreign client can cause, the last that entered."""
    found = tables.versions_in_stage(tx, model, Stage.PRODUCTION)
    return found[0] if found else None


def _move(tx: Tx, version: Version, stage: Stage, reason: str, release_id: str | None) -> None:
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
            "release_id": release_id,
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
            actor=tx.actor,
            release_id=release_id,
            at=tx.now,
            event_seq=event.seq,
        ),
    )
