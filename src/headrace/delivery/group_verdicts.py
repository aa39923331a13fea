"""Verdicts on groups and slices of the rows: fairness, and a metric where a mean would hide a part that got worse.

Fairness: the groups of each column are one question, those of all columns at once another; a bound and a change
against production are asked of each. All must hold (intersection-union), each at the full error rate. To say that
one does not is a search among the questions, so a violation is shown only at the error divided by their number
(Bonferroni).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.delivery.findings import FIRST_VERSION, Finding, Part, Sample, of_parts
from headrace.errors import InvalidInput
from headrace.project.gates import Fair, Slices
from headrace.statistics import comparison, fairness, intervals, ranking, slices
from headrace.statistics.comparison import Verdict
from headrace.statistics.fairness import Disparity, GroupRate, Widening
from headrace.statistics.intervals import Interval
from headrace.statistics.metrics import LOWER_IS_BETTER

INTERSECTION = " x "
MOST_GROUPS = 200
"""All pairs of more would be compared for nothing: hardly any would have rows enough."""


def judge_fair(gate: Fair, sample: Sample) -> Finding:
    """A bound on the measure for each grouping, and its change against production.

    Raises:
        InvalidInput: a column has no groups, or scores are not numbers.
    """
    ranking.check(sample.labels, sample.candidate, *([] if sample.production is None else [sample.production]))
    groupings = _groupings(gate, sample)
    asked = len(groupings) * ((gate.bound is not None) + (gate.margin is not None))
    parts: list[Part] = []
    table: list[dict[str, Any]] = []
    for title, members in groupings.items():
        number = len(np.unique(members))
        if number > MOST_GROUPS:
            note = f"{number} groups are too many; take fewer columns, or intersections=False"
            parts.append(Part(name=title, verdict=Verdict.INCONCLUSIVE, margin=gate.bound, note=note))
            continue
        large, small = fairness.group_rates(
            gate.measure, sample.labels, sample.candidate >= gate.threshold, members,
            confidence=1.0 - 2.0 * gate.alpha, minimum_units=gate.minimum_rows, entities=sample.keys,
        )  # fmt: skip
        table += [_row(title, one, small=False) for one in large] + [_row(title, one, small=True) for one in small]
        try:
            found = _disparity(gate, sample, members, 1.0 - 2.0 * gate.alpha)
        except InvalidInput as problem:
            parts.append(Part(name=title, verdict=Verdict.INCONCLUSIVE, margin=gate.bound, note=problem.message))
            continue
        doubt = _doubt(gate, found)
        if gate.bound is not None:
            corrected = _disparity(gate, sample, members, 1.0 - 2.0 * gate.alpha / asked).estimate
            parts.append(_bound(gate, title, found, corrected, doubt, asked))
        if gate.margin is not None:
            parts.append(_change(gate, sample, title, members, found, doubt, asked))
    return of_parts(gate, parts, confidence=1.0 - 2.0 * gate.alpha, groups=table, threshold=gate.threshold)


def judge_slices(gate: Slices, sample: Sample) -> Finding:
    """The metric in each slice, against production or against a bound.

    Raises:
        InvalidInput: a column has no groups, or there are no rows.
    """
    ranking.check(sample.labels, sample.candidate, *([] if sample.production is None else [sample.production]))
    cut: dict[str, npt.NDArray[np.bool_]] = {}
    for column in gate.columns:
        cut |= slices.parts_of(sample.members(column.title), prefix=f"{column.title} = ")
    parts: list[Part] = []
    verdicts: list[Verdict] = []
    if gate.bound is not None:
        found = slices.values(
            gate.metric, sample.labels, sample.candidate, cut,
            bound=gate.bound, alpha=gate.alpha, minimum_units=gate.minimum_rows,
            entities=sample.keys, threshold=gate.threshold,
        )  # fmt: skip
        verdicts.append(_of_slices(gate, found))
        sign = -1.0 if gate.metric in LOWER_IS_BETTER else 1.0
        parts += [_slice(gate, one, gate.bound, len(found), needed=gate.bound, sign=sign) for one in found]
    if gate.margin is not None and sample.production is None:
        verdicts.append(Verdict.PASS)
        parts.append(Part(name="change", verdict=Verdict.PASS, margin=gate.margin, note=FIRST_VERSION))
    elif gate.margin is not None and sample.production is not None:
        found = slices.gains(
            gate.metric, sample.labels, sample.candidate, sample.production, cut,
            margin=gate.margin, alpha=gate.alpha, minimum_units=gate.minimum_rows,
            entities=sample.keys, threshold=gate.threshold,
        )  # fmt: skip
        verdicts.append(_of_slices(gate, found))
        change = ", change"
        parts += [_slice(gate, one, gate.margin, len(found), needed=-gate.margin, suffix=change) for one in found]
    return of_parts(
        gate,
        parts,
        confidence=1.0 - 2.0 * gate.alpha,
        verdict=comparison.worst(verdicts),
        rule="no alarm (Holm)" if gate.alarm else "all must show it (intersection-union); worse by Holm",
    )


def _groupings(gate: Fair, sample: Sample) -> dict[str, npt.NDArray[np.str_]]:
    titles = [column.title for column in gate.columns]
    groupings = {title: sample.members(title) for title in titles}
    if len(titles) > 1 and gate.intersections:
        together = [" & ".join(row) for row in zip(*(groupings[title].tolist() for title in titles), strict=True)]
        groupings[INTERSECTION.join(titles)] = np.array(together, dtype=np.str_)
    return groupings


def _disparity(gate: Fair, sample: Sample, members: npt.NDArray[np.str_], confidence: float) -> Disparity:
    return fairness.disparity(
        gate.measure, sample.labels, sample.candidate >= gate.threshold, members,
        confidence=confidence, minimum_units=gate.minimum_rows, entities=sample.keys,
    )  # fmt: skip


def _doubt(gate: Fair, found: Disparity) -> str:
    """Why small groups leave the verdict open; empty when there are none, or they are left out."""
    if not found.small or gate.small_groups == "left_out":
        return ""
    smallest = min(found.small, key=lambda one: one.units)
    return f"{smallest.group} has {smallest.units} rows, {gate.minimum_rows} are needed"


def _bound(gate: Fair, title: str, found: Disparity, corrected: Interval, doubt: str, asked: int) -> Part:
    bound = gate.bound or 0.0
    ratio = fairness.is_ratio(gate.measure)
    verdict = comparison.attains(found.estimate, bound, lower_is_better=not ratio)
    shown = comparison.attains(corrected, bound, lower_is_better=not ratio) is Verdict.WORSE
    high_group, low_group, rate = found.furthest
    return Part(
        name=title,
        verdict=_settled(verdict, doubt, shown=shown),
        value=found.estimate.value,
        low=found.estimate.low,
        high=found.estimate.high,
        margin=bound,
        room=found.estimate.low - bound if ratio else bound - found.estimate.high,
        rows=found.estimate.rows,
        detectable=found.detectable(asked),
        note=doubt or f"{rate} of {high_group} and {low_group}",
    )


def _change(
    gate: Fair,
    sample: Sample,
    title: str,
    members: npt.NDArray[np.str_],
    found: Disparity,
    doubt: str,
    asked: int,
) -> Part:
    margin = gate.margin or 0.0
    name = f"{title}, change"
    if sample.production is None:
        return Part(name=name, verdict=Verdict.PASS, margin=margin, note=FIRST_VERSION)
    left_out = {one.group for one in found.small}
    among = ~np.isin(members, sorted(left_out)) if left_out else np.ones(len(members), dtype=bool)
    new, old = (scores[among] >= gate.threshold for scores in (sample.candidate, sample.production))
    labels, entities = sample.labels[among], sample.keys[among]

    def widening(confidence: float) -> Widening:
        return fairness.widening(
            gate.measure, labels, new, old, members[among], confidence=confidence, entities=entities
        )

    change = widening(1.0 - 2.0 * gate.alpha)
    corrected = widening(1.0 - 2.0 * gate.alpha / asked).estimate
    estimate = change.estimate
    verdict = comparison.non_inferiority(-estimate.high, -estimate.low, margin)
    first, second, rate = change.furthest
    return Part(
        name=name,
        verdict=_settled(verdict, doubt, shown=corrected.low > margin),
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        margin=margin,
        room=margin - estimate.high,
        rows=estimate.rows,
        detectable=change.detectable(asked),
        note=doubt or f"{rate} of {first} and {second}",
    )


def _settled(verdict: Verdict, doubt: str, *, shown: bool) -> Verdict:
    """A violation that is shown stands; short of it, doubt is no pass."""
    if shown:
        return Verdict.WORSE
    return Verdict.INCONCLUSIVE if doubt or verdict is Verdict.WORSE else verdict


def _row(title: str, one: GroupRate, *, small: bool) -> dict[str, Any]:
    row = {"grouping": title, "group": one.group, "rate": one.rate, "rows": one.rows, "units": one.units}
    share = one.share
    return {**row, "value": share.value, "low": share.low, "high": share.high, "small": small}


def _of_slices(gate: Slices, found: tuple[slices.Slice, ...]) -> Verdict:
    kept = tuple(one for one in found if not (one.units < gate.minimum_rows and gate.small_slices == "left_out"))
    return slices.no_alarm(kept) if gate.alarm else slices.all_good(kept)


def _slice(
    gate: Slices,
    one: slices.Slice,
    margin: float,
    number: int,
    *,
    needed: float,
    sign: float = 1.0,
    suffix: str = "",
) -> Part:
    """The part of one of `number` slices; `needed` is what it must reach, from below where `sign` is negative."""
    estimate = one.estimate
    room = None if estimate is None else sign * ((estimate.low if sign > 0.0 else estimate.high) - needed)
    left_out = one.units < gate.minimum_rows and gate.small_slices == "left_out"
    power = 1.0 - (1.0 - intervals.POWER) / (1 if gate.alarm else number)
    verdict = Verdict.PASS if gate.alarm and slices.no_alarm((one,)) is Verdict.PASS else one.verdict
    return Part(
        name=f"{one.name}{suffix}",
        verdict=verdict,
        value=None if estimate is None else estimate.value,
        low=None if estimate is None else estimate.low,
        high=None if estimate is None else estimate.high,
        margin=margin,
        room=room,
        rows=one.rows,
        detectable=None if estimate is None else intervals.detectable(estimate, power=power),
        note=f"left out: {one.reason}" if left_out else one.reason,
    )
