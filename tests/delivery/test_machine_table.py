"""The release machine against a table written by hand: every phase and every command, exhaustively and at random.

The table is the specification; it shares no line with the machine. A letter is the phase that a command leads to,
`.` means that nothing happens, `!` that it is refused.
"""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.delivery.machine import (
    FINAL,
    Abort,
    Advance,
    AnswerApproval,
    ApprovalLost,
    Ask,
    Command,
    EndCooling,
    ExpireApproval,
    Happening,
    Open,
    Pause,
    Phase,
    Promote,
    Promoted,
    Reallocate,
    Reallocated,
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

LETTERS = dict(zip("GSAROCDBFXK", Phase, strict=True))
"""Gating, Staging, Awaiting approval, Ready, Rolling out, Cooling, compleTed … in the order of `Phase`."""

RUNNING = """
                  G S A R O C D B F X K
open              . . . . . . . . . . .
gates passed      S . . . . . . . . . .
gates failed      B . . . . . . . . . .
staging passed    . A . . . . . . . . .
staging failed    . B . . . . . . . . .
granted           . . O . . . . . . . .
refused           . . F . . . . . . . .
lapsed            . . A . . . . . . . .
advance           . . . . O . . . . . .
advance the last  . . . . C . . . . . .
ask               . . . . O . . . . . .
reallocate        . . . . O . . . . . .
retreat           . . . . K K . . . . .
end cooling       . . . . . D . . . . .
pause             G S A R O C ! ! ! ! !
resume            . . . . . . . . . . .
abort             X X X X X ! ! ! ! . !
promote           ! ! ! ! C . . ! ! ! !
roll back         ! ! ! ! K K ! ! ! ! .
"""

PAUSED = """
                  G S A R O C
open              . . . . . .
gates passed      S . . . . .
gates failed      B . . . . .
staging passed    . A . . . .
staging failed    . B . . . .
granted           . . R . . .
refused           . . F . . .
lapsed            . . A . . .
advance           . . . . . .
advance the last  . . . . . .
ask               . . . . . .
reallocate        . . . . . .
retreat           . . . . K K
end cooling       . . . . . .
pause             . . . . . .
resume            G S A O O C
abort             X X X X X !
promote           ! ! ! ! C .
roll back         ! ! ! ! K K
"""


LOST = """
                  O
open              .
gates passed      .
gates failed      .
staging passed    .
staging failed    .
granted           O
refused           K
lapsed            O
advance           .
advance the last  .
ask               .
reallocate        .
retreat           K
end cooling       .
pause             .
resume            O
abort             X
promote           C
roll back         K
"""
"""Paused in the middle of the rollout, since its approval was lost and is asked for again."""


def read(table: str) -> dict[tuple[str, Phase], str]:
    head, *rows = table.strip("\n").splitlines()
    columns = [LETTERS[letter] for letter in head.split()]
    cells: dict[tuple[str, Phase], str] = {}
    for row in rows:
        name, entries = row[:18].strip(), row[18:].split()
        assert len(entries) == len(columns), row
        cells.update({(name, phase): entry for phase, entry in zip(columns, entries, strict=True)})
    return cells


CELLS = {"running": read(RUNNING), "paused": read(PAUSED), "lost": read(LOST)}
NAMES = sorted({name for name, _ in CELLS["running"]})


def table_of(state: ReleaseState) -> str:
    """Which of the tables a state is looked up in."""
    lost = state.phase is Phase.ROLLING_OUT and state.approval_open
    return "lost" if lost else "paused" if state.paused else "running"


PLANS = [
    ReleasePlan(gates=gates, staging=staging, approval=approval, steps=steps)
    for gates in (True, False)
    for staging in (True, False)
    for approval in (True, False)
    for steps in ((100,), (5, 25, 100))
]


def command(name: str, state: ReleaseState) -> Command | None:
    """The command of this name, fresh for a state; None where it cannot be meant there."""
    last = state.step == len(state.plan.steps) - 1
    if name == "advance" and state.phase is Phase.ROLLING_OUT and last:
        return None
    if name == "advance the last" and state.phase is Phase.ROLLING_OUT and not last:
        return None
    if name == "lapsed" and state.phase is Phase.AWAITING_APPROVAL and not state.approval_open:
        return None
    if name == "ask" and state.asked:
        return None
    if name == "reallocate" and not _may_reallocate(state):
        return None
    if name in {"granted", "refused"} and not state.approval_open and state.phase is Phase.AWAITING_APPROVAL:
        return None
    commands: dict[str, Command] = {
        "open": Open(plan=state.plan),
        "gates passed": ReportGates(attempt=state.attempt, passed=True),
        "gates failed": ReportGates(attempt=state.attempt, passed=False),
        "staging passed": ReportStaging(attempt=state.attempt, passed=True),
        "staging failed": ReportStaging(attempt=state.attempt, passed=False),
        "granted": AnswerApproval(granted=True),
        "refused": AnswerApproval(granted=False),
        "lapsed": ExpireApproval(),
        "advance": Advance(step=state.step or 0),
        "advance the last": Advance(step=state.step or 0),
        "ask": Ask(step=state.step or 0),
        "reallocate": Reallocate(step=state.step or 0, weight_percent=40 if state.weight_percent == 50 else 50),
        "retreat": Retreat(),
        "end cooling": EndCooling(),
        "pause": Pause(),
        "resume": Resume(),
        "abort": Abort(),
        "promote": Promote(),
        "roll back": RollBack(),
    }
    return commands[name]


def _may_reallocate(state: ReleaseState) -> bool:
    """Only a share can be moved; and not for ever here, or there would be no end of states."""
    shared = state.weight_percent < 100 and len(state.plan.steps) < 5
    return state.phase is not Phase.ROLLING_OUT or shared


def entered(plan: ReleasePlan, letter: str) -> Phase:
    """The phase that a letter means under a plan: what the plan does not ask for is passed over."""
    phase = LETTERS[letter]
    skipped = {
        Phase.GATING: not plan.gates,
        Phase.STAGING: not plan.staging,
        Phase.AWAITING_APPROVAL: not plan.approval,
    }
    order = [Phase.GATING, Phase.STAGING, Phase.AWAITING_APPROVAL, Phase.ROLLING_OUT]
    while skipped.get(phase):
        phase = order[order.index(phase) + 1]
    return phase


def check(state: ReleaseState, name: str) -> ReleaseState:
    """Carry out a command and hold what comes of it against the table; returns the state after."""
    given = command(name, state)
    if given is None:
        return state
    cell = CELLS[table_of(state)][name, state.phase]
    if cell == "!":
        with pytest.raises(Conflict):
            decide(state, given)
        return state
    happened = decide(state, given)
    if cell == ".":
        assert happened == [], (name, state)
        return state
    after = state
    for event in happened:
        after = evolve(after, event)
    wanted = entered(state.plan, cell)
    if name in {"gates passed", "staging passed"} and state.paused and wanted is Phase.ROLLING_OUT:
        wanted = Phase.READY  # traffic waits until somebody resumes
    assert after.phase is wanted, (name, state)
    goes_on = {"resume", "promote"} | ({"granted"} if table_of(state) == "lost" else set())
    stays_paused = state.paused and name not in goes_on and after.phase not in FINAL
    assert after.paused == (stays_paused or name in {"pause", "lapsed"}), (name, state)
    return after


def start(plan: ReleasePlan) -> ReleaseState:
    state = replay(decide(None, Open(plan=plan)))
    assert state is not None
    return state


def reachable(plan: ReleasePlan) -> Iterator[ReleaseState]:
    """Every state that commands lead to, requests for approval asked for at most three times."""
    seen: set[ReleaseState] = set()
    queue = deque([start(plan)])
    while queue:
        state = queue.popleft()
        if state in seen or state.attempt > 6:
            continue
        seen.add(state)
        yield state
        if state.phase is Phase.ROLLING_OUT:
            queue.append(evolve(state, ApprovalLost()))  # decided by policies, not by the machine
        for name in NAMES:
            given = command(name, state)
            if given is None:
                continue
            try:
                happened = decide(state, given)
            except Conflict:
                continue
            after = state
            for event in happened:
                after = evolve(after, event)
            queue.append(after)


@pytest.mark.parametrize("plan", PLANS)
def test_every_state_answers_every_command_as_the_table_says(plan: ReleasePlan) -> None:
    for state in reachable(plan):
        for name in NAMES:
            check(state, name)


def test_every_cell_of_the_table_is_met() -> None:
    met = {
        (table_of(state), name, state.phase)
        for plan in PLANS
        for state in reachable(plan)
        for name in NAMES
        if command(name, state) is not None
    }
    every = {(table, name, phase) for table, cells in CELLS.items() for name, phase in cells}
    only_paused = {("running", name, Phase.READY) for name in NAMES}
    assert met == every - only_paused


def test_the_documents_show_the_same_tables() -> None:
    page = (Path(__file__).parents[2] / "docs/releases.md").read_text(encoding="utf-8")
    assert RUNNING in page
    assert PAUSED in page
    assert LOST in page


def test_no_state_contradicts_itself() -> None:
    for plan in PLANS:
        for state in reachable(plan):
            assert state.approval_open <= (state.phase in {Phase.AWAITING_APPROVAL, Phase.ROLLING_OUT})
            assert state.paused or not (state.approval_open and state.phase is Phase.ROLLING_OUT)
            assert not (state.final and state.paused)
            assert (state.phase is not Phase.READY) or state.paused
            assert state.phase is not Phase.AWAITING_APPROVAL or state.approval_open or state.paused
            assert 0 <= state.weight_percent <= 100
            with_step = {Phase.ROLLING_OUT, Phase.COOLING, Phase.COMPLETED}
            assert state.phase not in with_step or state.step is not None


class Sequences(RuleBasedStateMachine):
    """Commands in any order, fresh and stale, once and twice, by anybody."""

    @initialize(plan=st.sampled_from(PLANS))
    def open(self, plan: ReleasePlan) -> None:
        self.happened: list[Happening] = decide(None, Open(plan=plan))
        self.state = start(plan)
        self.asked = int(self.state.approval_open)
        self.answered = 0

    @rule(name=st.sampled_from(NAMES))
    def command(self, name: str) -> None:
        given = command(name, self.state)
        wanted = check(self.state, name)
        self.carry_out(given)
        assert self.state == wanted

    @rule(name=st.sampled_from(NAMES))
    def twice(self, name: str) -> None:
        """Whoever sends a command again, because an answer was lost, changes nothing more."""
        given = command(name, self.state)
        self.carry_out(given)
        before = self.state
        self.carry_out(given)
        assert self.state == before

    @precondition(lambda self: self.state.phase is Phase.ROLLING_OUT)
    @rule()
    def lose_the_approval(self) -> None:
        self.asked += not self.state.approval_open
        self.happened.append(ApprovalLost())
        self.state = evolve(self.state, ApprovalLost())

    @rule(attempt=st.integers(-1, 12), passed=st.booleans(), staging=st.booleans())
    def stale_result(self, attempt: int, passed: bool, staging: bool) -> None:
        """A worker that was stopped hands in what it found for an attempt that is over."""
        if attempt != self.state.attempt:
            kind = ReportStaging if staging else ReportGates
            assert decide(self.state, kind(attempt=attempt, passed=passed)) == []

    @rule(step=st.integers(0, 4))
    def stale_verdict(self, step: int) -> None:
        """A verdict on a step that is over, or a move of its share."""
        if step != self.state.step:
            assert decide(self.state, Advance(step=step)) == []
            assert decide(self.state, Reallocate(step=step, weight_percent=60)) == []

    @rule(weight=st.sampled_from([-1, 0, 100, 101]))
    def move_to_no_share(self, weight: int) -> None:
        assert decide(self.state, Reallocate(step=self.state.step or 0, weight_percent=weight)) == []

    def carry_out(self, given: Command | None) -> None:
        if given is None:
            return
        try:
            happened = decide(self.state, given)
        except Conflict:
            return
        for event in happened:
            opened_before = self.state.approval_open
            self.state = evolve(self.state, event)
            self.asked += self.state.approval_open and not opened_before
        self.answered += bool(happened) and isinstance(given, AnswerApproval)
        self.happened.extend(happened)

    @invariant()
    def the_events_tell_the_state(self) -> None:
        assert replay(self.happened) == self.state

    @invariant()
    def nothing_has_an_effect_twice(self) -> None:
        steps = [event.step for event in self.happened if isinstance(event, StepStarted | Reallocated)]
        assert steps == list(range(len(steps)))
        assert sum(isinstance(event, Promoted) for event in self.happened) <= 1
        ends = [event for event in self.happened if type(event).__name__ in ENDS]
        assert len(ends) == int(self.state.final)
        assert self.answered <= self.asked

    @invariant()
    def what_is_over_stays_over(self) -> None:
        if self.state.final:
            for name in NAMES:
                assert check(self.state, name) == self.state


ENDS = {"Completed", "Blocked", "Refused", "Aborted", "RolledBack"}

TestSequences = Sequences.TestCase
TestSequences.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
