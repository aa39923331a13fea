"""Fairness: how far the groups' rates lie apart, as a bound, and whether they move further apart than before.

A rate is the share of rows decided to be 1: of all rows of a group (selection), of those with label 1 (true
positives), of those with label 0 (false positives). A measure is the largest difference, or the smallest ratio,
between any two groups in one or two of these rates; the names and the numbers are fairlearn's.

The bound. A largest difference over many groups is biased upwards and its bootstrap is inconsistent where groups
are alike, so it is not drawn. It is within a tolerance exactly if every pair of groups is, so each pair's one-sided
score bound must be within it (intersection-union: no correction, the error rate holds). To say that a tolerance is
exceeded some pair must show it, which is a search among many, so there each pair has its part of the error
(Bonferroni).

The change against production asks of every pair whether it has moved apart by more than a margin, again by
intersection-union. The change of the largest gap itself is not drawn: where groups are alike in production its
bootstrap was seen to pass a fifth to a half of all candidates that are too bad at a promised twentieth, because the
old gap, a largest difference, seems larger than it is. The limits of a pair's change come from Tango's of each
group.

Sources: Hardt, Price and Srebro, "Equality of Opportunity in Supervised Learning" (2016); Agarwal et al. (2018) for
the measures as fairlearn has them; Berger, "Multiparameter Hypothesis Testing and Acceptance Sampling" (1982), for
intersection-union; the pairs' intervals are those of `proportions`.
"""

from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.errors import InvalidInput
from headrace.statistics import intervals, proportions, ranking
from headrace.statistics.intervals import Floats, Interval, cluster_codes

SAME_SIDE, OTHER_SIDE = 0.9, 0.1
"""Parts of the error for a pair that keeps its order and for one that changes it. Which of the two a pair does is
not
known, so both bounds are asked, and either suffices; together they err as often as is said."""

SELECTION, TRUE_POSITIVES, FALSE_POSITIVES = "selection_rate", "true_positive_rate", "false_positive_rate"
MEASURES: dict[str, tuple[str, ...]] = {
    "demographic_parity_difference": (SELECTION,),
    "demographic_parity_ratio": (SELECTION,),
    "equal_opportunity_difference": (TRUE_POSITIVES,),
    "equal_opportunity_ratio": (TRUE_POSITIVES,),
    "equalized_odds_difference": (TRUE_POSITIVES, FALSE_POSITIVES),
    "equalized_odds_ratio": (TRUE_POSITIVES, FALSE_POSITIVES),
}
"""The rates that each measure compares."""


class GroupRate(msgspec.Struct, frozen=True, kw_only=True):
    """One rate of one group, with its two-sided interval.

    Attributes:
        rows: that the rate is a share of.
        units: independent units among them: entities where rows belong together.
        effective_rows: how many independent rows they are worth.
    """

    group: str
    rate: str
    rows: int
    units: int
    effective_rows: float
    share: Interval


class Disparity(msgspec.Struct, frozen=True, kw_only=True):
    """A measure of one grouping.

    Attributes:
        estimate: the measure; its far end (high of a difference, low of a ratio) is a bound by intersection-union,
            its near end is corrected for the number of pairs. Both are one-sided at half the error.
        furthest: the two groups that lie furthest apart, and in which rate.
        half: how far the bound of the vaguest pair lies from its estimate.
        tests: how many bounds must hold: of each pair on either side, in each rate.
        rates: of every group that was large enough.
        small: groups that were not.
    """

    estimate: Interval
    furthest: tuple[str, str, str]
    half: float
    tests: int
    rates: tuple[GroupRate, ...]
    small: tuple[GroupRate, ...]

    def detectable(self, questions: int = 1) -> float:
        """The tolerance that groups which are alike meet four times in five, all of so many questions at once."""
        return _detectable(self.half, self.tests * questions, self.estimate.confidence)


