"""Pages of what is sorted: each begins after the values that the one before ended at, not after a count of rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from headrace.errors import InvalidInput
from headrace.kernel.database import Tx
from headrace.tracking.cursors import Position
from headrace.tracking.readings import NAN


class Key(NamedTuple):
    """An expression that is never NULL and that rows are sorted by."""

    value: Any
    ascending: bool

    def unindexed(self) -> "Key":
        """The same order, in which no index is walked: for where few rows are found by another one."""
        plain = isinstance(self.value.type, sa.BigInteger)
        return Key(self.value + 0 if plain else self.value.concat(""), self.ascending)


def numbers(value: Any, *, ascending: bool, nullable: bool = False) -> list[Key]:
    """Sorts by whole numbers or times; what is NULL comes last."""
    plain = sa.type_coerce(value, sa.BigInteger)
    if not nullable:
        return [Key(plain, ascending)]
    absent = sa.case((plain.is_(None), 1), else_=0)
    return [Key(absent, ascending=True), Key(sa.func.coalesce(plain, 0), ascending)]


def texts(value: Any, dialect: str, *, ascending: bool, nullable: bool = False) -> list[Key]:
    """Sorts by the bytes of texts, alike on both databases; what is NULL comes last."""
    plain: Any = sa.type_coerce(value, sa.Text)
    plain = sa.collate(plain, "C") if dialect == "postgresql" else plain
    if not nullable:
        return [Key(plain, ascending)]
    absent = sa.case((plain.is_(None), 1), else_=0)
    return [Key(absent, ascending=True), Key(sa.func.coalesce(plain, ""), ascending)]


def readings(value: Any, *, ascending: bool) -> list[Key]:
    """Sorts by the codes of metrics' values; NaN comes after the numbers, and what is NULL last."""
    code = sa.type_coerce(value, sa.BigInteger)
    rank = sa.case((code.is_(None), 2), (code == NAN, 1), else_=0)
    return [Key(rank, ascending=True), Key(sa.func.coalesce(code, 0), ascending)]


def page(
    tx: Tx, query: sa.Select[Any], keys: Sequence[Key], *, limit: int, after: Position | None
) -> tuple[Sequence[sa.Row[Any]], Position | None]:
    """The rows of a page in the order of the keys, and where it ended when another follows.

    Args:
        tx: the transaction.
        query: what is looked for, in no order.
        keys: together they tell any two rows apart.
        limit: how many rows.
        after: where the page before ended.
    """
    shown = [key.value.label(f"sorted_by_{place}") for place, key in enumerate(keys)]
    found = tx.execute(sorted_after(query.add_columns(*shown), keys, after).limit(limit + 1)).all()
    if len(found) <= limit:
        return found, None
    return found[:limit], tuple(found[limit - 1][-len(keys) :])


def sorted_after(query: sa.Select[Any], keys: Sequence[Key], after: Position | None) -> sa.Select[Any]:
    """Sort by the keys, and leave out what comes up to `after`.

    Raises:
        InvalidInput: `after` is no position of this order.
    """
    if after is not None:
        check_position(after, [str if isinstance(key.value.type, sa.Text) else int for key in keys])
        edges = [sa.literal(edge, sa.BigInteger if isinstance(edge, int) else sa.Text) for edge in after]
        behind = []
        for place, key in enumerate(keys):
            same = [keys[before].value == edges[before] for before in range(place)]
            farther = key.value > edges[place] if key.ascending else key.value < edges[place]
            behind.append(sa.and_(*same, farther))
        first = keys[0].value >= edges[0] if keys[0].ascending else keys[0].value <= edges[0]
        query = query.where(first, sa.or_(*behind))  # the first alone is what an index understands
    return query.order_by(*(key.value.asc() if key.ascending else key.value.desc() for key in keys))


def check_position(after: Position, kinds: Sequence[type]) -> None:
    """Refuse a position whose values are not of these kinds, one after the other.

    Raises:
        InvalidInput: somebody made the cursor up.
    """
    if [type(edge) for edge in after] != list(kinds):
        raise InvalidInput("this is not the cursor of a page", where="page_token", fix="Ask for the first page.")
