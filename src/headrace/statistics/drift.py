"""Drift of a window against its reference profile, with alarms that can be trusted.

An alarm takes two keys. The first is evidence: a two-sample test, which treats the reference as the sample that
it is (testing against it as if it were exact inflates the statistic by 1 + m/n), corrected for the number of
hypotheses. The second is an effect: the distance between the two distributions must matter. Missing values are a
hypothesis of their own in every column, so a column that goes silent cannot pass for stable.

Rows about one entity are not independent. The caller says how many independent rows a window is worth
(`effective_rows`); the evidence is weighed as that of so many rows, the distance is that of all.

Sources: Kish, "Survey Sampling" (1965) for the effective size of a sample of clusters, here with rows of a cluster
taken for equal; the two-sample Kolmogorov-Smirnov test, conservative on binned data since the distance can only
shrink; Pearson's chi-square test of homogeneity; Holm (1979); Benjamini and Hochberg (1995). Population stability
index: its mean without drift is about (bins - 1)(1/n + 1/m) (Yurdakul, 2018), which is subtracted here.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

from headrace.statistics.profiles import Counts, NumericCounts, NumericProfile, Profile

MINIMUM_ROWS = 50
FEW_BINS = 8
"""Up to so many occupied bins the chi-square test is used: KS loses its power on ties."""
STABILITY_GROUPS = 10

Bins = npt.NDArray[np.int64]


class Correction(StrEnum):
    """How p-values are adjusted for the number of hypotheses."""

    BENJAMINI_HOCHBERG = "benjamini-hochberg"
    """Bounds the expected share of false alarms among the alarms; without any drift, the chance of one."""
    HOLM = "holm"
    """Bounds the chance of any false alarm."""


class DriftVerdict(StrEnum):
    """What a window shows; too few rows show nothing, neither an alarm nor health."""

    STABLE = "STABLE"
    DRIFTED = "DRIFTED"
    INCONCLUSIVE = "INCONCLUSIVE"


class ColumnDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a window against the reference.

    Attributes:
        test: "kolmogorov-smirnov", "chi-square" or "none" when there were too few values.
        distance: between the distributions of the values: KS for numbers, total variation for categories; 0 to 1.
        p_value: of the test on the values, None when there were too few.
        adjusted_p_value: after the correction over all hypotheses of the window.
        population_stability: PSI over at most ten groups less its mean without drift, at least 0.
        missing_rate: share of missing and infinite values in the window.
        missing_rate_reference: the same in the reference.
        missing_p_value: of the test that both shares are equal.
        adjusted_missing_p_value: after the correction.
        verdict: DRIFTED when values or missingness turn both keys; INCONCLUSIVE with too few values.
        reason: a sentence for people.
    """

    name: str
    test: str
    rows: int
    distance: float
    p_value: float | None
    adjusted_p_value: float | None
    population_stability: float
    missing_rate: float
    missing_rate_reference: float
    missing_p_value: float | None
    adjusted_missing_p_value: float | None
    verdict: DriftVerdict
    reason: str


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """A window against its reference; `columns` are ordered by distance, largest first."""

    verdict: DriftVerdict
    rows: int
    reference_rows: int
    alpha: float
    minimum_distance: float
    correction: Correction
    columns: list[ColumnDrift]
    absent: list[str]

    @property
    def drifted(self) -> list[str]:
        """Names of the columns that drifted, largest distance first."""
        return [column.name for column in self.columns if column.verdict is DriftVerdict.DRIFTED]


