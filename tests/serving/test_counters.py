"""Counts add up by unit, and the breaker opens only while control is away."""

from datetime import UTC, datetime

from headrace.serving.counters import FAULTS_TO_TRIP, Breaker, Counted, Counters

CHALLENGER = Counted("churn", 2, "rel_1", 0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_unit_that_fails_again_and_again_is_one_failed_unit() -> None:
    counters = Counters()
    for fault in (False, True, True):
        counters.count(CHALLENGER, unit="ana", faults=int(fault), latency_us=10)
    counters.count(CHALLENGER, unit="ben", latency_us=10)
    (totals,) = counters.totals()
    assert (totals.requests, totals.faults, totals.units, totals.failed_units) == (4, 2, 2, 1)
    assert totals.latency_us_sum == 40


def test_requests_without_a_unit_are_each_one() -> None:
    counters = Counters()
    for fault in (False, True, False):
        counters.count(CHALLENGER, unit=None, faults=int(fault), latency_us=1)
    (totals,) = counters.totals()
    assert (totals.units, totals.failed_units) == (3, 1)


def test_outside_a_release_units_are_not_remembered() -> None:
    counters = Counters()
    counters.count(Counted("churn", 1, None, None), unit="ana", latency_us=1)
    (totals,) = counters.totals()
    assert (totals.requests, totals.units) == (1, 0)


def test_units_of_former_releases_are_let_go_and_their_numbers_stay() -> None:
    counters = Counters()
    for unit in ("ana", "ben", None):
        counters.count(CHALLENGER, unit=unit, faults=1, latency_us=1)
    counters.forget_units("churn", but_of="rel_1")
    counters.count(CHALLENGER, unit="ana", latency_us=1)
    counters.forget_units("churn", but_of="rel_2")
    counters.count(CHALLENGER, unit="cem", latency_us=1)  # still under way when the release ended
    (totals,) = counters.totals()
    assert (totals.requests, totals.units, totals.failed_units) == (5, 3, 3)


def test_only_what_was_counted_since_is_told() -> None:
    counters = Counters()
    counters.count(CHALLENGER, unit=None, latency_us=1)
    seen = counters.revision
    assert counters.totals(seen) == ()
    counters.count(CHALLENGER._replace(step=1), unit=None, latency_us=1)
    assert [totals.step for totals in counters.totals(seen)] == [1]
    assert len(counters.totals()) == 2


def test_each_step_counts_for_itself() -> None:
    counters = Counters()
    before = counters.revision
    counters.count(CHALLENGER, unit="ana", latency_us=1)
    counters.count(CHALLENGER._replace(step=1), unit="ana", faults=1, latency_us=1)
    assert [(totals.step, totals.faults) for totals in counters.totals()] == [(0, 0), (1, 1)]
    assert counters.revision != before


def observe(breaker: Breaker, faults: list[bool], *, control_away: bool) -> bool:
    for fault in faults:
        breaker.observe(CHALLENGER, fault=fault, control_away=control_away, now=NOW)
    return breaker.is_open(CHALLENGER)


def test_faults_in_a_row_open_the_breaker_while_control_is_away() -> None:
    breaker = Breaker()
    assert not observe(breaker, [True] * (FAULTS_TO_TRIP - 1), control_away=True)
    assert not observe(breaker, [False], control_away=True)
    assert not observe(breaker, [True] * (FAULTS_TO_TRIP - 1), control_away=True)
    assert observe(breaker, [True], control_away=True)
    (trip,) = breaker.trips()
    assert (trip.version, trip.release_id, trip.consecutive_faults, trip.at) == (2, "rel_1", FAULTS_TO_TRIP, NOW)


def test_with_control_in_reach_the_release_decides() -> None:
    breaker = Breaker()
    assert not observe(breaker, [True] * 100, control_away=False)
    assert observe(breaker, [True], control_away=True)


def test_a_new_route_closes_the_breaker() -> None:
    breaker = Breaker()
    assert observe(breaker, [True] * FAULTS_TO_TRIP, control_away=True)
    breaker.close("another")
    assert breaker.is_open(CHALLENGER)
    breaker.close("churn")
    assert not breaker.is_open(CHALLENGER)
    assert not observe(breaker, [True], control_away=True)
