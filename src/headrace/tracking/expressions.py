"""What a search asks for: the tree that a filter is parsed to, and the keys that results are ordered by."""

from typing import Literal

import msgspec

Kind = Literal["attribute", "param", "tag", "metric", "dataset"]
Aggregate = Literal["last", "min", "max", "best"]
Comparator = Literal[
    "=", "!=", "<", "<=", ">", ">=",
    "LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL",
]  # fmt: skip
Value = str | float | tuple[str, ...] | None

NEGATED: dict[str, Comparator] = {"NOT LIKE": "LIKE", "NOT ILIKE": "ILIKE", "NOT IN": "IN"}


class Comparison(msgspec.Struct, frozen=True, kw_only=True, tag="comparison"):
    """One thing compared with a value.

    What is not there never compares, not even as unequal; only IS NULL holds of it.

    Attributes:
        kind: what `key` names.
        value: text, a number, a tuple of texts for IN, None for IS NULL.
        aggregate: which value of a metric is meant: its latest, lowest or highest; "best" is the lowest or the
            highest, as the experiment's tag `headrace.goal.<metric>` says.
    """

    kind: Kind
    key: str
    comparator: Comparator
    value: Value = None
    aggregate: Aggregate = "last"

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that it compares with: one, several of IN, or none of IS NULL."""
        if self.value is None:
            return ()
        return self.value if isinstance(self.value, tuple) else (str(self.value),)


class Not(msgspec.Struct, frozen=True, kw_only=True, tag="not"):
    """Holds where its operand does not."""

    operand: "Expression"


class And(msgspec.Struct, frozen=True, kw_only=True, tag="and"):
    """Holds where all of its operands do; of none of them, everywhere."""

    operands: "tuple[Expression, ...]" = ()


class Or(msgspec.Struct, frozen=True, kw_only=True, tag="or"):
    """Holds where one of its operands does."""

    operands: "tuple[Expression, ...]"


Expression = Comparison | Not | And | Or

EVERYTHING = And()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One key that results are ordered by; what is not there comes last, and NaN just before it."""

    kind: Kind
    key: str
    ascending: bool = True
    aggregate: Aggregate = "last"


def comparisons(expression: Expression) -> tuple[Comparison, ...]:
    """The comparisons of a tree, from left to right."""
    if isinstance(expression, Comparison):
        return (expression,)
    if isinstance(expression, Not):
        return comparisons(expression.operand)
    return tuple(found for operand in expression.operands for found in comparisons(operand))


def conjuncts(expression: Expression) -> tuple[Expression, ...]:
    """The parts of a tree that must all hold."""
    if isinstance(expression, And):
        return tuple(found for operand in expression.operands for found in conjuncts(operand))
    return (expression,)
