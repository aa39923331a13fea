"""The release as a pure state machine: `decide` says what happens, `evolve` what follows from it.

Nothing here reads a clock or a table. A release that waits is a row in some phase; whatever comes late (the
result of an attempt that was given up, a verdict on a step that is over, a command sent twice) changes nothing.

    gating ─ staging ─ awaiting_approval ─ ready ─ rolling_out ─ cooling ─ completed
       └────────┴─ blocked     └─ refused              └───────────┴─ rolled_back
       └────────┴──────────┴──────────┴─ aborted ──────┘

A phase that the plan does not need is passed over. `ready` lasts only while the release is paused. An approval that
is lost while the version has traffic pauses the rollout until it is given again.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from headrace.errors import Conflict


class Phase(StrEnum):
    """Where a release stands."""

    GATING = "gating"
    STAGING = "staging"
    AWAITING_APPROVAL = "awaiting_approval"
    READY = "ready"
    ROLLING_OUT = "rolling_out"
    COOLING = "cooling"
    COMPLETED = "completed"
    BLOCKED = "blocked"
    REFUSED = "refused"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"


SHADOW = 0
"""The weight of a step in which the version answers copies of the requests, and nobody."""

FINAL = frozenset({Phase.COMPLETED, Phase.BLOCKED, Phase.REFUSED, Phase.ABORTED, Phase.ROLLED_BACK})
BEFORE_TRAFFIC = frozenset({Phase.GATING, Phase.STAGING, Phase.AWAITING_APPROVAL, Phase.READY})
WITH_TRAFFIC = frozenset({Phase.ROLLING_OUT, Phase.COOLING})


class ReleasePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a release must go through; fixed when it is opened."""

    gates: bool
    staging: bool
    approval: bool
    steps: tuple[int, ...]
    """Percent of the traffic at each step; the last is 100, and `SHADOW` is a step on copies of the requests.

    A bandit adds steps as it goes; nothing else changes a plan."""


class ReleaseState(msgspec.Struct, frozen=True, kw_only=True):
    """All that decisions depend on."""

    plan: ReleasePlan
    phase: Phase
    paused: bool = False
    attempt: int = 1
    """Counts the effects asked for; a result that names another attempt is stale."""
    approval_open: bool = False
    """Whether a request for approval is waited for: before the traffic, or again when it was lost in between."""
    step: int | None = None
    """Index into the plan's steps; one past the last while cooling."""
    asked: bool = False
    """Whether a person was asked what shall become of the present step, since the evidence does not tell."""
    waited: bool = False
    """Whether the present step was made to wait for a person."""
    reason: str = ""
    """Why it is where it is, for people."""

    @property
    def final(self) -> bool:
        """Whether nothing can happen any more."""
        return self.phase in FINAL

    @property
    def promoted(self) -> bool:
        """Whether the release has moved its version into production, be it for a time."""
        return self.step is not None and self.step >= len(self.plan.steps)

    @property
    def weight_percent(self) -> int:
        """Percent of the traffic that the version is meant to get."""
        if self.phase is Phase.ROLLING_OUT and self.step is not None:
            return self.plan.steps[self.step]
        return 100 if self.phase in {Phase.COOLING, Phase.COMPLETED} else 0


# -- commands -----------------------------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="command"):
    """What somebody or something wants to happen."""


class Open(Command, frozen=True, tag="open"):
    """Begin the release."""

    plan: ReleasePlan


class ReportGates(Command, frozen=True, tag="report_gates"):
    """The gates have been computed, or could not be."""

    attempt: int
    passed: bool
    reason: str = ""


class ReportStaging(Command, frozen=True, tag="report_staging"):
    """The staging check is over."""

    attempt: int
    passed: bool
    reason: str = ""


class AnswerApproval(Command, frozen=True, tag="answer_approval"):
    """Somebody decided."""

    granted: bool
    reason: str = ""


class ExpireApproval(Command, frozen=True, tag="expire_approval"):
    """Nobody decided in time."""


class Advance(Command, frozen=True, tag="advance"):
    """The evidence on this step suffices to go on."""

    step: int
    reason: str = ""


