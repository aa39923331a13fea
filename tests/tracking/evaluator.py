"""What a filter means, said in plain Python: the oracle that the SQL is held against; and filters as text again."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace.tracking.expressions import And, Comparison, Expression, Not
from headrace.tracking.nouns import Run

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES = {"id": "run_id", "name": "run_name", "user": "user_id", "started_at": "start_time", "ended_at": "end_time"}


def holds(expression: Expression, run: Run) -> bool:
    """Whether a run is what the expression asks for."""
    if isinstance(expression, Comparison):
        return _holds(expression, run)
    if isinstance(expression, Not):
        return not holds(expression.operand, run)
    every = [holds(operand, run) for operand in expression.operands]
    return all(every) if isinstance(expression, And) else any(every)


def _holds(found: Comparison, run: Run) -> bool:
    if found.kind == "dataset":
        values = [_dataset(found.key, each) for each in run.inputs.datasets]
        return any(value is not None and compare(value, found.comparator, found.value) for value in values)
    value = _value(found, run)
    if found.comparator in {"IS NULL", "IS NOT NULL"}:
        return (value is None) is (found.comparator == "IS NULL")
    return value is not None and compare(value, found.comparator, found.value)


def _dataset(key: str, found: Any) -> str | None:
    return found.tags.get("mlflow.data.context") if key == "context" else getattr(found.dataset, key)


def _value(found: Comparison, run: Run) -> Any:
    if found.kind == "param":
        return run.params.get(found.key)
    if found.kind == "tag":
        return run.tags.get(found.key)
    if found.kind == "metric":
        summary = run.metrics.get(found.key)
        if summary is None:
            return None
        at: Any = {"last": summary, "min": summary.min, "max": summary.max}[found.aggregate]
        return None if at is None else float(at.value)
    value = getattr(run, found.key)
    return (value - _EPOCH) // timedelta(milliseconds=1) if isinstance(value, datetime) else value


def compare(value: Any, comparator: str, other: Any) -> bool:
    """Whether a value that is there compares so."""
    if comparator.startswith("NOT "):
        return not compare(value, comparator.removeprefix("NOT "), other)
    if comparator == "IN":
        return value in other
    if comparator in {"LIKE", "ILIKE"}:
        pattern = "".join({"%": ".*", "_": "."}.get(sign) or re.escape(sign) for sign in other)
        return re.fullmatch(pattern, value, re.DOTALL | (re.IGNORECASE if comparator == "ILIKE" else 0)) is not None
    return {
        "=": value == other,
        "!=": value != other,
        "<": value < other,
        "<=": value <= other,
        ">": value > other,
        ">=": value >= other,
    }[comparator]


def meets(expression: Expression, values_of: Callable[[Comparison], Sequence[Any]]) -> bool:
    """Whether what has the values that `values_of` tells for a comparison is what the expression asks for."""
    if isinstance(expression, Not):
        return not meets(expression.operand, values_of)
    if not isinstance(expression, Comparison):
        every = [meets(operand, values_of) for operand in expression.operands]
        return all(every) if isinstance(expression, And) else any(every)
    values = values_of(expression)
    if expression.comparator in {"IS NULL", "IS NOT NULL"}:
        return bool(values) is (expression.comparator == "IS NOT NULL")
    return any(compare(value, expression.comparator, expression.value) for value in values)


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970, as the wire has times."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def write(expression: Expression, names: Mapping[str, str] = _NAMES) -> str:
    """The expression as a filter's text, in parentheses throughout, with the `names` that columns are known by."""
    if isinstance(expression, Comparison):
        return _write(expression, names)
    if isinstance(expression, Not):
        return f"NOT ({write(expression.operand, names)})"
    word = " AND " if isinstance(expression, And) else " or "
    return word.join(f"({write(operand, names)})" for operand in expression.operands)


def _write(found: Comparison, names: Mapping[str, str]) -> str:
    key = names.get(found.key, found.key) if found.kind == "attribute" else found.key
    name = f"{found.kind}s.`{key}`"
    if found.aggregate != "last":
        name = f"{found.aggregate.upper()}({name})"
    if found.value is None:
        return f"{name} {found.comparator.lower()}"
    if isinstance(found.value, tuple):
        return f"{name} {found.comparator} ({', '.join(map(_text, found.value))})"
    if isinstance(found.value, float):
        return f"{name} {found.comparator} {found.value if math.isfinite(found.value) else repr(found.value)}"
    return f"{name} {found.comparator} {_text(found.value)}"


def _text(value: str) -> str:
    return f'"{value}"' if "'" in value else f"'{value}'"