class _Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A column before the correction."""

    name: str
    test: str
    rows: int
    distance: float
    p_value: float | None
    population_stability: float
    missing: tuple[float, float]
    missing_p_value: float | None


def compare(
    reference: Profile,
    window: Counts,
    *,
    alpha: float = 0.01,
    minimum_distance: float = 0.1,
    minimum_rows: int = MINIMUM_ROWS,
    correction: Correction = Correction.BENJAMINI_HOCHBERG,
    independent_rows: float | None = None,
) -> DriftReport:
    """Compare a window's counts with the profile that they were counted into.

    Args:
        reference: the profile.
        window: counts from `profiles.count`, or merged ones.
        alpha: the chance that a window without drift shows any, over all columns together.
        minimum_distance: distances, and differences of missing rates, below this are no drift; 0 to 1.
        minimum_rows: with fewer rows, in the window or the reference, nothing is concluded.
        correction: for the number of hypotheses.
        independent_rows: how many independent rows the window is worth, see `effective_rows`; default all.

    Returns:
        The report. Columns that the window lacks altogether are in `absent` and make it DRIFTED.
    """
    worth = 1.0 if independent_rows is None else min(1.0, independent_rows / max(window.rows, 1))
    measured = [
        _measure(name, reference, window, minimum_rows, worth)
        for name in reference.columns
        if name in window.columns
    ]
    adjusted = iter(
        adjust([p for each in measured for p in (each.p_value, each.missing_p_value) if p is not None], correction)
    )
    columns = []
    for each in measured:
        value = next(adjusted) if each.p_value is not None else None
        missing = next(adjusted) if each.missing_p_value is not None else None
        columns.append(_conclude(each, value, missing, alpha, minimum_distance))
    enough = window.rows * worth >= minimum_rows and reference.rows >= minimum_rows
    if not enough:
        verdict = DriftVerdict.INCONCLUSIVE
    elif window.absent or any(column.verdict is DriftVerdict.DRIFTED for column in columns):
        verdict = DriftVerdict.DRIFTED
    elif columns and all(column.verdict is DriftVerdict.INCONCLUSIVE for column in columns):
        verdict = DriftVerdict.INCONCLUSIVE
    else:
        verdict = DriftVerdict.STABLE
    return DriftReport(
        verdict=verdict,
        rows=window.rows,
        reference_rows=reference.rows,
        alpha=alpha,
        minimum_distance=minimum_distance,
        correction=correction,
        columns=sorted(columns, key=lambda column: (-column.distance, column.name)),
        absent=list(window.absent),
    )


def effective_rows(clusters: Sequence[int]) -> float:
    """How many independent rows a sample of clusters is worth: (sum of sizes)² / (sum of squared sizes).

    Args:
        clusters: rows of each cluster, such as the predictions about each entity.
    """
    sizes = np.asarray(clusters, dtype=np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if sizes.size else 0.0


def adjust(p_values: Sequence[float], correction: Correction) -> list[float]:
    """P-values adjusted for their number, in the order given; reject where one is at most alpha."""
    p = np.asarray(p_values, dtype=np.float64)
    number = p.size
    if number == 0:
        return []
    order = np.argsort(p)
    ranked = p[order]
    if correction is Correction.HOLM:
        steps = np.maximum.accumulate(ranked * (number - np.arange(number)))
    else:
        steps = np.minimum.accumulate((ranked * number / np.arange(1, number + 1))[::-1])[::-1]
    adjusted = np.empty(number)
    adjusted[order] = np.minimum(steps, 1.0)
    return [float(value) for value in adjusted]


def kolmogorov_smirnov(first: Bins, second: Bins, *, worth: float = 1.0) -> tuple[float, float]:
    """Distance and p-value of the two-sample test on ordered bins.

    Args:
        first: counts, shape (bins,), with at least one value.
        second: counts in the same bins.
        worth: how many independent values each of `second` stands for, at most 1.

    Returns:
        The largest difference of the cumulative shares, and an upper bound on its p-value.
    """
    n, m = int(first.sum()), int(second.sum())
    distance = float(np.abs(np.cumsum(first) / n - np.cumsum(second) / m).max())
    effective = max(1, round(n * m * worth / (n + m * worth)))
    return distance, float(np.clip(stats.kstwo.sf(distance, effective), 0.0, 1.0))


def homogeneity(first: Bins, second: Bins) -> float:
    """P-value that both counts, shape (bins,), come from one distribution.

    Bins with an expected count below 5 are put together first, as the chi-square approximation wants. What still
    is a table of two by two with small counts gets Fisher's exact test.
    """
    table = np.stack([first, second])[:, (first + second) > 0]
    if table.shape[1] < 2:
        return 1.0
    totals = table.sum(axis=1)
    expected_least = table.sum(axis=0) * totals.min() / totals.sum()
    rare = expected_least < 5.0
    if rare.sum() > 1:
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    if table.shape[1] < 2:
        return 1.0
    if table.shape[1] == 2:
        expected = table.sum(axis=0) * totals.min() / totals.sum()
        if expected.min() < 5.0:
            return float(stats.fisher_exact(table).pvalue)
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def _scaled(counts: Bins, worth: float) -> Bins:
    """Counts as those of fewer, independent values, rounded."""
    return counts if worth >= 1.0 else np.rint(counts * worth).astype(np.int64)


def total_variation(first: Bins, second: Bins) -> float:
    """Half the sum of the absolute differences of the shares; 0 to 1."""
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2.0)


def population_stability(first: Bins, second: Bins) -> float:
    """PSI with half a count added to every bin, less its mean without drift; at least 0."""
    groups = _coarsen(np.stack([first, second])) if first.size > STABILITY_GROUPS + 2 else np.stack([first, second])
    groups = groups[:, groups.sum(axis=0) > 0]
    smoothed = groups + 0.5
    shares = smoothed / smoothed.sum(axis=1, keepdims=True)
    index = float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())
    totals = groups.sum(axis=1)
    without_drift = (groups.shape[1] - 1) * float((1.0 / totals).sum())
    corrected: float = max(0.0, index - without_drift)
    return corrected


def _coarsen(table: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Neighbouring bins put together into about `STABILITY_GROUPS` of equal mass in the first row."""
    cumulative = np.cumsum(table[0]) - table[0] / 2.0
    group = np.minimum((cumulative / table[0].sum() * STABILITY_GROUPS).astype(int), STABILITY_GROUPS - 1)
    return np.stack([np.bincount(group, weights=row, minlength=STABILITY_GROUPS) for row in table]).astype(np.int64)


