"""Every statement on feedback."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.serving.feedback_nouns import FeedbackState, Found, Reward, Stored, Tally
from headrace.serving.nouns import Purpose
from headrace.serving.tables import feedback, feedback_sequence

AT_ONCE = 200
"""Keys in one statement: databases limit the parameters of one."""
LARGEST_CLASS = 1e15
"""A greater number names no class."""
SMALLEST = 1e-100
"""A number nearer to 0 is none in a sum of squares."""


def take_sequence(tx: Tx, count: int) -> int:
    """Take the next places in the order of arrival, and return the first; held until the transaction ends."""
    statement = insert(tx, feedback_sequence).values(workspace=tx.workspace, sequence=count)
    taken = statement.on_conflict_do_update(
        index_elements=["workspace"], set_={"sequence": feedback_sequence.c.sequence + count}
    ).returning(feedback_sequence.c.sequence)
    return int(tx.execute(taken).scalar_one()) - count + 1


def known_digests(tx: Tx, digests: Sequence[str]) -> set[str]:
    """Those of the digests that are kept already."""
    found: set[str] = set()
    for some in _parts(digests):
        query = sa.select(feedback.c.digest).where(
            feedback.c.workspace == tx.workspace, feedback.c.digest.in_(some)
        )
        found.update(tx.execute(query).scalars())
    return found


def effective(tx: Tx, prediction_ids: Sequence[str]) -> dict[tuple[str, str], tuple[int, datetime]]:
    """Sequence and time of what counts now, by prediction and name."""
    found: dict[tuple[str, str], tuple[int, datetime]] = {}
    for some in _parts(prediction_ids):
        query = sa.select(feedback.c.prediction_id, feedback.c.name, feedback.c.sequence, feedback.c.at).where(
            feedback.c.workspace == tx.workspace,
            feedback.c.prediction_id.in_(some),
            feedback.c.effective.is_(True),
        )
        for row in tx.execute(query):
            found[row.prediction_id, row.name] = (row.sequence, row.at)
    return found


def add(tx: Tx, rows: list[dict[str, Any]]) -> None:
    """Keep new feedback."""
    if rows:
        tx.execute(sa.insert(feedback), [{"workspace": tx.workspace, **row} for row in rows])


def supersede(tx: Tx, sequences: Sequence[int]) -> None:
    """Mark what a later one took the place of."""
    for some in _parts(sequences):
        tx.execute(
            sa.update(feedback)
            .where(feedback.c.workspace == tx.workspace, feedback.c.sequence.in_(some))
            .values(effective=False)
        )


def of_prediction(tx: Tx, prediction_id: str) -> list[Stored]:
    """All that was said of a prediction, in the order of arrival."""
    query = sa.select(feedback).where(
        feedback.c.workspace == tx.workspace, feedback.c.prediction_id == prediction_id
    )
    return [_stored(row) for row in tx.execute(query.order_by(feedback.c.sequence).limit(1_000))]


def is_due(tx: Tx) -> bool:
    """Whether feedback waits that is to be looked for now."""
    return tx.execute(sa.select(feedback.c.sequence).where(_due(tx)).limit(1)).first() is not None


def claim(tx: Tx, limit: int, *, batch: int, until: datetime) -> int:
    """Put the oldest due feedback into a batch; if nothing comes of it, it is due again at `until`."""
    due = sa.select(feedback.c.sequence).where(_due(tx)).order_by(feedback.c.sequence).limit(limit)
    return tx.execute(
        sa.update(feedback)
        .where(feedback.c.workspace == tx.workspace, feedback.c.sequence.in_(due.scalar_subquery()))
        .values(batch=batch, look_at=until)
    ).rowcount


def of_batch(tx: Tx, batch: int) -> list[Stored]:
    """A batch's feedback that still waits."""
    query = sa.select(feedback).where(_waiting(tx, batch)).order_by(feedback.c.sequence)
    return [_stored(row) for row in tx.execute(query)]


def put_found(tx: Tx, batch: int, found: Iterable[Found]) -> int:
    """Write which predictions feedback belongs to; returns how many waited for it."""
    written = 0
    for one in found:
        prediction = one.prediction
        values = {name: getattr(prediction, name) for name in _COPIED}
        written += tx.execute(
            sa.update(feedback)
            .where(_waiting(tx, batch), feedback.c.sequence == one.sequence)
            .values(**values, predicted_at=prediction.business_at, joined_at=tx.now, look_at=None, batch=None)
        ).rowcount
    return written


def not_found(tx: Tx, batch: int) -> dict[int, int]:
    """How often each piece that still waits in a batch was looked for."""
    query = sa.select(feedback.c.sequence, feedback.c.looks).where(_waiting(tx, batch))
    return {row.sequence: row.looks for row in tx.execute(query)}


def look_again(tx: Tx, sequences: Sequence[int], at: datetime) -> None:
    """Look for the predictions of waiting feedback once more, at a wall time."""
    for some in _parts(sequences):
        tx.execute(
            sa.update(feedback)
            .where(feedback.c.workspace == tx.workspace, feedback.c.sequence.in_(some))
            .values(looks=feedback.c.looks + 1, look_at=at, batch=None)
        )


