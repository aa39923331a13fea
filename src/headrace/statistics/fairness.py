"""Fairness: how far the groups' rates lie apart, as a bound, and whether they move further apart than before.

A rate is the share of rows decided to be 1: of all rows of a group (selection), of those with label 1 (true
positives), of those with label 0 (false positives). A measure is the largest difference, or the smallest ratio,
between any two groups in one or two of these rates; the names and the numbers are fairlearn's.

The bound. A largest difference over many groups is biased upwards and its bootstrap is inconsistent where groups
are alike, so it is not drawn. It is within a tolerance exactly if every pair of groups is, so each pair's one-sided
score bound must be within it (intersection-union: no correction, the error rate holds). To say that a tolerance is
exceeded some pair must show it, which is a search among many, so there each pair has its part of the error
(Bonferroni).

The change against production is a difference of two such measures on the same rows, where groups that are alike are
alike in both models; it is drawn, whole entities at a time.

Sources: Hardt, Price and Srebro, "Equality of Opportunity in Supervised Learning" (2016); Agarwal et al. (2018) for
the measures as fairlearn has them; Berger, "Multiparameter Hypothesis Testing and Acceptance Sampling" (1982), for
intersection-union; the pairs' intervals are those of `proportions`.
"""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.errors import InvalidInput
from headrace.statistics import intervals, proportions, ranking, resampling
from headrace.statistics.intervals import Floats, Interval, cluster_codes, units

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
        detectable: the tolerance that groups which are alike meet four times in five, if only the vaguest pair
        counts.
        rates: of every group that was large enough.
        small: groups that were not.
    """

    estimate: Interval
    furthest: tuple[str, str, str]
    detectable: float
    rates: tuple[GroupRate, ...]
    small: tuple[GroupRate, ...]


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
        detectable=intervals.detectable(msgspec.structs.replace(estimate, value=0.0, low=-far, high=far)),
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
    seed: int = 0,
) -> Interval:
    """How much larger a measure is under the new decisions than under the old ones; positive is less fair.

    Args:
        measure: one of `MEASURES`; a ratio's fall counts as positive.
        labels: 0 or 1, shape (rows,).
        new: decisions of the new model, shape (rows,).
        old: decisions of the old model, shape (rows,).
        members: the name of each row's group, shape (rows,), two groups or more.
        confidence: two-sided coverage.
        entities: what rows belong to, shape (rows,); they are drawn whole.
        seed: of the draws.
    """
    known(measure)
    clusters = cluster_codes(entities)
    names, codes = np.unique(members, return_inverse=True)
    rates = MEASURES[measure]
    columns = []
    for rate in rates:
        denominator = _denominator(rate, labels)
        for code in range(len(names)):
            among = denominator & (codes == code)
            columns += [among, among & new, among & old]
    values = np.column_stack(columns).astype(np.float64)
    drawn = _widenings(measure, resampling.drawn_sums(values, clusters, seed=seed), len(names))
    value = float(_widenings(measure, values.sum(axis=0)[None, :], len(names))[0])
    if not np.isfinite(value):
        raise InvalidInput("a rate has no rows in one of the groups", where="by", fix="Evaluate on more rows.")
    number = units(len(labels), clusters)
    floor = _unseen(values, number / len(labels), confidence=confidence)
    if is_ratio(measure):
        sizes, _, before = values.sum(axis=0).reshape(-1, 3).T
        floor = min(1.0, floor / float((before / sizes).max()))
    return resampling.percentile_interval(
        value, drawn, confidence=confidence, rows=len(labels), units=number, floor=floor
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


def _unseen(values: Floats, worth: float, *, confidence: float) -> float:
    """What the rows of the two smallest groups cannot rule out though no decision differs; see `comparison`."""
    z = intervals.normal_quantile(confidence)
    sizes = np.sort(values.sum(axis=0)[::3])[:2] * worth
    return float(np.hypot(*(z**2 / (sizes + z**2))))


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


def _widenings(measure: str, sums: Floats, groups: int) -> Floats:
    """New measure less old one of each draw, from sums of shape (draws, rates x groups x 3)."""
    cube = sums.reshape(len(sums), len(MEASURES[measure]), groups, 3)
    size, new, old = cube[..., 0], cube[..., 1], cube[..., 2]
    spreads = []
    for chosen in (new, old):
        rates = np.divide(chosen, size, out=np.full(chosen.shape, np.nan), where=size > 0.0)
        low, high = rates.min(axis=2), rates.max(axis=2)
        if is_ratio(measure):
            ratio = np.divide(low, high, out=np.full(low.shape, np.nan), where=high > 0.0)
            spreads.append(ratio.min(axis=1))
        else:
            spreads.append((high - low).max(axis=1))
    change: Floats = spreads[1] - spreads[0] if is_ratio(measure) else spreads[0] - spreads[1]
    return change
