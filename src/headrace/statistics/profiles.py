"""Reference profiles: what the training data looked like, in bins that every later window is counted into.

The edges are fixed once, at quantiles of the reference. A window is then nothing but integer counts, so hour and
hour add up to the day exactly, nothing raw has to be kept, and two windows can be compared with the reference at
the cost of the bins. Missing and infinite values and values beyond the reference's range have bins of their own.

The idea is that of equal-mass ("quantile") histograms; the pairwise update of moments is Chan, Golub and LeVeque,
"Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.errors import SchemaMismatch

QUANTILES = 64
TOP_CATEGORIES = 64

Columns = Mapping[str, npt.NDArray[Any]]
"""Columns by name, each of shape (rows,). Float, integer and boolean arrays are numeric, with NaN for a missing
value; every other array is categorical, with None (or NaN) for a missing value."""


class Moments(msgspec.Struct, frozen=True, kw_only=True):
    """Mean, spread and range of the finite values, for display; merging is exact up to rounding."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared deviations from the mean."""
    minimum: float | None = None
    maximum: float | None = None

    @property
    def standard_deviation(self) -> float:
        """Of the sample (n - 1); 0 for fewer than two values."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0


class NumericCounts(msgspec.Struct, frozen=True, kw_only=True, tag="numeric"):
    """Counts of one numeric column.

    Attributes:
        bins: below the first edge, between two edges (lower one included), and from the last edge on.
        missing: NaN.
        infinite: plus or minus infinity.
    """

    bins: list[int]
    missing: int = 0
    infinite: int = 0
    moments: Moments = Moments()


class CategoricalCounts(msgspec.Struct, frozen=True, kw_only=True, tag="categorical"):
    """Counts of one categorical column.

    Attributes:
        bins: for each category of the profile, in its order, and last for all other values.
        missing: None or NaN.
    """

    bins: list[int]
    missing: int = 0


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """One window, counted into the bins of a profile.

    Attributes:
        rows: rows counted.
        columns: counts by column.
        absent: columns of the profile that the window did not have.
        skipped: columns of the window that the profile does not know.
    """

    rows: int
    columns: dict[str, NumericCounts | CategoricalCounts]
    absent: list[str] = []
    skipped: list[str] = []


class NumericProfile(msgspec.Struct, frozen=True, kw_only=True, tag="numeric"):
    """Edges of a numeric column and the reference's counts; the last edge lies just above the maximum."""

    edges: list[float]
    reference: NumericCounts