class Widening(msgspec.Struct, frozen=True, kw_only=True):
    """How much further apart groups are than they were.

    Attributes:
        estimate: of the pair that moved apart most, positive when it did; its high end is a bound for every pair by
            intersection-union, its low end is corrected for the number of pairs.
        furthest: that pair, and in which rate.
        half: how far the bound of the vaguest pair lies from its estimate.
        tests: how many bounds must hold.
    """

    estimate: Interval
    furthest: tuple[str, str, str]
    half: float
    tests: int

    def detectable(self, questions: int = 1) -> float:
        """The margin that an equal model meets four times in five, in all of so many questions at once."""
        return _detectable(self.half, self.tests * questions, self.estimate.confidence)


def _detectable(half: float, tests: int, confidence: float) -> float:
    """The margin at which so many bounds hold together with the usual power, each allowed its part of failures."""
    around = Interval(value=0.0, low=-half, high=half, confidence=confidence, rows=0)
    return intervals.detectable(around, power=1.0 - (1.0 - intervals.POWER) / tests)


def is_ratio(measure: str) -> bool:
    """Whether a measure is better the nearer it is to 1, and not to 0."""
    return measure.endswith("_ratio")


def disparity(
    measure: str,
    labels: npt.NDArray[Any],
    decided: npt.NDArray[np.bool_],
    members: npt.NDArray[Any],
    *,
    confidence: float = 0.90,
    minimum_units: int = 1,
    entities: npt.NDArray[Any] | None = None,
) -> Disparity:
    """A measure with its bound.

    Args:
        measure: one of `MEASURES`.
        labels: 0 or 1, shape (rows,).
        decided: whether each row is decided to be 1, shape (rows,).
        members: the name of each row's group, shape (rows,).
        confidence: each end of the estimate is exceeded with probability (1 - confidence) / 2.
        minimum_units: independent units that a rate of a group must rest on.
        entities: what rows belong to, shape (rows,); rows of one entity count as one unit.

    Raises:
        InvalidInput: unknown measure, fewer than two groups that are large enough, or a ratio of rates that are 0.
    """
    large, small = group_rates(
        measure, labels, decided, members,
        confidence=confidence, minimum_units=minimum_units, entities=entities,
    )  # fmt: skip
    number, all_groups = len({one.group for one in large}), len(np.unique(members))
    if number < 2:
        raise InvalidInput(
            f"{number} of {all_groups} groups have {minimum_units} rows to compare",
            where="by",
            fix="Evaluate on more rows, or join groups that belong together.",
        )
    estimate, furthest = _furthest(measure, large, confidence=confidence, rows=len(labels))
    far = estimate.value - estimate.low if is_ratio(measure) else estimate.high - estimate.value
    return Disparity(
        estimate=estimate,
        furthest=furthest,
        half=far,
        tests=number * (number - 1) * len(MEASURES[measure]),
        rates=large,
        small=small,
    )


def group_rates(
    measure: str,
    labels: npt.NDArray[Any],
    decided: npt.NDArray[np.bool_],
    members: npt.NDArray[Any],
    *,
    confidence: float = 0.90,
    minimum_units: int = 1,
    entities: npt.NDArray[Any] | None = None,
) -> tuple[tuple[GroupRate, ...], tuple[GroupRate, ...]]:
    """The rates of a measure of the groups that are large enough for each of them, and those of the others."""
    known(measure)
    clusters = cluster_codes(entities)
    found = []
    for rate in MEASURES[measure]:
        denominator = _denominator(rate, labels)
        for name in np.unique(members):
            among = denominator & (members == name)
            own = None if clusters is None else clusters[among]
            found.append(_rate(str(name), rate, decided[among], own, confidence=confidence))
    small = {one.group for one in found if one.units < max(minimum_units, 1)}
    return (
        tuple(one for one in found if one.group not in small),
        tuple(one for one in found if one.group in small),
    )


