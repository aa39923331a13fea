import math
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from headrace.features.nouns import LookupStatus
from headrace.features.windows import Events, features_at, plan_view
from headrace.kernel.schema import to_microseconds
from headrace.project.feature import Feature
from headrace.project.feature_view import FeatureView
from headrace.testing import feature_cases as cases
from headrace.testing import feature_oracle as oracle

DAY = timedelta(days=1)


def view(ttl: str = "30d", **features: Feature) -> FeatureView:
    return FeatureView(name="v", entity=cases.CUSTOMER, source=cases.PURCHASES, ttl=ttl, features=features)


def events_of(rows: list[dict[str, Any]], key: Any, columns: tuple[str, ...]) -> Events | None:
    mine = sorted((row for row in rows if row["customer_id"] == key), key=lambda row: row["event_ts"])
    if not mine or key is None:
        return None
    times = [to_microseconds(row["event_ts"]) for row in mine]
    values = tuple([cleaned(row[column]) for row in mine] for column in columns)
    return Events(times, values, times[0])


def cleaned(value: Any) -> float:
    return float(value) if value is not None and abs(value) < float("inf") else float("nan")


@settings(max_examples=400, deadline=None)
@given(rows=cases.events, asked=cases.asked)
def test_the_definition_says_what_the_oracle_says(rows: list[dict[str, Any]], asked: list[Any]) -> None:
    for declared in (cases.VIEW, cases.RECENT):
        plan = plan_view(declared)
        for key, at in asked:
            status, values = features_at(plan, events_of(rows, key, plan.columns), to_microseconds(at))
            nullable = [None if value != value else value for value in values]
            expected = oracle.features(declared, rows, key, at)
            oracle.assert_same(nullable, expected, declared, rows, key, at)
            assert (status is LookupStatus.FOUND) == any(value is not None for value in expected)


@pytest.mark.parametrize(
    ("age", "counted"),
    [
        (timedelta(0), 1.0),
        (DAY - timedelta(microseconds=1), 1.0),
        (DAY, 0.0),
        (DAY + timedelta(microseconds=1), 0.0),
    ],
)
def test_a_window_is_open_at_its_far_end_and_closed_at_t(age: timedelta, counted: float) -> None:
    plan = plan_view(view(n=Feature(kind="count", window="1d")))
    at_us = to_microseconds(cases.START)
    event_us = to_microseconds(cases.START - age)
    assert features_at(plan, Events([event_us], (), event_us), at_us) == (LookupStatus.FOUND, [counted])


def test_the_future_is_not_seen() -> None:
    plan = plan_view(view(n=Feature(kind="count", window="1d")))
    at_us = to_microseconds(cases.START)
    status, values = features_at(plan, Events([at_us + 1], (), at_us + 1), at_us)
    assert status is LookupStatus.MISSING
    assert math.isnan(values[0])


@pytest.mark.parametrize(("age_us", "status"), [(0, "found"), (1, "expired")])
def test_an_entity_expires_after_ttl(age_us: int, status: str) -> None:
    plan = plan_view(view(ttl="1d", last=Feature(kind="age_of_last")))
    at_us = to_microseconds(cases.START)
    event_us = to_microseconds(cases.START - DAY) - age_us
    assert features_at(plan, Events([event_us], (), event_us), at_us)[0] == status


def test_dropped_events_still_tell_first_and_last() -> None:
    plan = plan_view(
        view(
            last=Feature(kind="age_of_last"),
            first=Feature(kind="age_of_first"),
            n=Feature(kind="count", window="1d"),
        )
    )
    at_us = to_microseconds(cases.START)
    day = 86_400_000_000
    assert features_at(plan, Events([], (), at_us - 9 * day, at_us - 3 * day), at_us)[1] == [3.0, 9.0, 0.0]


def test_sums_too_large_for_a_float_are_infinite() -> None:
    plan = plan_view(view(s=Feature(kind="sum", column="amount", window="1d")))
    at_us = to_microseconds(cases.START)
    assert features_at(plan, Events([at_us] * 2, ([1e308, 1e308],), at_us), at_us)[1] == [float("inf")]


def test_another_definition_has_another_online_key() -> None:
    one, other = view(n=Feature(kind="count", window="1d")), view(n=Feature(kind="count", window="2d"))
    assert plan_view(one).online_key == plan_view(msgspec.structs.replace(one, declared_at="other.py:7")).online_key
    assert plan_view(one).online_key != plan_view(other).online_key