class Ask(Command, frozen=True, tag="ask"):
    """The evidence on this step has not sufficed for long: a person shall decide, or wait."""

    step: int
    reason: str = ""
    wait: bool = False
    """Whether nothing goes on until somebody resumes the release."""


class Reallocate(Command, frozen=True, tag="reallocate"):
    """A bandit gives the version another share than the present step's: a step of its own."""

    step: int
    weight_percent: int
    reason: str = ""


class Retreat(Command, frozen=True, tag="retreat"):
    """The evidence says that the version does harm."""

    reason: str = ""


class EndCooling(Command, frozen=True, tag="end_cooling"):
    """The cooling time is over."""


class Pause(Command, frozen=True, tag="pause"):
    """Change no traffic until resumed; going back is still possible."""

    reason: str = ""


class Resume(Command, frozen=True, tag="resume"):
    """Go on after a pause."""


class Abort(Command, frozen=True, tag="abort"):
    """Give the release up before the version is in production."""

    reason: str = ""


class Promote(Command, frozen=True, tag="promote"):
    """Into production now, without waiting for more evidence; only once it has traffic."""

    reason: str = ""


class RollBack(Command, frozen=True, tag="roll_back"):
    """All traffic back to the version before."""

    reason: str = ""


# -- events -------------------------------------------------------------------------------------------------


