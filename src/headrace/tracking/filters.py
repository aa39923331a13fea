"""From the text of a filter or of an order to the tree that is searched by."""

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, cast

import lark
import msgspec

from headrace.errors import InvalidInput
from headrace.tracking.expressions import (
    EVERYTHING,
    Aggregate,
    And,
    Comparator,
    Comparison,
    Expression,
    Not,
    Or,
    Order,
)
from headrace.tracking.vocabulary import Vocabulary, Written

LENGTH_LIMIT = 20_000
DEPTH_LIMIT = 50
TERMS_LIMIT = 200
ORDERS_LIMIT = 32
"""Each key of an order may join a table, and SQLite joins no more than 64."""

_WAYS = frozenset({"asc", "desc"})
_AGGREGATE = re.compile(r"(?P<aggregate>min|max|last|best)\s*\((?P<name>.*)\)", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r"(?:(?P<type>[^\W\d]\w*|`[^`]+`)\s*\.\s*)?(?P<key>`[^`]+`|\"[^\"]+\"|[^\s`\"']+)")


class Found(msgspec.Struct, frozen=True):
    """What a comparison is about, before the vocabulary has said what it means."""

    type: str | None
    key: str
    aggregate: Aggregate = "last"


def parse(text: str, vocabulary: Vocabulary) -> Expression:
    """The tree of a filter; an empty text asks for everything.

    Raises:
        InvalidInput: the text is no filter, or it asks for what such things do not have.
    """
    if not text.strip():
        return EVERYTHING
    if len(text) > LENGTH_LIMIT:
        raise InvalidInput(f"a filter has at most {LENGTH_LIMIT} characters", where="filter")
    _check_depth(text)
    try:
        tree = _parser().parse(text)
    except lark.exceptions.UnexpectedInput as error:
        raise _refused(text, error) from None
    try:
        return _Reader(vocabulary).transform(tree)
    except lark.exceptions.VisitError as error:
        raise error.orig_exc from None


def parse_order(texts: Sequence[str], vocabulary: Vocabulary) -> tuple[Order, ...]:
    """The keys of `order_by`, such as `metrics.auc DESC` or `max(metrics.auc)`.

    Raises:
        InvalidInput: one is no such key, two are the same, or there are too many.
    """
    check_orders(texts)
    found: list[Order] = []
    for text in texts:
        operand, ascending = _directed(text)
        aggregated = _AGGREGATE.fullmatch(operand)
        aggregate = cast("Aggregate", aggregated["aggregate"].lower()) if aggregated else "last"
        name = _NAME.fullmatch((aggregated["name"] if aggregated else operand).strip())
        if name is None or len(text) > LENGTH_LIMIT:
            raise _refused_order(text)
        subject = vocabulary.order(_type(name), _unquoted(name["key"]), aggregate)
        order = msgspec.structs.replace(subject, ascending=ascending)
        if any((order.kind, order.key, order.aggregate) == (at.kind, at.key, at.aggregate) for at in found):
            raise InvalidInput(f"`order_by` contains duplicate fields: {list(texts)}", where="order_by")
        found.append(order)
    return tuple(found)


def check_orders(orders: Sequence[object]) -> None:
    """Refuse more keys to sort by than a statement can hold."""
    if len(orders) > ORDERS_LIMIT:
        raise InvalidInput(f"results are ordered by at most {ORDERS_LIMIT} keys", where="order_by")


def _directed(text: str) -> tuple[str, bool]:
    """What an order is by, and whether it ascends."""
    words = text.rsplit(maxsplit=1)
    if len(words) > 1 and words[1].lower() in _WAYS:
        return words[0].strip(), words[1].lower() == "asc"
    return text.strip(), True


@cache
def _parser() -> lark.Lark:
    grammar = resources.files("headrace.tracking").joinpath("filter.lark").read_text()
    return lark.Lark(grammar, parser="lalr", lexer="contextual", maybe_placeholders=False)


