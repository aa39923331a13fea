"""A metric in each slice of the rows, where a mean over all of them would hide that one part got worse.

Two questions, two rules. "Is every slice good enough?" is answered yes only if each slice shows it:
intersection-union, each at the full error rate. "Is some slice worse?" is a search among many, so its error is
divided by Holm's rule. A slice with too few rows shows nothing, and so neither do all of them.

Sources: Berger (1982) for intersection-union; Holm, "A Simple Sequentially Rejective Multiple Test Procedure"
(1979). Holm's rule is applied to intervals: a slice is worse when its interval at the error divided by the number
of slices that are still open lies on the bad side; then that number falls by one.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.errors import InvalidInput
from headrace.statistics import comparison, metrics
from headrace.statistics.comparison import Verdict
from headrace.statistics.intervals import Interval, cluster_codes, units


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """One slice of the rows.

    Attributes:
        name: of the slice.
        rows: in it.
        units: independent units among them.
        verdict: on this slice; WORSE only after Holm's correction.
        estimate: the metric, or the gain over the other model, with its interval; None when there is none.
        reason: why there is no estimate, or why it does not count.
    """

    name: str
    rows: int
    units: int
    verdict: Verdict
    estimate: Interval | None = None
    reason: str = ""


Parts = Mapping[str, npt.NDArray[np.bool_]]
"""The rows of each slice as a mask of shape (rows,), by its name; all of them are one family for Holm's rule."""

Measure = Callable[[npt.NDArray[np.bool_], float], Interval]
"""Takes the rows of a slice as a mask and a confidence, gives an interval."""


def parts_of(members: npt.NDArray[Any], *, prefix: str = "") -> dict[str, npt.NDArray[np.bool_]]:
    """The slices that rows fall into by the name of each row's group, shape (rows,)."""
    return {f"{prefix}{name}": members == name for name in np.unique(members)}


def gains(
    metric: str,
    labels: npt.NDArray[Any],
    new: npt.NDArray[Any],
    old: npt.NDArray[Any],
    parts: Parts,
    *,
    margin: float,
    alpha: float = comparison.ALPHA,
    minimum_units: int = 1,
    entities: npt.NDArray[Any] | None = None,
    threshold: float = metrics.THRESHOLD,
    seed: int = 0,
) -> tuple[Slice, ...]:
    """Each slice's gain of the new model over the old one, judged against -margin; see `comparison.compare`."""

    def measure(among: npt.NDArray[np.bool_], confidence: float) -> Interval:
        own = None if entities is None else entities[among]
        return comparison.gain(
            metric, labels[among], new[among], old[among],
            confidence=confidence, groups=own, threshold=threshold, seed=seed,
        )  # fmt: skip

    def judge(found: Interval) -> Verdict:
        return comparison.non_inferiority(found.low, found.high, margin)

    return _judged(metric, labels, parts, measure, judge, alpha, minimum_units, entities)


def values(
    metric: str,
    labels: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    parts: Parts,
    *,
    bound: float,
    alpha: float = comparison.ALPHA,
    minimum_units: int = 1,
    entities: npt.NDArray[Any] | None = None,
    threshold: float = metrics.THRESHOLD,
    seed: int = 0,
) -> tuple[Slice, ...]:
    """Each slice's metric, judged against a bound; see `comparison.attain`."""

    def measure(among: npt.NDArray[np.bool_], confidence: float) -> Interval:
        own = None if entities is None else entities[among]
        return comparison.interval(
            metric, labels[among], scores[among],
            confidence=confidence, groups=own, threshold=threshold, seed=seed,
        )  # fmt: skip

    def judge(found: Interval) -> Verdict:
        return comparison.attains(found, bound, lower_is_better=metric in metrics.LOWER_IS_BETTER)

    return _judged(metric, labels, parts, measure, judge, alpha, minimum_units, entities)


def all_good(found: tuple[Slice, ...]) -> Verdict:
    """PASS when every slice shows that it is good (intersection-union), WORSE when one is shown to be worse."""
    return comparison.worst([one.verdict for one in found])


def no_alarm(found: tuple[Slice, ...]) -> Verdict:
    """PASS unless a slice is shown to be worse; slices without an estimate are INCONCLUSIVE all the same."""
    verdicts = [
        Verdict.PASS if one.verdict is Verdict.INCONCLUSIVE and one.estimate and not one.reason else one.verdict
        for one in found
    ]
    return comparison.worst(verdicts)


def _judged(
    metric: str,
    labels: npt.NDArray[Any],
    parts: Parts,
    measure: Measure,
    judge: Callable[[Interval], Verdict],
    alpha: float,
    minimum_units: int,
    entities: npt.NDArray[Any] | None,
) -> tuple[Slice, ...]:
    metrics.known(metric)
    found = {
        name: _one(name, metric, labels[among], None if entities is None else entities[among], minimum_units,
                   partial(measure, among, 1.0 - 2.0 * alpha))
        for name, among in parts.items()
    }  # fmt: skip
    candidates = {
        name
        for name, one in found.items()
        if one.estimate is not None and not one.reason and judge(one.estimate) is Verdict.WORSE
    }

    def again(name: str, part: float) -> Verdict:
        return judge(measure(parts[name], 1.0 - 2.0 * alpha * part))

    judged = sum(one.estimate is not None and not one.reason for one in found.values())
    worse = _holm(candidates, judged, again)
    return tuple(
        msgspec.structs.replace(one, verdict=_verdict(one, judge, worse=name in worse))
        for name, one in found.items()
    )


def _one(
    name: str,
    metric: str,
    labels: npt.NDArray[Any],
    entities: npt.NDArray[Any] | None,
    minimum_units: int,
    measure: Callable[[], Interval],
) -> Slice:
    """A slice with its estimate, not judged yet."""
    rows = len(labels)
    number = units(rows, cluster_codes(entities))
    one = Slice(name=name, rows=rows, units=number, verdict=Verdict.INCONCLUSIVE)
    try:
        estimate = measure()
    except InvalidInput as problem:
        return msgspec.structs.replace(one, reason=problem.message)
    reason = ""
    if number < minimum_units:
        reason = f"fewer than {minimum_units} independent rows"
    elif not comparison.enough(metric, labels, entities):
        reason = "too few rows of each outcome"
    return msgspec.structs.replace(one, estimate=estimate, reason=reason)


def _holm(candidates: set[str], number: int, judged: Callable[[str, float], Verdict]) -> set[str]:
    """The slices that are worse at the error divided among those still open."""
    worse: set[str] = set()
    while True:
        part = 1.0 / max(number - len(worse), 1)
        shown = {name for name in candidates - worse if judged(name, part) is Verdict.WORSE}
        if not shown:
            return worse
        worse.add(min(shown))


def _verdict(one: Slice, judge: Callable[[Interval], Verdict], *, worse: bool) -> Verdict:
    if worse:
        return Verdict.WORSE
    if one.estimate is None or one.reason:
        return Verdict.INCONCLUSIVE
    verdict = judge(one.estimate)
    return Verdict.INCONCLUSIVE if verdict is Verdict.WORSE else verdict