def widening(
    measure: str,
    labels: npt.NDArray[Any],
    new: npt.NDArray[np.bool_],
    old: npt.NDArray[np.bool_],
    members: npt.NDArray[Any],
    *,
    confidence: float = 0.90,
    entities: npt.NDArray[Any] | None = None,
) -> Widening:
    """How much further apart two groups move at most, from the old decisions to the new ones on the same rows.

    Args:
        measure: one of `MEASURES` that is a difference.
        labels: 0 or 1, shape (rows,).
        new: decisions of the new model, shape (rows,).
        old: decisions of the old model, shape (rows,).
        members: the name of each row's group, shape (rows,), two groups or more.
        confidence: each end of the estimate is exceeded with probability (1 - confidence) / 2.
        entities: what rows belong to, shape (rows,); rows of one entity count as one unit.

    Raises:
        InvalidInput: unknown measure, a ratio, or a group without rows for one of the rates.
    """
    known(measure)
    if is_ratio(measure):
        raise InvalidInput(
            "the change of a ratio is not judged", where="measure", fix="Use the difference of the same rates."
        )
    clusters = cluster_codes(entities)
    names = np.unique(members)
    others = ~np.eye(len(names), dtype=bool)
    tail = (1.0 - confidence) / 2.0
    tests = len(names) * (len(names) - 1) * len(MEASURES[measure])
    values, highs, lows, halves, places = [], [], [], [], []
    for rate in MEASURES[measure]:
        denominator = _denominator(rate, labels)
        groups = [_decisions(new, old, denominator & (members == name), clusters, rate, name) for name in names]
        before = np.array([group.old for group in groups])
        moved = np.array([group.new for group in groups]) - before
        gap = before[:, None] - before[None, :]
        apart = moved[:, None] - moved[None, :]  # by how much the difference of two groups, signed, has grown
        turned = apart + 2.0 * gap  # the same, where the groups have changed places
        widened = np.where(others, np.minimum(apart, turned), -np.inf)
        along = _combined(moved, [group.change(1.0 - 2.0 * SAME_SIDE * tail) for group in groups])
        across = _combined(moved + 2.0 * before, [group.both(1.0 - 2.0 * OTHER_SIDE * tail) for group in groups])
        upper = np.minimum(along[1], across[1])
        lower_along = _combined(moved, [group.change(1.0 - 2.0 * tail / tests) for group in groups])[0]
        lower_across = _combined(moved + 2.0 * before, [group.both(1.0 - 2.0 * tail / tests) for group in groups])[
            0
        ]
        values.append(float(widened.max()))
        highs.append(float(upper[others].max()))
        lows.append(float(np.minimum(lower_along, lower_across)[others].max()))
        halves.append(float((along[1] - apart)[others].max()))
        first, second = np.unravel_index(int(np.argmax(widened)), widened.shape)
        places.append((str(names[first]), str(names[second]), rate))
    value = max(values)
    half = max(halves)
    return Widening(
        estimate=Interval(
            value=value,
            low=min(max(lows), value),
            high=max(*highs, value),
            confidence=confidence,
            rows=len(labels),
        ),
        furthest=places[int(np.argmax(values))],
        half=half,
        tests=tests,
    )


def known(measure: str) -> None:
    """Refuse a measure that nothing here can compute.

    Raises:
        InvalidInput: with the measures that can be.
    """
    if measure not in MEASURES:
        raise InvalidInput(
            f"{measure!r} is not a known measure", where="measure", fix=f"Use one of {', '.join(MEASURES)}."
        )