class _Reader(lark.Transformer[Any, Expression]):
    """Builds the tree from the leaves up."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._terms = 0

    def plain(self, parts: list[str]) -> Found:
        return _named(parts[0])

    def aggregate(self, parts: list[str]) -> Found:
        found = _named(parts[1])
        return msgspec.structs.replace(found, aggregate=parts[0].rstrip("( \t\n").lower())

    def value(self, parts: list[Any]) -> Written:
        token = parts[0]
        if token.type == "NUMBER":
            return Written(str(token), float(token))
        if token.type == "TEXT":
            return Written(str(token), token[1:-1].replace(token[0] * 2, token[0]))
        return Written(str(token), None)

    def texts(self, parts: list[Any]) -> tuple[Written, ...]:
        return tuple(parts)

    def comparison(self, parts: list[Any]) -> Expression:
        return self._compared(parts[0], str(parts[1]), parts[2])

    def matches(self, parts: list[Any]) -> Expression:
        return self._compared(parts[0], parts[1].upper(), parts[2])

    def differs(self, parts: list[Any]) -> Expression:
        return self._compared(parts[0], f"NOT {parts[1].upper()}", parts[2])

    def within(self, parts: list[Any]) -> Expression:
        return self._compared(parts[0], "IN", parts[1])

    def without(self, parts: list[Any]) -> Expression:
        return self._compared(parts[0], "NOT IN", parts[1])

    def absent(self, parts: list[Any]) -> Expression:
        return self._compared(parts[0], "IS NULL", None)

    def present(self, parts: list[Any]) -> Expression:
        return self._compared(parts[0], "IS NOT NULL", None)

    def negated(self, parts: list[Any]) -> Expression:
        return Not(operand=parts[0])

    def conjunction(self, parts: list[Any]) -> Expression:
        return And(operands=tuple(parts))

    def disjunction(self, parts: list[Any]) -> Expression:
        return Or(operands=tuple(parts))

    def _compared(self, found: Found, comparator: str, value: Any) -> Comparison:
        self._terms += 1
        if self._terms > TERMS_LIMIT:
            raise InvalidInput(f"a filter has at most {TERMS_LIMIT} comparisons", where="filter")
        return self._vocabulary.comparison(
            found.type, found.key, found.aggregate, cast("Comparator", comparator), value
        )


def _named(text: str) -> Found:
    match = cast("re.Match[str]", _NAME.fullmatch(text))
    return Found(_type(match), _unquoted(match["key"]))


def _type(match: re.Match[str]) -> str | None:
    return match["type"] and match["type"].strip("`")


def _unquoted(text: str) -> str:
    return text[1:-1] if text[0] in '`"' else text


def _check_depth(text: str) -> None:
    depth = deepest = 0
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        deepest = max(deepest, depth)
    if deepest > DEPTH_LIMIT or len(re.findall(r"\bnot\b", text, re.IGNORECASE)) > TERMS_LIMIT:
        raise InvalidInput(f"a filter nests at most {DEPTH_LIMIT} deep", where="filter")


def _refused_order(text: str) -> InvalidInput:
    name, *ways = text[:LENGTH_LIMIT].split()[:3] or [""]
    said = (
        f"Invalid ordering key in order_by clause '{text[:200]}'."
        if len(ways) == 1 and _NAME.fullmatch(name)
        else f"Invalid order_by clause '{text[:200]}'. Could not be parsed."
    )
    return InvalidInput(said, where="order_by", fix="Write for example: metrics.auc DESC.")


def _refused(text: str, error: lark.exceptions.UnexpectedInput) -> InvalidInput:
    at = getattr(error, "pos_in_stream", None)
    rest = text[at:] if isinstance(at, int) and at >= 0 else ""
    if rest[:1] == ";" and rest[1:].strip():
        return InvalidInput(
            f"Search filter contained multiple expression {text[:200]!r}. Provide AND-ed expression list.",
            where="filter",
        )
    where = f"filter, character {len(text) - len(rest) + 1}" if rest else "filter, at its end"
    return InvalidInput(
        f"Invalid clause(s) in filter string: '{rest[:100]}'" if rest else f"Invalid filter '{text[:200]}'",
        where=where,
        fix="Compare a name with a value, such as: metrics.auc > 0.8 AND params.model = 'tree'."
        " Texts are quoted, numbers are not.",
    )
