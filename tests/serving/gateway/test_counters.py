"""Counts add up by unit, and the breaker opens only while control is away."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.serving.assignment import Counted
from headrace.serving.gateway import counters as counters_module
from headrace.serving.gateway.counters import FAULTS_TO_TRIP, Breaker, Counters, Rates, Seen
from headrace.serving.nouns import Signal, VersionCounts

CHALLENGER = Counted("churn", 2, "rel_1", 0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def count(counters: Counters, unit: str | None, counted: Counted = CHALLENGER, **seen: Any) -> None:
    counters.count(counted, unit=unit, seen=Seen(**{"latency_us": 1} | seen))


def told(counts: VersionCounts) -> Counter[Signal]:
    return Counter(each.signal for each in counts.signalled)


def test_a_unit_that_fails_again_and_again_is_one_failed_unit() -> None:
    counters = Counters()
    for fault in (False, True, True):
        count(counters, "ana", faults=int(fault), latency_us=10)
    count(counters, "ben", latency_us=10)
    (totals,) = counters.totals()
    assert (totals.requests, totals.faults, len(totals.named or ())) == (4, 2, 2)
    assert told(totals) == {Signal.FAULTS: 1}
    assert totals.latency_us_sum == 40
    assert sum(totals.latency_counts.values()) == 4


def test_requests_without_a_unit_are_each_one() -> None:
    counters = Counters()
    for fault in (False, True, False):
        count(counters, None, faults=int(fault))
    (totals,) = counters.totals()
    assert (totals.units, totals.failed_units, totals.named, totals.signalled) == (3, 1, None, ())


def test_each_signal_counts_for_itself() -> None:
    counters = Counters()
    count(counters, None, rows=3, faults=2, invalid=1, slow=True)
    count(counters, None, fallbacks=1)
    count(counters, "ana", faults=1)
    count(counters, "ana", faults=1, invalid=1, fallbacks=1)
    (totals,) = counters.totals()
    assert (totals.requests, totals.faults, totals.invalid, totals.fallbacks) == (6, 4, 2, 2)
    assert (totals.failed_units, totals.invalid_units, totals.slow_units, totals.fallback_units) == (1, 1, 1, 1)
    assert told(totals) == {Signal.FAULTS: 1, Signal.INVALID_OUTPUTS: 1, Signal.FALLBACKS: 1}


def test_a_unit_is_slow_or_not_by_its_first_request_in_a_step() -> None:
    """Else whoever asks often would be slow once, on either version."""
    counters = Counters()
    for slow in (False, True, True):
        count(counters, "ana", slow=slow)
    count(counters, "ben", slow=True)
    count(counters, "ben", slow=False)
    count(counters, "ana", CHALLENGER._replace(step=1), slow=True)
    first, second = counters.totals()
    assert (told(first), told(second)) == ({Signal.SLOW: 1}, {Signal.SLOW: 1})


def test_outside_a_release_units_are_not_remembered() -> None:
    counters = Counters()
    count(counters, "ana", Counted("churn", 1, None, None), faults=1)
    (totals,) = counters.totals()
    assert (totals.requests, totals.units, totals.named, totals.signalled) == (1, 0, None, ())


def test_units_of_former_releases_are_let_go_and_their_numbers_stay() -> None:
    counters = Counters()
    for unit in ("ana", "ben", None):
        count(counters, unit, faults=1)
    counters.forget_units("churn", but_of="rel_1")
    count(counters, "ana")
    counters.forget_units("churn", but_of="rel_2")
    count(counters, "cem", faults=1)  # still under way when the release ended
    (totals,) = counters.totals()
    assert (totals.requests, totals.units, totals.failed_units, len(totals.named or ())) == (5, 1, 1, 2)
    assert told(totals) == {Signal.FAULTS: 2}


def test_only_what_was_counted_since_is_told() -> None:
    counters = Counters()
    count(counters, "ana", faults=1)
    seen = counters.revision
    assert counters.totals(seen) == ()
    count(counters, "ana", faults=1)
    (again,) = counters.totals(seen)
    assert (again.requests, again.named, again.signalled) == (2, None, ())
    count(counters, None, CHALLENGER._replace(step=1))
    assert [totals.step for totals in counters.totals(counters.revision - 1)] == [1]
    assert len(counters.totals()) == 2


def test_each_step_counts_for_itself() -> None:
    counters = Counters()
    before = counters.revision
    count(counters, "ana")
    count(counters, "ana", CHALLENGER._replace(step=1), faults=1)
    assert [(totals.step, totals.faults) for totals in counters.totals()] == [(0, 0), (1, 1)]
    assert counters.revision != before


def test_the_limits_end_the_evidence_of_both_arms_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arm that reached a limit alone would look better than the other."""
    monkeypatch.setattr(counters_module, "UNIT_LIMIT", 10)
    monkeypatch.setattr(counters_module, "SIGNAL_LIMIT", 4)
    counters = Counters()
    champion = CHALLENGER._replace(version=1)
    for place in range(9):
        count(counters, f"champion's {place}", champion, faults=1)
    for place in range(9):
        count(counters, f"challenger's {place}", faults=1)
    first, second = counters.totals()
    assert (len(first.named or ()), len(second.named or ())) == (9, 1)
    assert (told(first), told(second)) == ({Signal.FAULTS: 4}, {})


def test_rates_are_those_of_the_last_minute() -> None:
    rates = Rates()
    assert rates.look({"churn": 0}, 0.0) == {}
    assert rates.look({"churn": 30}, 3.0) == {}
    assert rates.look({"churn": 50}, 5.0) == {"churn": 10.0}
    for second in range(6, 600):
        rates.look({"churn": 50}, float(second))
    assert rates.look({"churn": 50 + 120, "other": 60}, 600.0) == pytest.approx({"churn": 2.0, "other": 1.0})


def test_every_visit_of_a_unit_is_traffic() -> None:
    counters = Counters()
    for unit in ("ana", "ana", None):
        count(counters, unit, rows=5)
    assert counters.visits == {"churn": 3}


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
