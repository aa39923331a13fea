from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.delivery.machine import (
    Abort,
    Advance,
    AnswerApproval,
    ApprovalLost,
    Ask,
    Asked,
    Command,
    EndCooling,
    Events,
    ExpireApproval,
    Happening,
    Open,
    Pause,
    Phase,
    Promote,
    Promoted,
    ReleasePlan,
    ReleaseState,
    ReportGates,
    ReportStaging,
    Resume,
    Retreat,
    RollBack,
    StepStarted,
    decide,
    evolve,
    replay,
)
from headrace.errors import Conflict

FULL = ReleasePlan(gates=True, staging=True, approval=True, steps=(5, 25, 50, 100))

plans = st.builds(
    ReleasePlan,
    gates=st.booleans(),
    staging=st.booleans(),
    approval=st.booleans(),
    steps=st.sampled_from([(100,), (5, 100), (5, 25, 50, 100)]),
)
commands = st.one_of(
    st.builds(ReportGates, attempt=st.integers(0, 4), passed=st.booleans()),
    st.builds(ReportStaging, attempt=st.integers(0, 4), passed=st.booleans()),
    st.builds(AnswerApproval, granted=st.booleans()),
    st.just(ExpireApproval()),
    st.builds(Advance, step=st.integers(0, 4)),
    st.builds(Ask, step=st.integers(0, 4)),
    st.just(Retreat()),
    st.just(EndCooling()),
    st.just(Pause()),
    st.just(Resume()),
    st.just(Abort()),
    st.just(Promote()),
    st.just(RollBack()),
)


def run(state: ReleaseState | None, command: Command) -> tuple[ReleaseState | None, list[Happening]]:
    try:
        events = decide(state, command)
    except Conflict:
        return state, []
    for event in events:
        state = evolve(state, event)
    return state, events


def after(*sequence: Command, plan: ReleasePlan = FULL) -> ReleaseState:
    state, _ = run(None, Open(plan=plan))
    for command in sequence:
        state, _ = run(state, command)
    assert state is not None
    return state


def drive(plan: ReleasePlan, sequence: list[Command]) -> tuple[ReleaseState, Events]:
    state, happened = run(None, Open(plan=plan))
    for command in sequence:
        state, events = run(state, command)
        happened += events
    assert state is not None
    return state, happened


APPROVED = (
    ReportGates(attempt=1, passed=True),
    ReportStaging(attempt=2, passed=True),
    AnswerApproval(granted=True),
)


@given(plans, st.lists(commands, max_size=40))
@settings(max_examples=400, deadline=None)
def test_replaying_the_events_gives_the_same_state(plan: ReleasePlan, sequence: list[Command]) -> None:
    state, happened = drive(plan, sequence)
    assert replay(happened) == state


@given(plans, st.lists(commands, max_size=25), commands)
@settings(max_examples=400, deadline=None)
def test_every_command_twice_is_the_command_once(
    plan: ReleasePlan, sequence: list[Command], command: Command
) -> None:
    state, _ = drive(plan, sequence)
    once, first = run(state, command)
    twice, second = run(once, command)
    assert twice == once
    assert not (first and second)


@given(plans, st.lists(commands, max_size=40))
@settings(max_examples=400, deadline=None)
def test_traffic_only_after_all_that_the_plan_asks_for(plan: ReleasePlan, sequence: list[Command]) -> None:
    state, happened = drive(plan, sequence)
    kinds = [type(event).__name__ for event in happened]
    if "StepStarted" in kinds:
        before = kinds[: kinds.index("StepStarted")]
        assert ("GatesPassed" in before) == plan.gates
        assert ("StagingPassed" in before) == plan.staging
        assert ("Approved" in before) == plan.approval
    weights = [plan.steps[event.step] for event in happened if isinstance(event, StepStarted)]
    assert weights == list(plan.steps[: len(weights)])
    assert sum(isinstance(event, Promoted) for event in happened) <= 1
    assert sum(phase_is_end(kind) for kind in kinds) == int(state.final)


def phase_is_end(kind: str) -> bool:
    return kind in {"Completed", "Blocked", "Refused", "Aborted", "RolledBack"}


@given(plans, st.lists(commands, max_size=40), st.lists(commands, max_size=10))
@settings(max_examples=200, deadline=None)
def test_what_is_over_stays_over(plan: ReleasePlan, sequence: list[Command], later: list[Command]) -> None:
    state, _ = drive(plan, sequence)
    if state.final:
        for command in later:
            assert run(state, command) == (state, [])


def test_every_phase_can_be_reached_and_from_every_phase_the_end() -> None:
    alphabet: list[Command] = [
        *(ReportGates(attempt=n, passed=passed) for n in (1, 2) for passed in (True, False)),
        *(ReportStaging(attempt=n, passed=passed) for n in (1, 2) for passed in (True, False)),
        *(AnswerApproval(granted=granted) for granted in (True, False)),
        *(Advance(step=n) for n in range(4)),
        *(Retreat(), EndCooling(), Pause(), Resume(), Abort(), Promote(), RollBack()),
    ]
    start, _ = run(None, Open(plan=FULL))
    assert start is not None
    leads_to: dict[ReleaseState, set[ReleaseState]] = {}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        if state not in leads_to:
            followers = {follower for command in alphabet if (follower := run(state, command)[0])} - {state}
            leads_to[state] = followers
            queue.extend(followers)
    assert {state.phase for state in leads_to} == set(Phase)
    ends = {state for state in leads_to if state.final}
    while True:
        grown = ends | {state for state, followers in leads_to.items() if followers & ends}
        if grown == ends:
            break
        ends = grown
    assert ends == set(leads_to)


