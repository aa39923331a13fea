"""Profiles count exactly, merge exactly, and lose no value silently."""

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import SchemaMismatch
from headrace.statistics.profiles import (
    CategoricalCounts,
    CategoricalProfile,
    Counts,
    NumericCounts,
    NumericProfile,
    Profile,
    count,
    merge,
    profile,
)


def words(*values: str | None) -> npt.NDArray[Any]:
    return np.array(values, dtype=object)


def numeric(counts: Counts, name: str = "x") -> NumericCounts:
    column = counts.columns[name]
    assert isinstance(column, NumericCounts)
    return column


def edges(reference: Profile, name: str = "x") -> list[float]:
    column = reference.columns[name]
    assert isinstance(column, NumericProfile)
    return column.edges


def test_bins_of_a_continuous_column_have_equal_mass() -> None:
    values = np.random.default_rng(1).normal(size=64_000)
    reference = profile({"x": values})
    bins = np.array(reference.columns["x"].reference.bins)
    assert bins[0] == bins[-1] == 0
    assert len(edges(reference)) == 66
    assert np.all(np.abs(bins[1:-2] - 1000) <= 2)
    assert bins.sum() == 64_000


def test_few_distinct_values_are_counted_one_by_one() -> None:
    reference = profile({"x": np.array([0, 0, 0, 1, 3])})
    assert edges(reference)[:3] == [0.0, 1.0, 3.0]
    assert reference.columns["x"].reference.bins == [0, 3, 1, 1, 0]
    assert numeric(count(reference, {"x": np.array([-1, 0, 1, 2, 3, 4])})).bins == [1, 1, 2, 1, 1]


def test_missing_and_infinite_values_have_their_own_counts() -> None:
    reference = profile({"x": np.array([1.0, 2.0])})
    window = numeric(count(reference, {"x": np.array([np.nan, np.inf, -np.inf, 1.0])}))
    assert (window.missing, window.infinite, sum(window.bins)) == (1, 2, 1)
    assert (window.moments.count, window.moments.minimum, window.moments.maximum) == (1, 1.0, 1.0)


def test_a_column_without_any_value_still_counts() -> None:
    reference = profile({"x": np.array([np.nan, np.nan])})
    assert edges(reference) == []
    assert numeric(count(reference, {"x": np.array([1.0, np.nan])})).bins == [1]


def test_the_maximum_is_inside_and_the_next_float_is_outside() -> None:
    reference = profile({"x": np.linspace(0.0, 1e9, 1000)})
    window = numeric(count(reference, {"x": np.array([1e9, np.nextafter(1e9, np.inf), np.nextafter(0.0, -1.0)])}))
    assert (window.bins[0], window.bins[-2], window.bins[-1]) == (1, 1, 1)


def test_categories_keep_the_most_frequent_and_count_the_rest_together() -> None:
    reference = profile({"c": words("b", "b", "a", "a", "c", None)}, top=2)
    column = reference.columns["c"]
    assert isinstance(column, CategoricalProfile)
    assert column.categories == ["a", "b"]
    assert column.reference == CategoricalCounts(bins=[2, 2, 1], missing=1)
    window = count(reference, {"c": words("a", "new", None, "c")})
    assert window.columns["c"] == CategoricalCounts(bins=[1, 0, 2], missing=1)


def test_unsigned_boolean_and_small_floats_are_numeric() -> None:
    data: dict[str, npt.NDArray[Any]] = {
        "u": np.array([1, 2], dtype=np.uint8),
        "b": np.array([True, False]),
        "f": np.array([0.5, np.nan], dtype=np.float32),
    }
    reference = profile(data)
    assert all(isinstance(column, NumericProfile) for column in reference.columns.values())
    assert reference.columns["f"].reference.missing == 1


def test_absent_and_unknown_columns_are_named() -> None:
    reference = profile({"x": np.array([1.0]), "y": np.array([1.0])})
    window = count(reference, {"x": np.array([1.0]), "z": np.array([1.0])})
    assert (window.absent, window.skipped) == (["y"], ["z"])


def test_a_numeric_column_that_became_text_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match="was numeric"):
        count(profile({"x": np.array([1.0])}), {"x": words("1")})


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(SchemaMismatch, match="differ in length"):
        profile({"x": np.array([1.0]), "y": np.array([1.0, 2.0])})


def test_windows_of_different_profiles_do_not_merge() -> None:
    first, second = profile({"x": np.arange(3)}), profile({"x": np.arange(9)})
    with pytest.raises(SchemaMismatch, match="different bins"):
        merge(count(first, {"x": np.arange(3)}), count(second, {"x": np.arange(3)}))


def test_json_round_trip() -> None:
    reference = profile({"x": np.array([0.1, 0.2, np.nan]), "c": words("a", None, "b")})
    assert msgspec.json.decode(msgspec.json.encode(reference), type=Profile) == reference
    window = count(reference, {"x": np.array([0.15, np.inf]), "c": words("a", "z")})
    assert msgspec.json.decode(msgspec.json.encode(window), type=Counts) == window


floats = st.lists(st.floats(width=32), max_size=40)


@given(reference=floats, first=floats, second=floats)
def test_merging_two_windows_is_counting_them_at_once(
    reference: list[float], first: list[float], second: list[float]
) -> None:
    known = profile({"x": np.array(reference, dtype=float)}, quantiles=8)
    parts = [count(known, {"x": np.array(values, dtype=float)}) for values in (first, second)]
    merged, whole = merge(*parts), count(known, {"x": np.array(first + second, dtype=float)})
    assert merged.rows == whole.rows
    one, other = numeric(merged), numeric(whole)
    assert (one.bins, one.missing, one.infinite) == (other.bins, other.missing, other.infinite)
    assert sum(one.bins) + one.missing + one.infinite == len(first) + len(second)
    assert one.moments.count == other.moments.count
    assert (one.moments.minimum, one.moments.maximum) == (other.moments.minimum, other.moments.maximum)
    assert math.isclose(one.moments.mean, other.moments.mean, rel_tol=1e-9, abs_tol=1e25)


def test_merged_moments_are_those_of_all_values() -> None:
    values = np.random.default_rng(2).normal(5.0, 2.0, size=1000)
    reference = profile({"x": values})
    merged = numeric(merge(count(reference, {"x": values[:300]}), count(reference, {"x": values[300:]}))).moments
    assert merged.mean == pytest.approx(values.mean())
    assert merged.standard_deviation == pytest.approx(values.std(ddof=1))
