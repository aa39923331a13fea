"""The part of MLflow's search grammar that is served: comparisons joined by AND, and one order."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from headrace.errors import InvalidInput, NotServed
from headrace.protocols.mlflow.encoding import RUN_NAME_TAG, moment
from headrace.tracking.nouns import Comparator, Condition, Order

_KEY = r"""`(?:[^`]+)`|"(?:[^"]+)"|[\w.\-/]+"""
_TERM = re.compile(
    rf"""\s*(?P<name>(?:\w+\.)?(?:{_KEY})|`[^`]+`)\s*
    (?P<comparator>!=|<=|>=|=|<|>)\s*
    (?P<value>'[^']*'|"[^"]*"|[-+]?\d[\w.+\-]*|[-+]?\.\d[\w+\-]*)\s*""",
    re.VERBOSE,
)
_AND = re.compile(r"and\b", re.IGNORECASE)
_BEYOND = re.compile(r"\b(?:or|not|in|like|ilike|is|between|rlike)\b|[()]", re.IGNORECASE)
_ORDER = re.compile(rf"\s*(?P<name>(?:\w+\.)?(?:{_KEY}))(?:\s+(?P<way>asc|desc))?\s*", re.IGNORECASE)

Kind = Literal["attribute", "param", "tag", "metric"]

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "param"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
}
_RUN_ATTRIBUTES = {
    "run_id": "run_id",
    "run_name": "name",
    "run name": "name",
    "Run name": "name",
    "Run Name": "name",
    "user_id": "user",
    "status": "status",
    "start_time": "started_at",
    "created": "started_at",
    "end_time": "ended_at",
}
_TIMES = frozenset({"started_at", "ended_at"})


class Term(NamedTuple):
    """One comparison: `metrics.auc > 0.7`."""

    kind: Kind
    key: str
    comparator: Comparator
    value: str | float


def terms(text: str) -> list[Term]:
    """The comparisons of a filter.

    Raises:
        InvalidInput: it is not a filter.
        NotServed: it uses a part of the grammar that is not served.
    """
    found: list[Term] = []
    position = 0
    while text[position:].strip():
        if found:
            joined = _AND.match(text, position)
            if joined is None:
                raise _refused(text, position)
            position = joined.end()
        match = _TERM.match(text, position)
        if match is None:
            raise _refused(text, position)
        kind, key = _name(match["name"], text)
        comparator: Comparator = match["comparator"]  # type: ignore[assignment]
        found.append(Term(kind, key, comparator, _value(match["value"], kind, text)))
        position = match.end()
    return found


def run_conditions(text: str) -> tuple[Condition, ...]:
    """A filter of `runs/search`."""
    return tuple(_run_condition(term) for term in terms(text))


def equalities(text: str, allowed: Sequence[str], *, path: str) -> dict[str, str]:
    """A filter that only asks attributes to be equal to texts, such as `name = 'churn'`.

    Raises:
        NotServed: it asks for something else.
    """
    found: dict[str, str] = {}
    for term in terms(text):
        if term.kind != "attribute" or term.comparator != "=" or term.key not in allowed:
            raise NotServed(
                f"{path} is not served with the filter {text!r}",
                where="filter",
                fix=f"Compare {' and '.join(allowed)} with '='.",
            )
        found[term.key] = str(term.value)
    return found


def run_order(order_by: Sequence[str]) -> Order:
    """The order of `runs/search`: by start time or by one metric, then newest first."""
    parsed = [_order(text) for text in order_by]
    if len(parsed) == 2 and parsed[1] == Order():
        parsed = parsed[:1]
    if len(parsed) > 1:
        raise NotServed("runs/search is not served with several orders", where="order_by", fix="Give one.")
    return parsed[0] if parsed else Order()


def _order(text: str) -> Order:
    match = _ORDER.fullmatch(text)
    if match is None:
        raise InvalidInput(f"Invalid order_by clause '{text}'", where="order_by")
    kind, key = _name(match["name"], text)
    ascending = (match["way"] or "asc").lower() == "asc"
    if kind == "metric":
        return Order(metric=key, ascending=ascending)
    if kind == "attribute" and key in {"start_time", "created"}:
        return Order(ascending=ascending)
    raise NotServed(
        f"runs/search is not served with the order {text!r}",
        where="order_by",
        fix="Order by attributes.start_time or by a metric.",
    )


def _run_condition(term: Term) -> Condition:
    kind, key, comparator, value = term
    if kind == "tag" and key == RUN_NAME_TAG:
        kind, key = "attribute", "run_name"
    if kind != "attribute":
        return Condition(kind=kind, key=key, comparator=comparator, value=value)
    if key not in _RUN_ATTRIBUTES:
        raise InvalidInput(f"Invalid attribute key '{key}' specified.", where="filter")
    column = _RUN_ATTRIBUTES[key]
    if column not in _TIMES:
        if comparator not in {"=", "!="}:
            raise InvalidInput(f"Invalid comparator '{comparator}' for attribute '{key}'", where="filter")
        return Condition(kind=kind, key=column, comparator=comparator, value=str(value))
    if not isinstance(value, float):
        raise InvalidInput(f"Expected a numeric value for attribute '{key}'", where="filter")
    at = moment(int(value), where=f"filter {key}")
    return Condition(kind=kind, key=column, comparator=comparator, value=at)


def _name(text: str, filter_text: str) -> tuple[Kind, str]:
    prefix, dot, rest = text.partition(".")
    if dot and prefix in _KINDS:
        return _KINDS[prefix], rest.strip('`"')
    if dot and prefix in {"dataset", "datasets"}:
        raise NotServed(f"the filter {filter_text!r} is not served: datasets", where="filter")
    if dot and not text.startswith(("`", '"')):
        raise InvalidInput(
            f"Invalid entity type '{prefix}'. Valid values are ['metric', 'parameter', 'tag', 'attribute',"
            " 'dataset']",
            where="filter",
        )
    return "attribute", text.strip('`"')


def _value(text: str, kind: Kind, filter_text: str) -> str | float:
    if text[0] in "'\"":
        if kind == "metric":
            raise InvalidInput(
                f"Expected numeric value type for metric. Found {text}", where=f"filter {filter_text[:100]!r}"
            )
        return text[1:-1]
    if kind in {"param", "tag"}:
        raise InvalidInput(
            f"Expected a quoted string value for {kind}. Got value {text}",
            where=f"filter {filter_text[:100]!r}",
        )
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInput(f"'{text}' is not a number", where="filter") from error


def _refused(text: str, position: int) -> InvalidInput | NotServed:
    beyond = _BEYOND.search(text, position)
    if beyond is not None:
        return NotServed(
            f"the search grammar beyond AND is not served: {beyond[0]!r} in {text[:200]!r}", where="filter"
        )
    return InvalidInput(f"Invalid clause(s) in filter string: '{text[position:][:200]}'", where="filter")