def _measure(name: str, reference: Profile, window: Counts, minimum_rows: int, worth: float) -> _Measured:
    """One column; the window's counts stand for `worth` independent rows each where evidence is weighed."""
    known = reference.columns[name]
    before, now = known.reference, window.columns[name]
    first, second = np.asarray(before.bins, dtype=np.int64), np.asarray(now.bins, dtype=np.int64)
    gaps = [
        counts.missing + (counts.infinite if isinstance(counts, NumericCounts) else 0) for counts in (before, now)
    ]
    totals = [int(first.sum()) + gaps[0], int(second.sum()) + gaps[1]]
    rates = (gaps[0] / max(totals[0], 1), gaps[1] / max(totals[1], 1))
    missing_p_value = None
    if min(totals[0], totals[1] * worth) >= minimum_rows:
        shares = np.array([gaps, [totals[0] - gaps[0], totals[1] - gaps[1]]], dtype=np.int64).T
        missing_p_value = homogeneity(shares[0], _scaled(shares[1], worth))
    if min(float(first.sum()), float(second.sum()) * worth) < minimum_rows:
        return _Measured(
            name=name, test="none", rows=int(second.sum()), distance=0.0, p_value=None, population_stability=0.0,
            missing=rates, missing_p_value=missing_p_value,
        )  # fmt: skip
    if isinstance(known, NumericProfile):
        distance, p_value = kolmogorov_smirnov(first, second, worth=worth)
        test = "kolmogorov-smirnov"
        if int(((first + second) > 0).sum()) <= FEW_BINS:
            test, p_value = "chi-square", homogeneity(first, _scaled(second, worth))
    else:
        test, distance = "chi-square", total_variation(first, second)
        p_value = homogeneity(first, _scaled(second, worth))
    return _Measured(
        name=name, test=test, rows=int(second.sum()), distance=distance, p_value=p_value,
        population_stability=population_stability(first, second), missing=rates, missing_p_value=missing_p_value,
    )  # fmt: skip


def _conclude(
    each: _Measured, value: float | None, missing: float | None, alpha: float, minimum_distance: float
) -> ColumnDrift:
    before, now = each.missing
    values_drifted = value is not None and value <= alpha and each.distance >= minimum_distance
    missing_drifted = missing is not None and missing <= alpha and abs(now - before) >= minimum_distance
    reasons = []
    if values_drifted:
        reasons.append(f"the distribution moved by {each.distance:.2f} (adjusted p = {value:.2g})")
    if missing_drifted:
        reasons.append(f"missing values went from {before:.1%} to {now:.1%}")
    if values_drifted or missing_drifted:
        verdict = DriftVerdict.DRIFTED
    elif value is None:
        verdict = DriftVerdict.INCONCLUSIVE
        reasons.append(f"only {each.rows} values")
    else:
        verdict = DriftVerdict.STABLE
        moved = value <= alpha
        reasons.append("a real but small difference" if moved else "no more than chance explains")
    return ColumnDrift(
        name=each.name,
        test=each.test,
        rows=each.rows,
        distance=each.distance,
        p_value=each.p_value,
        adjusted_p_value=value,
        population_stability=each.population_stability,
        missing_rate=now,
        missing_rate_reference=before,
        missing_p_value=each.missing_p_value,
        adjusted_missing_p_value=missing,
        verdict=verdict,
        reason="; ".join(reasons),
    )
