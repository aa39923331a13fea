"""Comparisons of a search as SQL, alike on both databases. None of them is ever NULL, so that NOT means not."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.tracking.expressions import NEGATED, And, Comparison, Expression, Not, Or
from headrace.tracking.readings import NAN, to_sortable

Condition = sa.ColumnElement[bool]

_MILLISECOND = 1000


def condition(expression: Expression, term: Callable[[Comparison], Condition]) -> Condition:
    """A tree as one condition; `term` makes that of a comparison."""
    if isinstance(expression, Comparison):
        return term(expression)
    if isinstance(expression, Not):
        return sa.not_(condition(expression.operand, term).self_group())
    parts = [condition(operand, term) for operand in expression.operands]
    if isinstance(expression, Or):
        return sa.or_(sa.false(), *parts)
    assert isinstance(expression, And)
    return sa.and_(sa.true(), *parts)


def text(column: Any, found: Comparison, dialect: str) -> Condition:
    """A column of text compared; a NULL compares with nothing."""
    if found.comparator == "IS NULL":
        return column.is_(None)
    if found.comparator == "IS NOT NULL":
        return column.is_not(None)
    if found.comparator in NEGATED:
        positive = _text(column, NEGATED[found.comparator], found.value, dialect)
        return sa.and_(column.is_not(None), sa.not_(positive))
    return sa.and_(column.is_not(None), _text(column, found.comparator, found.value, dialect))


def _text(column: Any, comparator: str, value: Any, dialect: str) -> Condition:
    if comparator == "=":
        return column == value
    if comparator == "!=":
        return column != value
    if comparator == "IN":
        return column.in_(value)
    if dialect == "postgresql":  # an empty escape: a backslash is a backslash
        if comparator == "LIKE":
            return column.like(value, escape="")
        return sa.collate(column, "default").ilike(value, escape="")  # C knows no case but ASCII's
    if comparator == "LIKE":  # SQLite's own LIKE knows no case
        return column.bool_op("GLOB")(_glob(value))
    return sa.func.unicode_lower(column).bool_op("GLOB")(_glob(value.lower()))


def _glob(pattern: str) -> str:
    return "".join({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}.get(sign, sign) for sign in pattern)


def reading(column: Any, found: Comparison) -> Condition:
    """A metric's value, stored as its code, compared: the two zeros are one, and NaN is unequal to everything."""
    code = sa.type_coerce(column, sa.BigInteger)
    if found.comparator == "IS NULL":
        return code.is_(None)
    if found.comparator == "IS NOT NULL":
        return code.is_not(None)
    number = float(found.value)  # type: ignore[arg-type]
    if math.isnan(number):
        return sa.and_(code.is_not(None), sa.true() if found.comparator == "!=" else sa.false())
    low, high = (to_sortable(-0.0), to_sortable(0.0)) if number == 0 else (to_sortable(number),) * 2
    compared: dict[str, Condition] = {
        "=": code.between(low, high),
        "!=": sa.or_(code < low, code > high),
        "<": code < low,
        "<=": code <= high,
        ">": sa.and_(code > high, code < NAN),
        ">=": sa.and_(code >= low, code < NAN),
    }
    return sa.and_(code.is_not(None), compared[found.comparator])


def instant(column: Any, found: Comparison) -> Condition:
    """A time in microseconds compared with milliseconds, as the wire has it: rounded down to whole ones."""
    return whole(column, found, unit=_MILLISECOND)


def whole(column: Any, found: Comparison, *, unit: int = 1) -> Condition:
    """A whole number compared, in units of which it has `unit`: rounded down to whole ones."""
    value = float(found.value)  # type: ignore[arg-type]
    at = sa.type_coerce(column, sa.BigInteger)
    if not math.isfinite(value) or abs(value) > 1e15:  # beyond every time; NaN is only unequal
        below = found.comparator in {"<", "<="} and value > 0
        above = found.comparator in {">", ">="} and value < 0
        holds = found.comparator == "!=" or (not math.isnan(value) and (below or above))
        return sa.and_(at.is_not(None), sa.true() if holds else sa.false())
    floor, ceiling = math.floor(value) * unit, math.ceil(value) * unit
    following = floor + unit
    exact = sa.and_(at >= floor, at < following) if floor == ceiling else sa.false()
    compared: dict[str, Condition] = {
        "=": exact,
        "!=": sa.not_(exact),
        "<": at < ceiling,
        "<=": at < following,
        ">": at >= following,
        ">=": at >= ceiling,
    }
    return sa.and_(at.is_not(None), compared[found.comparator])


def entry(document: Any, found: Comparison, dialect: str) -> Condition:
    """The text at a key of a JSON object compared.

    The document is searched as text first, for how it was written there: most hold nothing of the kind, and to take
    each of them apart would cost ten times as much.
    """
    value = member(document, found.key, dialect)
    if found.comparator == "IS NULL":
        return value.is_(None)
    written = msgspec.json.encode(found.key) + b":"
    if found.comparator == "=":
        written += msgspec.json.encode(found.value)
    search = sa.func.strpos if dialect == "postgresql" else sa.func.instr
    held = search(sa.type_coerce(document, sa.Text), written.decode()) > 0
    return sa.and_(held, text(value, found, dialect))


def member(document: Any, key: str, dialect: str) -> Any:
    """The text at a key of a JSON object that is stored as text; NULL when there is none."""
    stored = sa.type_coerce(document, sa.Text)
    if dialect == "postgresql":
        return sa.cast(stored, sa.JSON).op("->>", return_type=sa.Text())(sa.literal(key, sa.Text))
    entry = sa.func.json_each(stored).table_valued("key", "value")  # a path would read some keys otherwise
    return sa.select(sa.type_coerce(entry.c.value, sa.Text)).where(entry.c.key == key).scalar_subquery()