def _denominator(rate: str, labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    positive = ranking.check(labels)[0] == 1.0
    if rate == SELECTION:
        return np.ones(len(positive), dtype=bool)
    return positive if rate == TRUE_POSITIVES else ~positive


def _rate(
    group: str,
    rate: str,
    decided: npt.NDArray[np.bool_],
    clusters: npt.NDArray[np.intp] | None,
    *,
    confidence: float,
) -> GroupRate:
    rows = len(decided)
    if rows == 0:
        nothing = Interval(value=0.0, low=0.0, high=1.0, confidence=confidence, rows=0)
        return GroupRate(group=group, rate=rate, rows=0, units=0, effective_rows=0.0, share=nothing)
    effective = rows / proportions.design_effect(decided, clusters)
    share = proportions.proportion_interval(float(decided.mean()) * effective, effective, confidence=confidence)
    return GroupRate(
        group=group,
        rate=rate,
        rows=rows,
        units=rows if clusters is None else len(np.unique(clusters)),
        effective_rows=effective,
        share=msgspec.structs.replace(share, rows=rows),
    )


def _furthest(
    measure: str,
    found: tuple[GroupRate, ...],
    *,
    confidence: float,
    rows: int,
) -> tuple[Interval, tuple[str, str, str]]:
    """The measure with its bounds, over all pairs of groups in each rate, and which pair it is."""
    names = sorted({one.group for one in found})
    pairs = len(names) * (len(names) - 1) * len(MEASURES[measure])
    corrected = 1.0 - (1.0 - confidence) / pairs
    values, fars, nears, places = [], [], [], []
    for rate in MEASURES[measure]:
        of_rate = {one.group: one for one in found if one.rate == rate}
        shares = np.array([of_rate[name].share.value for name in names])
        sizes = np.array([of_rate[name].effective_rows for name in names])
        limits = proportions.pairwise_ratios if is_ratio(measure) else proportions.pairwise_differences
        low, high = limits(shares, sizes, confidence=confidence)
        low_corrected, high_corrected = limits(shares, sizes, confidence=corrected)
        others = ~np.eye(len(names), dtype=bool)
        if is_ratio(measure):
            if shares.max() == 0.0:
                raise InvalidInput(
                    f"every {rate} is 0, so there is no ratio", where="measure", fix="Use a difference."
                )
            place = np.unravel_index(int(np.argmax(shares[None, :] - shares[:, None])), low.shape)
            values.append(float(shares.min() / shares.max()))
            fars.append(float(low[others].min()))
            nears.append(float(min(1.0, high_corrected[others].min())))
        else:
            place = np.unravel_index(int(np.argmax(shares[:, None] - shares[None, :])), low.shape)
            values.append(float(shares.max() - shares.min()))
            fars.append(float(high[others].max()))
            nears.append(float(max(0.0, low_corrected[others].max())))
        places.append((names[int(place[0])], names[int(place[1])], rate))
    at = int(np.argmin(values) if is_ratio(measure) else np.argmax(values))
    if is_ratio(measure):
        low_end, high_end = min(fars), min(nears)
    else:
        low_end, high_end = max(nears), max(fars)
    estimate = Interval(
        value=values[at],
        low=min(low_end, values[at]),
        high=max(high_end, values[at]),
        confidence=confidence,
        rows=rows,
    )
    return estimate, places[at]


class _Decisions(NamedTuple):
    """One group's decisions under two models, as effective counts."""

    new: float
    old: float
    gained: float
    lost: float
    rows_of_change: float
    rows_of_new: float
    rows_of_old: float

    def change(self, confidence: float) -> tuple[float, float]:
        """How far below and above the change of the rate may lie: Tango's interval."""
        found = proportions.paired_difference(self.gained, self.lost, self.rows_of_change, confidence=confidence)
        return found.value - found.low, found.high - found.value

    def both(self, confidence: float) -> tuple[float, float]:
        """How far below and above the sum of the rates may lie, as if they erred together: Wilson's intervals."""
        low, high = proportions.wilson_limits(
            np.array([self.new, self.old]), np.array([self.rows_of_new, self.rows_of_old]), confidence=confidence
        )
        return float(self.new + self.old - low.sum()), float(high.sum() - self.new - self.old)


def _decisions(
    new: npt.NDArray[np.bool_],
    old: npt.NDArray[np.bool_],
    among: npt.NDArray[np.bool_],
    clusters: npt.NDArray[np.intp] | None,
    rate: str,
    name: str,
) -> _Decisions:
    rows = int(among.sum())
    if rows == 0:
        raise InvalidInput(f"group {name} has no row for its {rate}", where="by", fix="Evaluate on more rows.")
    own = None if clusters is None else clusters[among]
    first, second = new[among].astype(np.float64), old[among].astype(np.float64)
    effect = proportions.design_effect(first - second, own)
    return _Decisions(
        new=float(first.mean()),
        old=float(second.mean()),
        gained=float((first > second).sum()) / effect,
        lost=float((first < second).sum()) / effect,
        rows_of_change=rows / effect,
        rows_of_new=rows / proportions.design_effect(first, own),
        rows_of_old=rows / proportions.design_effect(second, own),
    )


def _combined(values: Floats, reaches: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    """Limits of every value less every other one, from how far each may lie below and above."""
    below, above = np.array(reaches).T
    differences = values[:, None] - values[None, :]
    return (
        differences - np.hypot(below[:, None], above[None, :]),
        differences + np.hypot(above[:, None], below[None, :]),
    )
