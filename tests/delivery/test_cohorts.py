from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.delivery import cohorts
from headrace.errors import InvalidInput, LabelsNotMature

MATURITY = timedelta(days=90)


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_the_newest_mature_month_is_trained_on_and_its_hold_out_judges() -> None:
    moments = cohorts.for_training(day("1997-08-01"), MATURITY, None)
    assert (moments.as_of, moments.cohort) == (day("1997-05-01"), None)


def test_an_earlier_training_is_judged_on_the_newest_cohort_that_it_has_not_seen() -> None:
    moments = cohorts.for_training(day("1998-03-01"), MATURITY, day("1997-09-01"))
    assert (moments.cohort, moments.ready_at) == (day("1997-12-01"), day("1998-03-01"))


def test_labels_are_mature_to_the_day() -> None:
    assert cohorts.for_training(day("1997-07-30"), MATURITY, day("1997-05-01")).cohort is None
    with pytest.raises(LabelsNotMature, match="mature from 1997-07-30 on"):
        cohorts.for_training(day("1997-07-30") - timedelta(microseconds=1), MATURITY, day("1997-05-01"))


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidInput, match="time zone"):
        cohorts.for_training(day("1998-01-01"), MATURITY, datetime(1997, 1, 1))  # noqa: DTZ001


def test_a_retraining_waits_for_a_cohort_that_it_has_not_seen() -> None:
    moments = cohorts.for_retraining(day("1997-09-01"), MATURITY)
    assert moments.as_of == day("1997-09-01")
    assert moments.cohort == day("1997-12-01")
    assert moments.ready_at == day("1998-03-01")


moments_in_time = st.datetimes(
    min_value=datetime(1990, 1, 1),  # noqa: DTZ001
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(moments_in_time, st.integers(1, 1_000))
def test_no_label_of_the_training_set_reaches_into_the_verdict(window_end: datetime, days: int) -> None:
    maturity = timedelta(days=days)
    moments = cohorts.for_retraining(window_end, maturity)
    assert moments.cohort is not None
    assert moments.as_of <= window_end
    assert moments.as_of + maturity <= moments.cohort < moments.as_of + maturity + timedelta(days=32)
    assert moments.ready_at == moments.cohort + maturity
    assert cohorts.for_training(moments.ready_at, maturity, moments.as_of) == moments


@given(moments_in_time, st.integers(1, 1_000))
def test_the_newest_mature_month_is_mature_and_the_next_is_not(now: datetime, days: int) -> None:
    maturity = timedelta(days=days)
    newest = cohorts.newest_mature(now, maturity)
    assert newest + maturity <= now < cohorts.next_month(newest) + maturity
