"""A version in production that fails again and again is left alone for a while."""

from headrace.serving.gateway import circuits
from headrace.serving.gateway.circuits import (
    FAULTS_TO_OPEN,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    PROBE_S,
    Circuits,
    OpenCircuit,
)


def fail(made: Circuits, times: int = 1, now_s: float = 0.0) -> None:
    for _ in range(times):
        made.observe("churn", 1, fault=True, now_s=now_s)


def passes(made: Circuits, now_s: float) -> bool:
    return made.lets_through("churn", 1, now_s)


def test_it_opens_after_faults_in_a_row_and_only_for_that_version() -> None:
    made = Circuits()
    fail(made, FAULTS_TO_OPEN - 1)
    made.observe("churn", 1, fault=False, now_s=0.0)
    fail(made, FAULTS_TO_OPEN - 1)
    assert passes(made, 0.0)
    fail(made)
    assert not passes(made, 0.0)
    assert made.lets_through("churn", 2, 0.0)
    assert made.lets_through("fraud", 1, 0.0)
    assert (made.open(), made.opened) == ((OpenCircuit("churn", 1),), 1)


def test_one_probe_at_a_time_and_a_good_one_closes_it() -> None:
    made = Circuits()
    fail(made, FAULTS_TO_OPEN)
    assert not passes(made, FIRST_PAUSE_S - 0.1)
    assert passes(made, FIRST_PAUSE_S)
    assert not passes(made, FIRST_PAUSE_S)
    made.observe("churn", 1, fault=False, now_s=FIRST_PAUSE_S)
    assert passes(made, FIRST_PAUSE_S)
    assert made.open() == ()


def test_a_bad_probe_doubles_the_pause_and_late_faults_of_others_do_not() -> None:
    made = Circuits()
    fail(made, FAULTS_TO_OPEN)
    fail(made, 50)  # asked before it opened
    now_s = FIRST_PAUSE_S
    for pause_s in (10.0, 20.0, 40.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S):
        assert passes(made, now_s)
        fail(made, now_s=now_s)
        assert not passes(made, now_s + pause_s - 0.1)
        now_s += pause_s


def test_a_probe_that_nobody_tells_of_is_not_waited_for_for_ever() -> None:
    made = Circuits()
    fail(made, FAULTS_TO_OPEN)
    assert passes(made, FIRST_PAUSE_S)
    assert not passes(made, FIRST_PAUSE_S + PROBE_S - 0.1)
    assert passes(made, FIRST_PAUSE_S + PROBE_S)


def test_a_new_route_begins_anew() -> None:
    made = Circuits()
    fail(made, circuits.FAULTS_TO_OPEN)
    made.forget("fraud")
    assert not passes(made, 0.0)
    made.forget("churn")
    assert passes(made, 0.0)
