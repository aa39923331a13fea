"""Distinct units over several gateways: exact while they are few, close when they are many."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.serving.distinct import SAMPLE, Smallest, distinct, unit_hash


def kept(units: list[str]) -> tuple[int, ...]:
    smallest = Smallest()
    for found in {unit_hash("rel_1", unit) for unit in units}:
        smallest.add(found)
    return smallest.hashes()


@given(st.lists(st.lists(st.integers(0, 60).map(str))))
def test_few_units_are_counted_exactly_whichever_gateways_they_met(gateways: list[list[str]]) -> None:
    assert distinct(kept(units) for units in gateways) == len({unit for units in gateways for unit in units})


def test_many_units_are_estimated_whoever_saw_them() -> None:
    units = [str(number) for number in range(50_000)]
    shared = [kept(units[:30_000]), kept(units[20_000:]), kept(units[:100])]
    assert distinct(shared) == distinct([kept(units)])
    assert abs(distinct(shared) / 50_000 - 1) < 0.15


def test_the_step_from_exact_to_estimated_is_small() -> None:
    units = [str(number) for number in range(SAMPLE + 1)]
    assert distinct([kept(units[: SAMPLE - 1])]) == SAMPLE - 1
    assert abs(distinct([kept(units)]) / (SAMPLE + 1) - 1) < 0.15


def test_only_changes_of_what_is_kept_are_told() -> None:
    smallest = Smallest()
    assert all(smallest.add(number) for number in range(1000, 1000 + SAMPLE))
    assert not smallest.add(9_999)
    assert smallest.add(1)
    assert smallest.hashes()[:2] == (1, 1000)


def test_a_unit_has_another_hash_in_another_release() -> None:
    assert unit_hash("rel_1", "ana") != unit_hash("rel_2", "ana")
    assert unit_hash("rel_1", "ana") == unit_hash("rel_1", "ana")
    assert unit_hash("a", "b\udcffc") >= 0