class Happening(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """What has happened to a release."""

    reason: str = ""


class Opened(Happening, frozen=True, tag="release_opened"):
    """The release began."""

    plan: ReleasePlan


class GatesPassed(Happening, frozen=True, tag="release_gates_passed"):
    """Every gate passed."""


class StagingPassed(Happening, frozen=True, tag="release_staging_passed"):
    """The staging check passed."""


class Approved(Happening, frozen=True, tag="release_approved"):
    """The approval was granted."""


class ApprovalLapsed(Happening, frozen=True, tag="release_approval_lapsed"):
    """Nobody decided in time; the release waits until somebody resumes it."""


class ApprovalLost(Happening, frozen=True, tag="release_approval_lost"):
    """What was approved is no longer; the release stands still until it is approved again."""


class StepStarted(Happening, frozen=True, tag="release_step_started"):
    """A share of the traffic goes to the version."""

    step: int


class Reallocated(Happening, frozen=True, tag="release_reallocated"):
    """The version's share was moved by what its answers brought: a step of its own, so that it has one share."""

    step: int
    weight_percent: int


class Asked(Happening, frozen=True, tag="release_asked"):
    """A person was asked what shall become of a step; it goes on unless it waits."""

    wait: bool = False


class Promoted(Happening, frozen=True, tag="release_promoted"):
    """The version is in production; the one before stays loaded while it cools."""

    step: int
    """The step that requests count for while cooling."""


class Completed(Happening, frozen=True, tag="release_completed"):
    """The release is over and the version stays."""


class Blocked(Happening, frozen=True, tag="release_blocked"):
    """A gate or the staging check did not pass."""


class Refused(Happening, frozen=True, tag="release_refused"):
    """The approval was refused."""


class Aborted(Happening, frozen=True, tag="release_aborted"):
    """Somebody gave the release up."""


class RolledBack(Happening, frozen=True, tag="release_rolled_back"):
    """The traffic went back to the version before."""


class Paused(Happening, frozen=True, tag="release_paused"):
    """Traffic stays as it is."""


class Resumed(Happening, frozen=True, tag="release_resumed"):
    """Going on."""


Happened = (
    Opened
    | GatesPassed
    | StagingPassed
    | Approved
    | ApprovalLapsed
    | ApprovalLost
    | StepStarted
    | Reallocated
    | Asked
    | Promoted
    | Completed
    | Blocked
    | Refused
    | Aborted
    | RolledBack
    | Paused
    | Resumed
)
"""Everything that can happen, for reading it back."""

Events = Sequence[Happening]

_ENDS: dict[type[Happening], Phase] = {
    Completed: Phase.COMPLETED,
    Blocked: Phase.BLOCKED,
    Refused: Phase.REFUSED,
    Aborted: Phase.ABORTED,
    RolledBack: Phase.ROLLED_BACK,
}


def evolve(state: ReleaseState | None, event: Happening) -> ReleaseState:
    """The state after an event; the first event is `Opened`."""
    if isinstance(event, Opened):
        opened = ReleaseState(plan=event.plan, phase=Phase.READY, attempt=0, reason=event.reason)
        return _enter(opened, _next_phase(event.plan, None))
    if state is None:
        raise Conflict("a release begins by being opened", where="release")
    state = msgspec.structs.replace(state, reason=event.reason)
    match event:
        case GatesPassed():
            return _enter(state, _next_phase(state.plan, Phase.GATING))
        case StagingPassed():
            return _enter(state, _next_phase(state.plan, Phase.STAGING))
        case Approved():
            return _enter(state, Phase.READY)
        case ApprovalLapsed():
            return msgspec.structs.replace(state, approval_open=False, paused=True)
        case ApprovalLost():
            return msgspec.structs.replace(state, approval_open=True, paused=True)
        case StepStarted() | Reallocated():
            return _on_step(state, event)
        case Promoted(step=step):
            return msgspec.structs.replace(
                state, phase=Phase.COOLING, step=step, paused=False, approval_open=False, asked=False, waited=False
            )
        case Paused() | Asked():
            asked = state.asked or isinstance(event, Asked)
            waits = isinstance(event, Paused) or event.wait
            waited = state.waited or (isinstance(event, Asked) and event.wait)
            return msgspec.structs.replace(state, paused=state.paused or waits, asked=asked, waited=waited)
        case Resumed():
            waiting = state.phase is Phase.AWAITING_APPROVAL
            attempt = state.attempt + (waiting and not state.approval_open)
            return msgspec.structs.replace(state, paused=False, approval_open=waiting, attempt=attempt)
        case _:
            return msgspec.structs.replace(
                state, phase=_ENDS[type(event)], paused=False, approval_open=False, asked=False, waited=False
            )


def _on_step(state: ReleaseState, event: StepStarted | Reallocated) -> ReleaseState:
    step = event.step
    if isinstance(event, StepStarted):
        return msgspec.structs.replace(state, phase=Phase.ROLLING_OUT, step=step, asked=False, waited=False)
    steps = (*state.plan.steps[:step], event.weight_percent, *state.plan.steps[step:])
    return msgspec.structs.replace(state, plan=msgspec.structs.replace(state.plan, steps=steps), step=step)


def replay(events: Events) -> ReleaseState | None:
    """The state after all events of a release, oldest first."""
    state: ReleaseState | None = None
    for event in events:
        state = evolve(state, event)
    return state


def decide(state: ReleaseState | None, command: Command) -> list[Happening]:
    """What happens on a command; an empty list when it changes nothing.

    Results and timers that come late or twice change nothing. A command of a person that cannot be carried
    out is refused; one whose wish is fulfilled already changes nothing.

    Raises:
        Conflict: the release is in a phase in which the command makes no sense.
    """
    if isinstance(command, Open):
        return _follow(None, [Opened(plan=command.plan)]) if state is None else []
    if state is None:
        raise Conflict("a release begins by being opened", where="release")
    match command:
        case ReportGates() | ReportStaging():
            return _follow(state, _report(state, command))
        case AnswerApproval() | ExpireApproval():
            return _follow(state, _answer(state, command))
        case Advance() | Ask() | Reallocate() | Retreat() | EndCooling():
            return _judged(state, command)
        case Pause() | Resume():
            return _follow(state, _hold(state, command))
        case Promote():
            return _promote(state, command)
        case Abort() | RollBack():
            return _give_up(state, command)
        case _:
            raise Conflict("this is no command to a release", where="command")


def _report(state: ReleaseState, command: ReportGates | ReportStaging) -> list[Happening]:
    expected = Phase.GATING if isinstance(command, ReportGates) else Phase.STAGING
    if state.phase is not expected or command.attempt != state.attempt:
        return []
    if not command.passed:
        return [Blocked(reason=command.reason)]
    if isinstance(command, ReportGates):
        return [GatesPassed(reason=command.reason)]
    return [StagingPassed(reason=command.reason)]


def _answer(state: ReleaseState, command: AnswerApproval | ExpireApproval) -> list[Happening]:
    if not state.approval_open:
        return []
    if isinstance(command, ExpireApproval):
        return [ApprovalLapsed(reason="nobody decided in time; resume the release to ask again")]
    if state.phase is not Phase.AWAITING_APPROVAL:  # it was lost while the version had traffic
        return [Resumed(reason=command.reason) if command.granted else RolledBack(reason=command.reason)]
    return [Approved(reason=command.reason) if command.granted else Refused(reason=command.reason)]


def _judged(state: ReleaseState, command: Advance | Ask | Reallocate | Retreat | EndCooling) -> list[Happening]:
    if isinstance(command, Retreat):
        return [RolledBack(reason=command.reason)] if state.phase in WITH_TRAFFIC else []
    if state.paused:
        return []
    if isinstance(command, EndCooling):
        return [Completed(reason="it stayed healthy while cooling")] if state.phase is Phase.COOLING else []
    if state.phase is not Phase.ROLLING_OUT or command.step != state.step:
        return []
    if isinstance(command, Ask):
        known = state.waited if command.wait else state.asked
        return [] if known else [Asked(reason=command.reason, wait=command.wait)]
    after = command.step + 1
    if isinstance(command, Reallocate):
        shared = SHADOW < state.weight_percent < 100 and SHADOW < command.weight_percent < 100
        if not shared or command.weight_percent == state.weight_percent:
            return []
        return [Reallocated(step=after, weight_percent=command.weight_percent, reason=command.reason)]
    if after < len(state.plan.steps):
        return [StepStarted(step=after, reason=command.reason)]
    return [Promoted(step=after, reason=command.reason)]


def _hold(state: ReleaseState, command: Pause | Resume) -> list[Happening]:
    if isinstance(command, Resume):
        return [Resumed()] if state.paused else []
    if state.final:
        raise _too_late(state, "paused")
    return [] if state.paused else [Paused(reason=command.reason)]


def _promote(state: ReleaseState, command: Promote) -> list[Happening]:
    if state.phase in {Phase.COOLING, Phase.COMPLETED}:
        return []
    if state.phase is not Phase.ROLLING_OUT:
        raise Conflict(
            f"the release is {state.phase.value}; gates, staging and approval cannot be skipped",
            where="command",
            fix="Promote once the rollout has begun.",
        )
    return [Promoted(step=len(state.plan.steps), reason=command.reason)]


def _give_up(state: ReleaseState, command: Abort | RollBack) -> list[Happening]:
    wanted = Phase.ABORTED if isinstance(command, Abort) else Phase.ROLLED_BACK
    if state.phase is wanted:
        return []
    if state.final:
        raise _too_late(state, wanted.value.replace("_", " "))
    if isinstance(command, Abort):
        if state.phase is Phase.COOLING:
            raise Conflict(
                "the version is in production already", where="command", fix="Roll the release back instead."
            )
        return [Aborted(reason=command.reason)]
    if state.phase in BEFORE_TRAFFIC:
        raise Conflict("the version has no traffic yet", where="command", fix="Abort the release instead.")
    return [RolledBack(reason=command.reason)]


def _follow(state: ReleaseState | None, events: list[Happening]) -> list[Happening]:
    """Add what follows by itself: a release that is ready and not paused begins its rollout."""
    for event in events:
        state = evolve(state, event)
    if events and state is not None and state.phase is Phase.READY and not state.paused:
        return [*events, StepStarted(step=0)]
    return events


def _next_phase(plan: ReleasePlan, after: Phase | None) -> Phase:
    order = [
        (Phase.GATING, plan.gates),
        (Phase.STAGING, plan.staging),
        (Phase.AWAITING_APPROVAL, plan.approval),
        (Phase.READY, True),
    ]
    start = 0 if after is None else [phase for phase, _ in order].index(after) + 1
    return next(phase for phase, needed in order[start:] if needed)


def _enter(state: ReleaseState, phase: Phase) -> ReleaseState:
    return msgspec.structs.replace(
        state,
        phase=phase,
        attempt=state.attempt + 1,
        approval_open=phase is Phase.AWAITING_APPROVAL,
    )


def _too_late(state: ReleaseState, what: str) -> Conflict:
    return Conflict(f"the release is over ({state.phase.value}) and cannot be {what}", where="command")
