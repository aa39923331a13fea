"""Sticky assignment: the same unit stays, and raising the weight only adds units."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.serving.assignment import BUCKETS, assign, bucket, challenger_buckets
from headrace.serving.nouns import Arm, Route

units = st.text(max_size=40)
weights = st.floats(0, 100, allow_nan=False)


def route(weight: float, *, champion: int | None = 1, challenger: int | None = 2, salt: str = "rel_1") -> Route:
    return Route(
        model="churn",
        champion=champion,
        challenger=challenger,
        weight_percent=weight,
        salt=salt,
        versions=(),
        sequence=1,
    )


@given(unit=units, first=weights, second=weights)
def test_raising_the_weight_only_adds_units(unit: str, first: float, second: float) -> None:
    low, high = sorted((first, second))
    before, after = assign(route(low), unit), assign(route(high), unit)
    assert before is not None
    assert after is not None
    if before.arm is Arm.CHALLENGER:
        assert after.arm is Arm.CHALLENGER


@given(unit=units)
def test_nobody_is_a_challenger_at_zero_and_everybody_at_a_hundred(unit: str) -> None:
    assert assign(route(0), unit) == (1, Arm.CHAMPION, 1.0)
    assert assign(route(100), unit) == (2, Arm.CHALLENGER, 1.0)


@given(salt=st.text(max_size=9), model=st.text(max_size=9), unit=units)
def test_a_bucket_is_one_of_ten_thousand_and_stays(salt: str, model: str, unit: str) -> None:
    found = bucket(salt, model, unit)
    assert 0 <= found < BUCKETS
    assert found == bucket(salt, model, unit)


def test_the_share_of_units_is_the_weight_and_differs_between_salts() -> None:
    every = [str(number) for number in range(20_000)]
    first = {unit for unit in every if bucket("rel_1", "churn", unit) < challenger_buckets(5)}
    second = {unit for unit in every if bucket("rel_2", "churn", unit) < challenger_buckets(5)}
    assert 800 < len(first) < 1_200  # 1,000 expected, standard deviation 31
    assert len(first & second) < 120  # 50 expected when independent


def test_propensity_is_the_share_of_buckets() -> None:
    arms = {assign(route(25), str(number)) for number in range(200)}
    assert arms == {(1, Arm.CHAMPION, 0.75), (2, Arm.CHALLENGER, 0.25)}


def test_one_version_alone_answers_everything() -> None:
    assert assign(route(5, champion=None), "ana") == (2, Arm.CHALLENGER, 1.0)
    assert assign(route(5, challenger=None), "ana") == (1, Arm.CHAMPION, 1.0)
    assert assign(route(5, champion=None, challenger=None), "ana") is None


def test_an_open_breaker_sends_everyone_to_the_champion_if_there_is_one() -> None:
    assert assign(route(100), "ana", without_challenger=True) == (1, Arm.CHAMPION, 1.0)
    assert assign(route(100, champion=None), "ana", without_challenger=True) == (2, Arm.CHALLENGER, 1.0)
