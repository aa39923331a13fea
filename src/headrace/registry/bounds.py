"""Bounds: how strictly what a policy asks for must have been declared, or a gate that nothing fails would do.

A bound is written in the words of the declaration that it bounds: `margin=0.01` is that of
`hr.not_worse_than_production`. Which of two values is the stricter one is not said again here: `project.binding`
makes the declaration as strict as the bound, and where that changes something, the declaration was laxer.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any, get_args

import msgspec
from msgspec import structs

from headrace.errors import InvalidInput, ProjectError
from headrace.project.binding import Judge, stricter_judge, stricter_rollout
from headrace.project.experiments import Experiment, Rollout
from headrace.project.gates import GATES, Small
from headrace.project.metrics import OF_DECISIONS
from headrace.project.rollout import Canary, Guarded

OF_A_METRIC = frozenset({"value", "margin", "at_most", "at_least", "bound"})
"""Bounds that mean nothing until it is said of which metric."""
OF_THE_ROWS = ("rows", "entities")
"""Bounds on what a verdict rests on, which nobody declares."""
WITHOUT_ROWS = frozenset({"latency", "size"})
"""Gates whose verdict rests on no labelled rows."""

_EXACT = ("by", "threshold")
_ASKED_OF: dict[str, tuple[str, str, dict[str, Any]]] = {
    "at_least": ("metric", "roc_auc", {"value": 0.0}),
    "at_most": ("metric", "log_loss", {"value": 1e300}),
    "not_worse_than_production": ("metric", "roc_auc", {"margin": 0.999999}),
    "fair": ("measure", "demographic_parity_difference", {"by": ["any"]}),
    "slices": ("metric", "roc_auc", {"by": ["any"], "margin": 0.999999}),
    "calibrated": ("", "calibration_error", {"at_most": 0.999999}),
    "latency": ("", "latency_p95", {"slower_at_most": 100.0}),
    "size": ("", "size_bytes", {"at_most_bytes": 2**62}),
    "schema": ("", "", {}),
    "completeness": ("", "", {"minimum": 1e-9}),
    "stable_distribution": ("", "", {"alpha": 1e-300}),
    "replay": ("", "", {"rows": 1}),
}
"""Of each declaration: the field that names its metric, the metric unless one is named, and what asks for next to
nothing."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a gate, a check or the staging must at least have asked for so that its verdict counts.

    A bound that is not known is refused wherever it is read: passing it over would let more through.

    Attributes:
        value: of `at_least` and `at_most`.
        margin: of a comparison with production.
        at_most: of a fairness difference, or of the calibration error.
        at_least: of a fairness ratio.
        bound: of a metric in each slice.
        alpha: the error rate.
        by: what rows have to be grouped by, in the words of the evidence, such as `people.gender`; more may be.
        threshold: where scores are cut, exactly.
        minimum_rows: what a group or a slice must rest on.
        small_groups: what a group with fewer does.
        small_slices: the same of a slice.
        intersections: whether the groups of all columns at once are judged.
        alarm: False asks for proof in each slice.
        p95_ms: of the latency.
        slower_at_most: of the latency, against production.
        at_most_bytes: of the size.
        minimum: of the completeness.
        rows: how many rows the verdict has to rest on.
        entities: how many entities these have to be of.
    """

    value: float | None = None
    margin: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    bound: float | None = None
    alpha: float | None = None
    by: tuple[str, ...] = ()
    threshold: float | None = None
    minimum_rows: int | None = None
    small_groups: Small | None = None
    small_slices: Small | None = None
    intersections: bool | None = None
    alarm: bool | None = None
    p95_ms: float | None = None
    slower_at_most: float | None = None
    at_most_bytes: int | None = None
    minimum: float | None = None
    rows: int | None = None
    entities: int | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """The bounds that are set, by name."""
        return {name: value for name, value in structs.asdict(self).items() if value not in (None, ())}

    @property
    def declared(self) -> dict[str, Any]:
        """Those that the declaration is made as strict as."""
        return {name: value for name, value in self.asked.items() if name not in (*_EXACT, *OF_THE_ROWS)}

    @property
    def says(self) -> str:
        """In short, for people."""
        declared = [name for name in self.asked if name not in OF_THE_ROWS]
        said = [f"no laxer than {words(self.asked, declared)}"] if declared else []
        said += [f"on at least {self.asked[name]:,} {name}" for name in OF_THE_ROWS if name in self.asked]
        return ", ".join(said)


class RolloutBounds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How carefully a release must at least move the traffic, in the words of `hr.Canary` and `hr.ABTest`.

    Attributes:
        first_share: percent of the traffic at the first step, at most.
        tolerance: the share of units that may see the version fail.
        alpha: the chance of a wrong verdict.
        minimum_time: the shortest stay at each step.
        cooling: how long the old version stays resident.
        invalid_tolerance: of invalid answers.
        fallback_tolerance: of answers by something else.
        slow_tolerance: of slow answers.
        slow_from_ms: what is never slow.
        margin: of an A/B test or a bandit: the loss of reward that is accepted, in the reward's unit.
    """

    first_share: int | None = None
    tolerance: float | None = None
    alpha: float | None = None
    minimum_time: str | None = None
    cooling: str | None = None
    invalid_tolerance: float | None = None
    fallback_tolerance: float | None = None
    slow_tolerance: float | None = None
    slow_from_ms: float | None = None
    margin: float | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """The bounds that are set, by name."""
        return {name: value for name, value in structs.asdict(self).items() if value is not None}

    @property
    def says(self) -> str:
        """In short, for people."""
        return f"a release whose rollout is no laxer than {words(self.asked)}"


