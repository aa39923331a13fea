"""A slice that got worse is found, others are seldom accused, and a slice of three rows is no proof."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headrace.statistics import slices
from headrace.statistics.comparison import Verdict

Array = npt.NDArray[Any]


def rows(seed: int, *, per_slice: int = 400, slices_: int = 5, broken: float = 0.0) -> tuple[Array, ...]:
    """Labels, right-or-wrong scores of a new and an old model, and slices; the new one is broken in slice s0."""
    generator = np.random.default_rng(seed)
    members = np.repeat([f"s{place}" for place in range(slices_)], per_slice).astype("U8")
    labels = generator.integers(0, 2, len(members))
    old = np.where(generator.random(len(members)) < 0.85, labels, 1 - labels).astype(float)
    afresh = np.where(generator.random(len(members)) < 0.85, labels, 1 - labels).astype(float)
    new = np.where(generator.random(len(members)) < 0.1, afresh, old)
    harmed = (members == "s0") & (generator.random(len(members)) < broken)
    return labels, np.where(harmed, 1 - labels, new), old, members


def test_a_broken_slice_is_named_and_the_others_are_not() -> None:
    labels, new, old, members = rows(1, broken=0.4)
    found = slices.gains("accuracy", labels, new, old, slices.parts_of(members), margin=0.05)
    assert {one.name: one.verdict is Verdict.WORSE for one in found} == {
        "s0": True, "s1": False, "s2": False, "s3": False, "s4": False,
    }  # fmt: skip
    assert slices.all_good(found) is Verdict.WORSE
    assert slices.no_alarm(found) is Verdict.WORSE


def test_each_slice_must_show_that_it_is_good() -> None:
    labels, new, old, members = rows(2)
    assert (
        slices.all_good(slices.gains("accuracy", labels, new, old, slices.parts_of(members), margin=0.05))
        is Verdict.PASS
    )
    tight = slices.gains("accuracy", labels, new, old, slices.parts_of(members), margin=0.001)
    assert slices.all_good(tight) is Verdict.INCONCLUSIVE
    assert slices.no_alarm(tight) is Verdict.PASS


@pytest.mark.parametrize("rule", [slices.all_good, slices.no_alarm])
def test_three_rows_are_inconclusive(rule: Any) -> None:
    labels, new, old, members = rows(3)
    members[:3] = "tiny"
    found = slices.gains("accuracy", labels, new, old, slices.parts_of(members), margin=0.2, minimum_units=50)
    (tiny,) = [one for one in found if one.name == "tiny"]
    assert (tiny.rows, tiny.verdict, bool(tiny.reason)) == (3, Verdict.INCONCLUSIVE, True)
    assert rule(found) is Verdict.INCONCLUSIVE


def test_rows_of_one_entity_count_once() -> None:
    labels, new, old, members = rows(4)
    few = np.arange(len(labels)) // 40  # ten entities in each slice
    found = slices.gains(
        "accuracy", labels, new, old, slices.parts_of(members), margin=0.2, minimum_units=50, entities=few
    )
    assert {one.units for one in found} == {10}
    assert slices.all_good(found) is Verdict.INCONCLUSIVE


def test_a_slice_without_the_metric_says_why() -> None:
    labels, new, old, members = rows(5)
    labels[members == "s1"] = 1
    found = slices.gains("roc_auc", labels, new, old, slices.parts_of(members), margin=0.2)
    (one,) = [one for one in found if one.name == "s1"]
    assert one.estimate is None
    assert "both outcomes" in one.reason


def test_holm_seldom_accuses_among_many_slices() -> None:
    accused = 0
    for seed in range(200):
        labels, new, old, members = rows(seed, per_slice=100, slices_=10)
        found = slices.gains("accuracy", labels, new, old, slices.parts_of(members), margin=0.0)
        accused += any(one.verdict is Verdict.WORSE for one in found)
    assert accused / 200 <= 0.05 + 0.045  # three standard errors


def test_a_floor_is_judged_in_each_slice() -> None:
    labels, _, old, members = rows(6)
    assert (
        slices.all_good(slices.values("accuracy", labels, old, slices.parts_of(members), bound=0.7)) is Verdict.PASS
    )
    assert (
        slices.all_good(slices.values("accuracy", labels, old, slices.parts_of(members), bound=0.95))
        is Verdict.WORSE
    )
    assert slices.all_good(slices.values("brier", labels, old, slices.parts_of(members), bound=0.3)) is Verdict.PASS
