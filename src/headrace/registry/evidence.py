"""Evidence: what gates and checks found on a version, appended and never edited."""

import msgspec

from headrace.errors import NotFound
from headrace.kernel import events, pins
from headrace.kernel.database import Tx
from headrace.kernel.ids import new_id
from headrace.registry import tables, versions
from headrace.registry.nouns import Evidence


def record(tx: Tx, found: Evidence) -> Evidence:
    """Append a piece of evidence; its id and time are given here and its scores are pinned.

    Raises:
        NotFound: there is no such version.
    """
    versions.get(tx, found.model, found.number)
    kept = msgspec.structs.replace(found, id=new_id("evd"), recorded_at=tx.now)
    subject = f"version/{kept.model}/{kept.number}"
    if kept.scores:
        pins.pin(tx, f"blob/{kept.scores}", subject, "scores behind a verdict")
    event = events.append(
        tx,
        "registry.evidence_recorded",
        subject,
        {
            "evidence_id": kept.id,
            "model": kept.model,
            "number": kept.number,
            "release_id": kept.release_id,
            "kind": kept.kind,
            "name": kept.name,
            "declaration": kept.declaration,
            "verdict": kept.verdict,
            "summary": kept.summary,
            "scores": kept.scores,
        },
    )
    tables.add_evidence(tx, kept, event.seq)
    return kept


def get(tx: Tx, evidence_id: str) -> Evidence:
    """One piece of evidence.

    Raises:
        NotFound: there is none.
    """
    found = tables.find_evidence(tx, evidence_id)
    if found is None:
        raise NotFound("there is no such evidence", where=f"evidence/{evidence_id}")
    return found


def of_version(tx: Tx, model: str, number: int, *, release_id: str | None = None) -> tuple[Evidence, ...]:
    """The evidence on a version, in the order of the record."""
    versions.get(tx, model, number)
    return tables.list_evidence(tx, model, number, release_id=release_id)