def test_the_whole_way() -> None:
    state = after(*APPROVED)
    assert (state.phase, state.step, state.weight_percent) == (Phase.ROLLING_OUT, 0, 5)
    for step in range(4):
        state, _ = run(state, Advance(step=step))  # type: ignore[assignment]
    assert (state.phase, state.weight_percent) == (Phase.COOLING, 100)
    assert run(state, EndCooling())[0].phase is Phase.COMPLETED  # type: ignore[union-attr]


def test_a_plan_without_gates_staging_and_approval_starts_with_traffic() -> None:
    state = after(plan=ReleasePlan(gates=False, staging=False, approval=False, steps=(100,)))
    assert (state.phase, state.weight_percent) == (Phase.ROLLING_OUT, 100)


def test_results_of_another_attempt_are_stale() -> None:
    state = after(ReportGates(attempt=7, passed=False))
    assert state.phase is Phase.GATING
    assert after(ReportStaging(attempt=1, passed=False)).phase is Phase.GATING


def test_a_gate_that_does_not_pass_blocks() -> None:
    state = after(ReportGates(attempt=1, passed=False, reason="INCONCLUSIVE"))
    assert (state.phase, state.reason) == (Phase.BLOCKED, "INCONCLUSIVE")


def test_a_pause_lets_evidence_come_and_holds_the_traffic() -> None:
    paused = after(Pause(), *APPROVED)
    assert (paused.phase, paused.weight_percent) == (Phase.READY, 0)
    resumed, events = run(paused, Resume())
    assert resumed is not None
    assert (resumed.phase, resumed.weight_percent) == (Phase.ROLLING_OUT, 5)
    assert [type(event).__name__ for event in events] == ["Resumed", "StepStarted"]


def test_a_paused_rollout_still_goes_back() -> None:
    state = after(*APPROVED, Pause())
    assert run(state, Advance(step=0)) == (state, [])
    assert after(*APPROVED, Pause(), Retreat(reason="faults")).phase is Phase.ROLLED_BACK


def test_a_lapsed_approval_waits_and_is_asked_for_again() -> None:
    lapsed = after(*APPROVED[:2], ExpireApproval())
    assert (lapsed.phase, lapsed.paused, lapsed.approval_open) == (Phase.AWAITING_APPROVAL, True, False)
    assert run(lapsed, AnswerApproval(granted=True)) == (lapsed, [])
    asked = after(*APPROVED[:2], ExpireApproval(), Resume())
    assert (asked.phase, asked.approval_open) == (Phase.AWAITING_APPROVAL, True)
    assert asked.attempt == lapsed.attempt + 1


def test_a_promotion_ends_the_wait_for_an_approval_that_was_lost() -> None:
    """Else its answer, or its deadline, would pause or roll back a version that is in production."""
    lost = evolve(after(*APPROVED), ApprovalLost())
    promoted, _ = run(lost, Promote())
    assert promoted is not None
    assert (promoted.phase, promoted.approval_open) == (Phase.COOLING, False)
    for late in (ExpireApproval(), AnswerApproval(granted=False), AnswerApproval(granted=True)):
        assert run(promoted, late) == (promoted, [])


@pytest.mark.parametrize(
    ("sequence", "command", "problem"),
    [
        ((), Promote(), "cannot be skipped"),
        ((), RollBack(), "no traffic"),
        ((*APPROVED, Promote()), Abort(), "in production already"),
        ((Abort(),), Pause(), "is over"),
        ((Abort(),), RollBack(), "is over"),
    ],
)
def test_commands_that_make_no_sense_are_refused(
    sequence: tuple[Command, ...], command: Command, problem: str
) -> None:
    with pytest.raises(Conflict, match=problem):
        decide(after(*sequence), command)


def test_nothing_happens_to_a_release_that_was_not_opened() -> None:
    with pytest.raises(Conflict, match="opened"):
        decide(None, Pause())


def test_a_step_that_was_asked_about_may_still_be_made_to_wait_once() -> None:
    """Being asked because nothing could be told is no leave to go on once it can."""
    plan = ReleasePlan(gates=False, staging=False, approval=False, steps=(0, 5, 100))
    state, _ = run(None, Open(plan=plan))
    state, events = run(state, Ask(step=0))
    assert state is not None
    assert ([type(event) for event in events], state.paused) == ([Asked], False)
    assert run(state, Ask(step=0)) == (state, [])
    state, events = run(state, Ask(step=0, wait=True))
    assert state is not None
    assert (len(events), state.paused, state.waited) == (1, True, True)
    assert run(state, Advance(step=0)) == (state, [])
    state, _ = run(state, Resume())
    assert run(state, Ask(step=0, wait=True)) == (state, [])
    state, _ = run(state, Advance(step=0))
    assert state is not None
    assert (state.step, state.asked, state.waited) == (1, False, False)