# -- of a gate ----------------------------------------------------------------------------------------------


def laxer(declared: Judge, bounds: Bounds) -> list[str]:
    """The bounds that a declaration falls short of, by name; those on the rows are for `too_few`."""
    asked = bounds.declared
    try:
        strict = stricter_judge(declared, structs.replace(declared, **asked))
    except (ProjectError, TypeError):  # it has no such field, or cannot have such a value
        short = list(asked)
    else:
        short = [name for name in asked if getattr(strict, name) != getattr(declared, name)]
    if not set(bounds.by) <= set(_titles(declared)):
        short.append("by")
    if bounds.threshold not in {None, getattr(declared, "threshold", None)}:
        short.append("threshold")
    return short


def too_few(bounds: Bounds, *, rows: int | None, entities: int | None) -> list[str]:
    """Of what a verdict rests on too little; what is not known is not enough."""
    found = {"rows": rows or 0, "entities": entities or 0}
    return [name for name in OF_THE_ROWS if found[name] < bounds.asked.get(name, 0)]


def kind_of(declared: Judge) -> str:
    """The name that projects and policies use for it."""
    return str(declared.__struct_config__.tag)


def metric_of(declared: Judge) -> str | None:
    """What a gate measures, as its evidence names it; None for what measures nothing of the scores."""
    field, usual, _ = _ASKED_OF[kind_of(declared)]
    return str(getattr(declared, field)) if field else usual or None


def words(values: dict[str, Any], names: list[str] | None = None) -> str:
    """Fields with their values as projects write them, such as `value=0.75, alpha=0.05`."""
    return ", ".join(f"{name}={_word(values[name])}" for name in (values if names is None else names))


def words_of(declared: Judge, names: list[str]) -> str:
    """What a declaration says in some fields."""
    values = {name: getattr(declared, name, None) for name in names}
    return words(values | ({"by": _titles(declared)} if "by" in values else {}))


def all_words_of(declared: Judge | None) -> str:
    """Whatever of a declaration can be bounded, for who is to judge it."""
    if declared is None:
        return ""
    fields = [name for name in Bounds.__struct_fields__ if getattr(declared, name, None) not in (None, ())]
    return words_of(declared, fields)


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return " + ".join(map(str, value)) or "nothing"
    return str(value)


def _titles(declared: Judge) -> tuple[str, ...]:
    return tuple(column.title for column in getattr(declared, "columns", ()))


# -- what may be asked --------------------------------------------------------------------------------------


def check(gate: str, metric: str | None, bounds: Bounds) -> None:
    """Refuse bounds that nothing could be held to.

    Raises:
        InvalidInput: names the bound.
    """
    kind, field = _kind(gate), _ASKED_OF[gate][0]
    fields = [name for name in Bounds.__struct_fields__ if name in kind.__struct_fields__]
    on_rows = [] if gate in WITHOUT_ROWS else [*OF_THE_ROWS] if issubclass(kind, GATES) else ["rows"]
    known = [*dict.fromkeys((*fields, *on_rows))]
    for name in bounds.asked:
        if name not in known:
            raise InvalidInput(
                f"{gate} has no {name} to be bounded",
                where="bounds",
                fix=f"It has {', '.join(known)}." if known else "Ask for it without bounds.",
            )
        if field and name in OF_A_METRIC and metric is None:
            raise InvalidInput(
                f"a bound on {name} of {gate} means nothing without a metric",
                where="metric",
                fix=f"Name the {field} that it is of, such as {_ASKED_OF[gate][1]}.",
            )
    if not field and metric not in {None, _ASKED_OF[gate][1] or None}:
        raise InvalidInput(f"{gate} is not of {metric}", where="metric", fix="Leave the metric out.")
    for name in OF_THE_ROWS:
        if bounds.asked.get(name, 1) < 1:
            raise InvalidInput(f"{name} cannot be {bounds.asked[name]}", where="bounds", fix=f"Write {name}: 1000.")
    try:
        _asking(gate, metric, {**bounds.declared, **_threshold(bounds)})
    except (ProjectError, msgspec.ValidationError) as problem:
        fix = problem.fix if isinstance(problem, ProjectError) else None
        raise InvalidInput(f"the bounds of {gate} cannot be meant: {problem}", where="bounds", fix=fix) from problem