def state(tx: Tx) -> FeedbackState:
    """How much is joined and how much waits."""
    waits = sa.case((feedback.c.joined_at.is_(None), 1), else_=0)
    oldest = sa.func.min(sa.case((feedback.c.joined_at.is_(None), feedback.c.received_at), else_=None))
    row = tx.execute(
        sa.select(
            sa.func.count().label("all"),
            sa.func.coalesce(sa.func.sum(waits), 0).label("waiting"),
            sa.type_coerce(oldest, feedback.c.received_at.type).label("oldest"),
        ).where(feedback.c.workspace == tx.workspace)
    ).one()
    waiting = int(row.waiting)
    return FeedbackState(joined=row.all - waiting, waiting=waiting, oldest_waiting=row.oldest)


def rewards(
    tx: Tx, model: str, since: datetime | None, *, name: str, release_id: str | None, limit: int
) -> list[Reward]:
    """Effective numeric feedback on live predictions that was joined since a wall time, oldest first."""
    query = sa.select(feedback).where(_live(tx, model, release_id), feedback.c.name == name)
    if since is not None:
        query = query.where(feedback.c.joined_at >= since)
    query = query.order_by(feedback.c.joined_at, feedback.c.sequence).limit(limit)
    return [
        Reward(value=row.number, **{field: getattr(row, field) for field in _REWARD}) for row in tx.execute(query)
    ]


def tallies(
    tx: Tx, model: str, *, labels: Collection[str], name: str | None, release_id: str | None
) -> list[Tally]:
    """Effective numeric feedback on live predictions, added up by version and name.

    Args:
        tx: the transaction.
        model: its name.
        labels: names of feedback that says what the model predicts; only that is compared with the predictions.
        name: only feedback of this name.
        release_id: only on predictions of this release.
    """
    number, output = feedback.c.number, feedback.c.output
    # The square of what is smaller would be no float, which PostgreSQL takes for an error.
    square = sa.case((sa.func.abs(number) < SMALLEST, 0.0), else_=number * number)
    nearer = sa.case((output >= 0.5, 1.0), else_=0.0)
    told = feedback.c.name.in_(sorted(labels))
    inside = sa.and_(output > 0.0, output < 1.0)
    probability = sa.and_(number.in_([0.0, 1.0]), inside)
    compared = sa.and_(told, sa.or_(probability, sa.and_(_whole(number), _whole(output))))
    agrees = sa.and_(compared, sa.or_(sa.and_(probability, number == nearer), number == output))
    # A number that is neither a probability nor a class is what a regression foretells: no label is the same.
    other = sa.and_(sa.not_(inside), sa.not_(_whole(output)))
    query = (
        sa.select(
            feedback.c.version,
            feedback.c.name,
            sa.func.count().label("count"),
            sa.func.sum(number).label("total"),
            sa.func.sum(square).label("squares"),
            _how_many(compared).label("compared"),
            _how_many(agrees).label("agreeing"),
            _how_many(other).label("other"),
        )
        .where(_live(tx, model, release_id))
        .group_by(feedback.c.version, feedback.c.name)
        .order_by(feedback.c.version, feedback.c.name)
    )
    if name is not None:
        query = query.where(feedback.c.name == name)
    found = []
    for row in tx.execute(query).mappings():
        numbers = {name: int(row[name]) for name in ("version", "count", "compared", "agreeing")}
        if row["other"]:
            numbers |= {"compared": 0, "agreeing": 0}
        found.append(Tally(name=row["name"], total=float(row["total"]), squares=float(row["squares"]), **numbers))
    return found


def _whole(number: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Whether a number may name a class."""
    near = sa.func.abs(number) < LARGEST_CLASS
    return sa.case((near, number == sa.cast(number, sa.BigInteger)), else_=sa.false())


def _how_many(what: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((what, 1), else_=0))


_COPIED = ("model", "version", "arm", "propensity", "release_id", "step", "purpose", "output")
_REWARD = ("sequence", "prediction_id", "version", "arm", "propensity", "release_id", "step", "at", "joined_at")


def _live(tx: Tx, model: str, release_id: str | None) -> sa.ColumnElement[bool]:
    wanted = sa.and_(
        feedback.c.workspace == tx.workspace,
        feedback.c.model == model,
        feedback.c.effective.is_(True),
        feedback.c.purpose == Purpose.LIVE.value,
        feedback.c.number.is_not(None),
    )
    return wanted if release_id is None else sa.and_(wanted, feedback.c.release_id == release_id)


def _due(tx: Tx) -> sa.ColumnElement[bool]:
    return sa.and_(
        feedback.c.workspace == tx.workspace, feedback.c.joined_at.is_(None), feedback.c.look_at <= tx.now
    )


def _waiting(tx: Tx, batch: int) -> sa.ColumnElement[bool]:
    return sa.and_(feedback.c.workspace == tx.workspace, feedback.c.joined_at.is_(None), feedback.c.batch == batch)


def _stored(row: sa.Row[Any]) -> Stored:
    fields = {name: getattr(row, name) for name in Stored.__struct_fields__}
    return msgspec.convert(fields, Stored)


def _parts(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))
