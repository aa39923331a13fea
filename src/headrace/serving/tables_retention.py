"""Every statement on how long what was predicted is kept."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.serving.retention_nouns import DataClass, Rule
from headrace.serving.tables import feedback, retention

AT_ONCE = 200


def put(tx: Tx, rule: Rule) -> None:
    """Write a rule, in place of what was."""
    values = {"keep": rule.keep, "set_by": rule.set_by, "set_at": rule.set_at}
    key = {"workspace": tx.workspace, "data_class": rule.data_class.value, "model": rule.model}
    statement = insert(tx, retention).values(**key, **values)
    tx.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))


def drop(tx: Tx, data_class: DataClass, model: str) -> bool:
    """Take a rule away; False when there was none."""
    mine = sa.and_(
        retention.c.workspace == tx.workspace,
        retention.c.data_class == data_class.value,
        retention.c.model == model,
    )
    return tx.execute(sa.delete(retention).where(mine)).rowcount == 1


def rules(tx: Tx) -> list[Rule]:
    """All rules."""
    query = sa.select(retention).where(retention.c.workspace == tx.workspace)
    return [
        Rule(
            data_class=DataClass(row.data_class),
            model=row.model,
            keep=row.keep,
            set_by=row.set_by,
            set_at=row.set_at,
        )
        for row in tx.execute(query.order_by(retention.c.data_class, retention.c.model))
    ]


def forget_feedback(tx: Tx, *, before: datetime, model: str | None, but_of: Sequence[str] = ()) -> int:
    """Delete feedback that arrived before a moment: of one model, or of all but some and of none yet."""
    old = sa.and_(feedback.c.workspace == tx.workspace, feedback.c.received_at < before)
    if model is not None:
        old = sa.and_(old, feedback.c.model == model)
    elif but_of:
        old = sa.and_(old, sa.or_(feedback.c.model.is_(None), feedback.c.model.not_in(but_of)))
    return tx.execute(sa.delete(feedback).where(old)).rowcount


def forget_feedback_on(tx: Tx, prediction_ids: Sequence[str]) -> int:
    """Delete all feedback on some predictions."""
    gone = 0
    for start in range(0, len(prediction_ids), AT_ONCE):
        some = prediction_ids[start : start + AT_ONCE]
        doomed = sa.and_(feedback.c.workspace == tx.workspace, feedback.c.prediction_id.in_(some))
        gone += tx.execute(sa.delete(feedback).where(doomed)).rowcount
    return gone