def covers(after: Bounds, before: Bounds, gate: str, metric: str | None) -> bool:
    """Whether whatever is within the bounds `after` is within those `before`, too."""
    asked = after.asked
    if any(name not in asked for name in before.asked):
        return False
    if any(asked[name] < before.asked[name] for name in OF_THE_ROWS if name in before.asked):
        return False
    if not set(before.by) <= set(after.by) or before.threshold not in {None, after.threshold}:
        return False
    rest = structs.replace(before, by=(), threshold=None)
    return all(not laxer(each, rest) for each in _laxest(after, gate, metric))


def _laxest(bounds: Bounds, gate: str, metric: str | None) -> Iterator[Judge]:
    """The declarations that are just within some bounds, one for each way in which the bounds can be meant.

    Whether fewer rows or more are the stricter demand depends on what becomes of a group that has too few.
    """
    fields = _kind(gate).__struct_fields__
    modes = [
        [(name, value) for value in values if strict is None or value == strict]
        for name, values, strict in (
            ("alarm", (False, True), False if bounds.alarm is False else None),
            ("small_groups", ("inconclusive", "left_out"), _strict_small(bounds.small_groups)),
            ("small_slices", ("inconclusive", "left_out"), _strict_small(bounds.small_slices)),
        )
        if name in fields
    ]
    for chosen in product(*modes):
        yield _asking(gate, metric, {**bounds.declared, **dict(chosen), **_threshold(bounds)})


def _strict_small(small: Small | None) -> Small | None:
    return small if small == "inconclusive" else None


def _threshold(bounds: Bounds) -> dict[str, Any]:
    return {} if bounds.threshold is None else {"threshold": bounds.threshold}


def _asking(gate: str, metric: str | None, asked: dict[str, Any]) -> Judge:
    """A declaration that asks for this and next to nothing else."""
    field, usual, little = _ASKED_OF[gate]
    metric = metric or usual
    if field and metric == usual and asked.get("threshold") is not None and metric not in OF_DECISIONS:
        metric = "accuracy" if field == "metric" else metric
    given = {"kind": gate, **little, **({field: metric} if field else {}), **asked}
    if gate == "fair" and not {"at_most", "at_least", "margin"} & set(asked):
        given |= {"at_least": 1e-9} if metric.endswith("_ratio") else {"at_most": 0.999999}
    return msgspec.convert(given, Judge)


def _kind(gate: str) -> type[Judge]:
    found: type[Judge] = next(kind for kind in get_args(Judge) if kind.__struct_config__.tag == gate)
    return found


# -- of a rollout -------------------------------------------------------------------------------------------


def laxer_rollout(declared: Rollout, bounds: RolloutBounds) -> list[str]:
    """The bounds that a rollout falls short of, by name."""
    asked = bounds.asked
    first = asked.pop("first_share", declared.steps[0])
    margin = asked.pop("margin", None)
    guards = {name: getattr(declared, name) for name in Guarded.__struct_fields__}
    strict = stricter_rollout(declared, Canary(_steps(first), **(guards | asked)))
    short = [name for name in asked if getattr(strict, name) != getattr(declared, name)]
    if margin is not None and isinstance(declared, Experiment) and declared.margin > margin:
        short.append("margin")
    return [*(["first_share"] if strict.steps[0] != declared.steps[0] else []), *short]


def words_of_rollout(declared: Rollout, names: list[str]) -> str:
    """What a rollout says in some fields."""
    values = {name: declared.steps[0] if name == "first_share" else getattr(declared, name) for name in names}
    return words(values)


def check_rollout(bounds: RolloutBounds) -> None:
    """Refuse bounds that no rollout could be held to.

    Raises:
        InvalidInput: says what is wrong.
    """
    if not bounds.asked:
        raise InvalidInput(
            "nothing is asked of the rollout", where="rollout", fix="Add first_share: 5, or leave it out."
        )
    if bounds.margin is not None and not 0.0 <= bounds.margin < math.inf:
        raise InvalidInput(
            f"the bounds of the rollout cannot be meant: margin cannot be {bounds.margin}",
            where="rollout",
            fix="Use the loss that may be accepted: margin=0.0.",
        )
    try:
        _just(bounds)
    except ProjectError as problem:
        raise InvalidInput(
            f"the bounds of the rollout cannot be meant: {problem.message}", where="rollout", fix=problem.fix
        ) from problem


def covers_rollout(after: RolloutBounds | None, before: RolloutBounds) -> bool:
    """Whether whatever is within the bounds `after` is within those `before`, too."""
    if after is None or any(name not in after.asked for name in before.asked):
        return False
    if before.margin is not None and (after.margin is None or after.margin > before.margin):
        return False
    return not laxer_rollout(_just(after), before)


def _just(bounds: RolloutBounds) -> Canary:
    """A rollout that is just within some bounds."""
    asked = bounds.asked
    first = asked.pop("first_share", 100)
    asked.pop("margin", None)
    return Canary(_steps(first), **asked, declared_at="policy")


def _steps(first: int) -> tuple[int, ...]:
    return tuple(sorted({first, 100}))