class CategoricalProfile(msgspec.Struct, frozen=True, kw_only=True, tag="categorical"):
    """The most frequent categories, most frequent first, and the reference's counts."""

    categories: list[str]
    reference: CategoricalCounts


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a reference looked like; stored as JSON beside the version that was trained on it."""

    rows: int
    columns: dict[str, NumericProfile | CategoricalProfile]
    format: int = 1


def profile(data: Columns, *, quantiles: int = QUANTILES, top: int = TOP_CATEGORIES) -> Profile:
    """The profile of a reference.

    Args:
        data: columns of equal length; may be of length 0.
        quantiles: bins of about equal mass for a numeric column; ties make fewer.
        top: categories that get a bin of their own.

    Raises:
        SchemaMismatch: the columns differ in length.
    """
    columns: dict[str, NumericProfile | CategoricalProfile] = {}
    for name, values in data.items():
        if _is_numeric(values):
            edges = _edges(values, quantiles)
            columns[name] = NumericProfile(edges=edges, reference=_count_numeric(values, edges))
        else:
            categories = _categories(values, top)
            columns[name] = CategoricalProfile(
                categories=categories, reference=_count_categorical(values, categories)
            )
    return Profile(rows=_rows(data), columns=columns)


def count(reference: Profile, data: Columns) -> Counts:
    """A window's counts in the bins of a profile.

    Args:
        reference: the profile.
        data: the window's columns, of equal length.

    Raises:
        SchemaMismatch: the columns differ in length, or one that was numeric is not any more.
    """
    columns: dict[str, NumericCounts | CategoricalCounts] = {}
    for name, known in reference.columns.items():
        if name not in data:
            continue
        if isinstance(known, NumericProfile):
            if not _is_numeric(data[name]):
                raise SchemaMismatch(
                    f"the column was numeric in the reference and is {data[name].dtype} now",
                    where=name,
                    fix="Send numbers, or register a version that was trained on the new type.",
                )
            columns[name] = _count_numeric(data[name], known.edges)
        else:
            columns[name] = _count_categorical(data[name], known.categories)
    return Counts(
        rows=_rows(data),
        columns=columns,
        absent=[name for name in reference.columns if name not in data],
        skipped=[name for name in data if name not in reference.columns],
    )


def merge(first: Counts, second: Counts) -> Counts:
    """The counts of two windows together: what one pass over both would have counted.

    Raises:
        SchemaMismatch: the two were not counted into the same profile's bins.
    """
    names = [*first.columns, *(name for name in second.columns if name not in first.columns)]
    columns = {name: _merge_column(name, first.columns.get(name), second.columns.get(name)) for name in names}
    return Counts(
        rows=first.rows + second.rows,
        columns=columns,
        absent=[name for name in first.absent if name in second.absent],
        skipped=sorted({*first.skipped, *second.skipped}),
    )


def _merge_column(
    name: str,
    first: NumericCounts | CategoricalCounts | None,
    second: NumericCounts | CategoricalCounts | None,
) -> NumericCounts | CategoricalCounts:
    if first is None or second is None:
        present = first or second
        assert present is not None
        return present
    if len(first.bins) == len(second.bins):
        bins = [one + other for one, other in zip(first.bins, second.bins, strict=True)]
        missing = first.missing + second.missing
        if isinstance(first, NumericCounts) and isinstance(second, NumericCounts):
            return NumericCounts(
                bins=bins,
                missing=missing,
                infinite=first.infinite + second.infinite,
                moments=_merge_moments(first.moments, second.moments),
            )
        if isinstance(first, CategoricalCounts) and isinstance(second, CategoricalCounts):
            return CategoricalCounts(bins=bins, missing=missing)
    raise SchemaMismatch(
        "the two windows were counted into different bins",
        where=name,
        fix="Count both with the same reference profile.",
    )


def _merge_moments(first: Moments, second: Moments) -> Moments:
    if not first.count or not second.count:
        return first if first.count else second
    total = first.count + second.count
    difference = second.mean - first.mean
    lows = [moments.minimum for moments in (first, second) if moments.minimum is not None]
    highs = [moments.maximum for moments in (first, second) if moments.maximum is not None]
    return Moments(
        count=total,
        mean=first.mean + difference * second.count / total,
        squares=first.squares + second.squares + difference**2 * first.count * second.count / total,
        minimum=min(lows),
        maximum=max(highs),
    )


def _rows(data: Columns) -> int:
    lengths = {len(values) for values in data.values()}
    if len(lengths) > 1:
        raise SchemaMismatch("columns differ in length", fix="Pass columns with one value for each row.")
    return lengths.pop() if lengths else 0


def _is_numeric(values: npt.NDArray[Any]) -> bool:
    return values.dtype.kind in "biuf"


def _edges(values: npt.NDArray[Any], quantiles: int) -> list[float]:
    """Quantiles that are values of the data, deduplicated; the last edge lies just above the maximum.

    A value that repeats gets a bin of its own when it is a quantile, so a column of few distinct values is
    counted value by value.
    """
    finite = _finite(values)
    if finite.size == 0:
        return []
    distinct = np.unique(finite)
    if distinct.size > quantiles:
        levels = np.linspace(0.0, 1.0, quantiles + 1)
        distinct = np.unique(np.quantile(finite, levels, method="inverted_cdf"))
    return [*distinct.tolist(), float(np.nextafter(distinct[-1], np.inf))]


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    mask = np.isfinite(numbers)
    return numbers if mask.all() else numbers[mask]


def _count_numeric(values: npt.NDArray[Any], edges: list[float]) -> NumericCounts:
    finite = _finite(values)
    missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    positions = np.searchsorted(np.asarray(edges, dtype=np.float64), finite, side="right")
    moments = Moments()
    if finite.size:
        moments = Moments(
            count=int(finite.size),
            mean=float(finite.mean()),
            squares=float(finite.var() * finite.size),
            minimum=float(finite.min()),
            maximum=float(finite.max()),
        )
    return NumericCounts(
        bins=np.bincount(positions, minlength=len(edges) + 1).tolist(),
        missing=missing,
        infinite=len(values) - missing - int(finite.size),
        moments=moments,
    )


def _text(values: npt.NDArray[Any]) -> list[str]:
    """The present values as text; None and NaN are missing."""
    return [str(value) for value in values.tolist() if value is not None and value == value]


def _categories(values: npt.NDArray[Any], top: int) -> list[str]:
    names, counts = np.unique(np.asarray(_text(values), dtype=str), return_counts=True)
    order = np.lexsort((names, -counts))[:top]
    return [str(name) for name in names[order]]


def _count_categorical(values: npt.NDArray[Any], categories: list[str]) -> CategoricalCounts:
    present = _text(values)
    names, counts = np.unique(np.asarray(present, dtype=str), return_counts=True)
    position = {category: index for index, category in enumerate(categories)}
    bins = [0] * (len(categories) + 1)
    for name, number in zip(names.tolist(), counts.tolist(), strict=True):
        bins[position.get(name, len(categories))] += number
    return CategoricalCounts(bins=bins, missing=len(values) - len(present))
