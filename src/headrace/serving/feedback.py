"""Feedback on predictions: kept once, corrected by what is later, joined with its prediction when that is found.

Control-side. Feedback may come before its prediction has left the gateway's log, and for ids that never were; it
waits, and is looked for again and again, ever more seldom. Feedback is data and no change of state.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from headrace.kernel import jobs
from headrace.kernel.business_time import business_now
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Handling, Job, JobKind
from headrace.registry import models, naming
from headrace.serving import tables_feedback as tables
from headrace.serving.feedback_nouns import (
    LABEL,
    Feedback,
    FeedbackState,
    Joined,
    JoinRequest,
    Reward,
    Stored,
    Submitted,
    Taken,
    Tally,
)

JOIN: JobKind[JoinRequest, Joined] = JobKind(
    name="serving.join_feedback", payload=JoinRequest, result=Joined, lease_s=60.0
)

BATCH = 5_000
FIRST_LOOK = timedelta(seconds=10)
"""After this an unknown prediction is looked for again, then after twice as long, and so on."""
LONGEST_LOOK = timedelta(hours=6)
PATIENCE = timedelta(minutes=10)
"""A batch of which nothing was heard for so long is looked for anew."""
REWARDS_LIMIT = 100_000


def take(tx: Tx, items: Iterable[Feedback]) -> Taken:
    """Keep what the caller says, now."""
    now = business_now(tx)
    return record(
        tx, [Submitted(feedback=item, business_at=now, received_at=tx.now, by=tx.actor) for item in items]
    )


def record(tx: Tx, submitted: Sequence[Submitted]) -> Taken:
    """Keep feedback that a gateway took down; what is known already changes nothing."""
    first = tables.take_sequence(tx, len(submitted))
    known = tables.known_digests(tx, [one.feedback.digest for one in submitted])
    counting = tables.effective(tx, sorted({one.feedback.prediction_id for one in submitted}))
    rows: dict[int, dict[str, Any]] = {}
    superseded: list[int] = []
    corrections = 0
    for sequence, one in enumerate(submitted, first):
        item = one.feedback
        if item.digest in known:
            continue
        known.add(item.digest)
        row = _row(tx, sequence, one)
        before = counting.get((item.prediction_id, item.name))
        if before is None or row["at"] >= before[1]:
            counting[item.prediction_id, item.name] = (sequence, row["at"])
            if before is not None:
                corrections += 1
                if before[0] in rows:
                    rows[before[0]]["effective"] = False
                else:
                    superseded.append(before[0])
        else:
            row["effective"] = False
        rows[sequence] = row
    tables.add(tx, list(rows.values()))
    tables.supersede(tx, superseded)
    return Taken(accepted=len(submitted), new=len(rows), corrections=corrections)


def of_prediction(tx: Tx, prediction_id: str) -> list[Stored]:
    """All that was said of a prediction, with what was corrected."""
    return tables.of_prediction(tx, prediction_id)


def state(tx: Tx) -> FeedbackState:
    """How much feedback is joined and how much waits."""
    return tables.state(tx)


def rewards(
    tx: Tx, model: str, since: datetime | None = None, *, name: str = LABEL, release_id: str | None = None
) -> list[Reward]:
    """What live predictions of a model brought, as numbers, in the order in which it was joined.

    Args:
        tx: a transaction.
        model: its name.
        since: wall time; only what was joined then or later. A correction is joined anew under its prediction's id,
            and what it corrects is not told any more. Ask again from the last `joined_at`, and drop what you have.
        name: of the feedback.
        release_id: only predictions that were answered for this release.

    Returns:
        At most `REWARDS_LIMIT` of them, the oldest first.
    """
    return tables.rewards(tx, model, since, name=name, release_id=release_id, limit=REWARDS_LIMIT)


def tallies(tx: Tx, model: str, *, name: str | None = None, release_id: str | None = None) -> list[Tally]:
    """The same added up by version and name, with how often the label was what was predicted.

    Raises:
        NotFound: there is no such model, and nothing of it.
    """
    found = tables.tallies(tx, model, labels=_labels(tx, model), name=name, release_id=release_id)
    return naming.found_of(tx, model, found)


def _labels(tx: Tx, model: str) -> set[str]:
    """The names of feedback that says what a model predicts."""
    known = models.find(tx, model)
    declared = (known.declaration or {}).get("label") if known is not None else None
    return {LABEL} | ({str(declared.get("name"))} if isinstance(declared, dict) else set())


def join_is_due(tx: Tx) -> bool:
    """Whether predictions of waiting feedback are to be looked for now."""
    return tables.is_due(tx)


def ask_for_join(tx: Tx) -> None:
    """Have a worker look for them."""
    batch = tables.take_sequence(tx, 1)
    if tables.claim(tx, BATCH, batch=batch, until=tx.now + PATIENCE):
        jobs.enqueue(tx, JOIN, JoinRequest(batch=batch), lane=JOIN.name)


def batch(tx: Tx, number: int) -> list[Stored]:
    """The waiting feedback of one batch."""
    return tables.of_batch(tx, number)


def settle_join(tx: Tx, job: Job, result: Joined) -> None:  # noqa: ARG001 - the signature of every settlement
    """Write what a worker found; the rest is looked for later."""
    tables.put_found(tx, result.batch, result.found)
    later: dict[datetime, list[int]] = {}
    for sequence, looks in tables.not_found(tx, result.batch).items():
        wait = min(FIRST_LOOK * 2 ** min(looks, 20), LONGEST_LOOK)
        later.setdefault(tx.now + wait, []).append(sequence)
    for at, sequences in later.items():
        tables.look_again(tx, sequences, at)


HANDLINGS = [Handling(kind=JOIN, settle=settle_join)]


def _row(tx: Tx, sequence: int, one: Submitted) -> dict[str, Any]:
    item = one.feedback
    return {
        "sequence": sequence,
        "digest": item.digest,
        "prediction_id": item.prediction_id,
        "name": item.name,
        "value": item.value,
        "number": item.number,
        "at": item.at or one.business_at,
        "received_at": one.received_at,
        "by": one.by,
        "metadata": item.metadata,
        "effective": True,
        "looks": 0,
        "look_at": tx.now,
    }
