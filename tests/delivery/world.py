"""A model with everybody who can do something to its releases, and what must hold whatever they do.

What happens is done by the verbs, jobs and subscribers that the processes use. What must hold is told from outside:
from the events, the route, the stages, the jobs and the pins.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import msgspec
from tests.delivery.conftest import declaration, manifest

from headrace.delivery import apply, canary, deadlines, history, releases, rollback, settling, tables
from headrace.delivery.kinds import GATES, STAGING
from headrace.delivery.machine import BEFORE_TRAFFIC, Phase, Reallocate
from headrace.delivery.nouns import (
    GatesResult,
    OpenRelease,
    Release,
    ReleaseAction,
    ReleaseCommand,
    Rollback,
    RollbackRequest,
    StagingResult,
)
from headrace.errors import Conflict, HeadraceError, LeaseLost, NotFound, PermissionRefused
from headrace.kernel import access, events, jobs, pins, subscriptions
from headrace.kernel.access import Principal, Role
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database, Tx
from headrace.kernel.jobs import Job
from headrace.project.rollout import Canary
from headrace.registry import approvals, models, register, stages
from headrace.registry import tables as registry_tables
from headrace.registry.approval import Decision
from headrace.registry.nouns import ApprovalStatus, Evidence, ModelFile, RegisterVersion, Stage, Verdict
from headrace.serving import reports, routing
from headrace.serving.nouns import GatewayReport, VersionCounts

T = TypeVar("T")

MODEL = "churn"
VERSIONS = 4
HANDLINGS = {handling.kind.name: handling for handling in settling.HANDLINGS}
SUBSCRIBERS = (*approvals.SUBSCRIBERS, *settling.SUBSCRIBERS)
KINDS = (GATES.name, STAGING.name)
BO = Principal(id="bo", name="bo", roles=(Role.APPROVER,))
REFUSALS = (Conflict, NotFound, PermissionRefused, LeaseLost)
"""What whoever comes too late, or asks for what makes no sense, is told."""

LEASE = timedelta(seconds=GATES.lease_s + 1)
COOLING = timedelta(hours=1)
DECLARED_STEPS = {True: 1, False: 3}
"""Of a first version, and of one that has a champion."""


class World:
    """One model in a workspace of its own, with four versions and no release.

    Args:
        database: of the control process that everything goes through.
        clock: its wall time.
        workspace: whose name no other world has.
    """

    def __init__(self, database: Database, clock: ManualClock, workspace: str) -> None:
        self.database = database
        self.clock = clock
        self.workspace = workspace
        self.booted_at = clock.now()
        self.held: list[Job] = []
        """Jobs of workers that were stopped."""
        self.over: set[str] = set()
        """Releases that were seen to be over; they are looked at once more at the end."""

    def through(self, database: Database) -> "World":
        """The same world through another control process."""
        other = World(database, self.clock, self.workspace)
        other.booted_at = self.booted_at
        return other

    def write(self, work: Callable[[Tx], T], actor: str = "cy") -> T:
        return self.database.write(work, actor=actor, workspace=self.workspace)

    def read(self, work: Callable[[Tx], T]) -> T:
        return self.database.read(work, workspace=self.workspace)

    def begin(self) -> "World":
        """Declare the model and register its versions."""
        declared = declaration(rollout=Canary([5, 50, 100], minimum_time="10s", cooling="1h"))
        self.write(lambda tx: subscriptions.enroll(tx, SUBSCRIBERS), actor="system")
        self.write(lambda tx: access.create_principal(tx, BO.id, BO.roles), actor="root")
        self.write(lambda tx: apply.apply(tx, manifest(declared), ()), actor="ana")
        for number in range(1, VERSIONS + 1):
            asked = RegisterVersion(
                model=MODEL,
                run_id=f"run-{number}",
                files=(ModelFile(path="MLmodel", digest=f"sha256:{number:064d}", size_bytes=1),),
            )
            self.write(partial(register.register_version, request=asked), actor="ana")
        return self

    # -- what people do -------------------------------------------------------------------------------------

    def open(self, number: int) -> None:
        self.write(lambda tx: releases.open_release(tx, OpenRelease(model=MODEL, number=number)))

    def command(self, action: ReleaseAction, release: Release | None = None) -> None:
        release = release or self.last()
        if release is not None:
            asked = ReleaseCommand(command=action, reason="because")
            self.write(lambda tx: releases.command(tx, release.id, asked), actor="op")

    def answer(self, *, grant: bool) -> None:
        decision = Decision(grant=grant, reason="read")
        for request in self.read(lambda tx: approvals.search(tx, status=ApprovalStatus.REQUESTED)):
            self.write(partial(_decide, approval_id=request.id, decision=decision), actor="bo")

    def answer_last(self) -> None:
        """Grant the last request, be it open or granted already."""
        request = self.read(approvals.search)[0]
        decision = Decision(grant=True, reason="read")
        self.write(partial(_decide, approval_id=request.id, decision=decision), actor="bo")

    def roll_back(self, **asked: Any) -> Rollback:
        return self.write(lambda tx: rollback.roll_back(tx, MODEL, RollbackRequest(**asked)), actor="op")

    def roll_back_as_seen(self) -> Rollback:
        """As the command line does: look first, and send what was seen."""
        seen = self.read(lambda tx: rollback.look(tx, MODEL))
        return self.roll_back(expected=seen.left, to=seen.now)

    def take_the_role(self) -> None:
        """Whoever approves may approve no more: neither from now on, nor what was not used yet."""
        self.write(lambda tx: access.revoke_role(tx, BO.id, Role.APPROVER), actor="root")

    def give_the_role(self) -> None:
        self.write(lambda tx: access.grant_role(tx, BO.id, Role.APPROVER), actor="root")

    # -- what processes do ----------------------------------------------------------------------------------

    def claim(self, worker: str = "worker-1") -> Job | None:
        return self.write(lambda tx: jobs.claim(tx, worker, KINDS), actor="system")

    def settle(self, job: Job, *, passed: bool) -> None:
        result = result_of(job, passed=passed)
        handling = HANDLINGS[job.kind]
        self.write(lambda tx: jobs.settle(tx, handling, job.id, job.lease or "", result), actor="system")

    def do_a_job(self, *, passed: bool) -> None:
        job = self.claim()
        if job is not None:
            self.settle(job, passed=passed)

    def stop_a_worker(self) -> None:
        """A worker takes a job, and is stopped."""
        job = self.claim("worker-2")
        if job is not None:
            self.held.append(job)

    def go_on_after_a_stop(self, *, passed: bool) -> None:
        """A worker that was stopped goes on, and hands in what it found."""
        if self.held:
            self.settle(self.held.pop(0), passed=passed)

    def fail_what_lapsed(self) -> None:
        self.write(lambda tx: jobs.expire(tx, HANDLINGS), actor="system")

    def hear(self) -> None:
        """Subscribers hear of what was decided."""
        for hear in self.hearers():
            hear()

    def hearers(self) -> Iterator[Callable[[], object]]:
        """Each subscriber that has something to hear, as it hears it: in a transaction of its own."""
        for subscriber in SUBSCRIBERS:
            if self.read(partial(subscriptions.behind, subscriber=subscriber)):
                yield partial(self.write, partial(subscriptions.advance, subscriber=subscriber), actor="system")

    def look(self) -> None:
        """Control looks at the canary, and at the deadlines of approvals."""
        if self.read(canary.is_needed):
            self.write(canary.evaluate_open, actor="system")
        if self.read(deadlines.are_due):
            self.write(deadlines.lapse, actor="system")

    def reallocate(self, weight_percent: int, step: int | None = None) -> None:
        """A bandit moves the share of the present step, or of one that may be over."""
        release = self.last()
        if release is None:
            return
        at = (release.state.step or 0) if step is None else step
        asked = Reallocate(step=at, weight_percent=weight_percent, reason="it is the better one")
        self.write(lambda tx: releases.execute(tx, release.id, asked), actor="system")

    def needs_a_look(self) -> bool:
        return self.read(canary.is_needed)

    def evaluate(self) -> None:
        """One look of control at the canary."""
        if self.needs_a_look():
            self.write(canary.evaluate_open, actor="system")

    def serve(self, units: int, failed: int = 0) -> None:
        """A gateway reports what it has counted since its start, for the step that the release is at."""
        release = self.last()
        if release is None or release.state.step is None:
            return
        counts = tuple(
            VersionCounts(
                model=MODEL,
                version=number,
                release_id=release.id,
                step=release.state.step,
                requests=units,
                faults=failures,
                units=units,
                failed_units=failures,
                latency_us_sum=units,
            )
            for number, failures in ((release.number, failed), (release.champion, 0))
            if number is not None
        )
        report = GatewayReport(
            gateway="gateway-1",
            boot=self.workspace,
            booted_at=self.booted_at,
            url="http://127.0.0.1:1",
            applied_sequence=1,
            counts=counts,
        )
        self.write(lambda tx: reports.record(tx, report), actor="system")

    def go_on(self) -> None:
        """Whatever comes next for the last release, if nothing speaks against it."""
        release = self.last()
        if release is None or release.state.final:
            return
        if release.state.approval_open:
            self.give_the_role()
            self.answer(grant=True)
            self.hear()
        elif release.state.paused:
            self.command(ReleaseAction.RESUME)
        elif release.phase in {Phase.GATING, Phase.STAGING}:
            self.do_a_job(passed=True)
        else:
            self.serve(100_000)
            self.clock.advance(COOLING)
            self.look()

    def deliver(self, number: int) -> None:
        """Lead a version all the way into production."""
        self.open(number)
        while (release := self.last()) is not None and not release.state.final:
            self.go_on()

    # -- what there is --------------------------------------------------------------------------------------

    def last(self) -> Release | None:
        found = self.read(lambda tx: releases.search(tx, model=MODEL, limit=1))
        return found[0] if found else None

    def every_release(self) -> tuple[Release, ...]:
        return self.read(lambda tx: releases.search(tx, model=MODEL, limit=10_000))

    def completed(self) -> tuple[int, ...]:
        """The versions on the way back, the latest first."""
        return tuple(one.number for one in self.read(lambda tx: tables.completed(tx, MODEL)) if not one.undone)

    # -- what must hold -------------------------------------------------------------------------------------

    def check(self) -> None:
        self.read(self._check)

    def check_all(self) -> None:
        """Also of what was over before: that nothing has happened to it since."""
        self.over.clear()
        self.check()

    def _check(self, tx: Tx) -> None:
        found = releases.search(tx, model=MODEL, limit=10_000)
        opened = [release for release in found if not release.state.final]
        assert len(opened) <= 1
        for release in found:
            if release.id not in self.over:
                _check_release(tx, release)
        self.over.update(release.id for release in found if release.state.final)
        served = None if (route := routing.find(tx, MODEL)) is None else route.champion
        production = stages.production(tx, MODEL)
        number = None if production is None else production.number
        assert len(registry_tables.versions_in_stage(tx, MODEL, Stage.PRODUCTION)) <= 1
        assert number == served
        if opened:
            _check_open(tx, opened[0], number)
        elif route is not None:
            assert (route.challenger, route.weight_percent, route.release_id) == (None, 0.0, None)


def _decide(tx: Tx, approval_id: str, decision: Decision) -> None:
    approvals.decide(tx, approval_id, decision, access.principal(tx, BO.id))


def _check_open(tx: Tx, release: Release, number: int | None) -> None:
    route = routing.find(tx, MODEL)
    if release.phase is Phase.COOLING:
        assert number == release.number
        assert route is not None
        assert route.challenger is None
        held = {version.number for version in route.versions}
        assert held >= {release.number} | ({release.champion} - {None})  # the way back is a change of the route
        return
    assert number == release.champion
    challenger, weight = (None, 0) if route is None else (route.challenger, route.weight_percent)
    if release.phase in BEFORE_TRAFFIC:
        assert (challenger, weight) == (None, 0)
    else:
        assert (challenger, weight) == (release.number, release.state.weight_percent)
        assert route is not None
        assert (route.release_id, route.step) == (release.id, release.state.step)


def _check_release(tx: Tx, release: Release) -> None:
    told = history.of_release(tx, release.id)
    assert told.agrees, release
    kinds = Counter(type(step.happened).__name__ for step in told.steps)
    assert max((count for kind, count in kinds.items() if kind not in MAY_REPEAT), default=0) <= 1, kinds
    assert kinds["StepStarted"] + kinds["Reallocated"] <= len(release.state.plan.steps)
    assert len(release.state.plan.steps) == DECLARED_STEPS[release.champion is None] + kinds["Reallocated"]
    phases = [None, *(step.state.phase for step in told.steps)]
    entered = Counter(after for before, after in pairwise(phases) if after is not before)
    for kind, phase in ((GATES, Phase.GATING), (STAGING, Phase.STAGING)):
        asked = [
            attempt for attempt in range(1, 5) if jobs.by_key(tx, f"{kind.name}/{release.id}/{attempt}") is not None
        ]
        assert len(asked) == entered[phase], (kind.name, asked)
    requests = approvals.search(tx, release_id=release.id, limit=10_000)
    status = Counter(request.status for request in requests)
    answers = [answer for request in requests for answer in request.decisions]
    assert kinds["Approved"] <= sum(answer.grant for answer in answers)
    assert kinds["Refused"] <= sum(not answer.grant for answer in answers)
    expected = asked_for(told.steps)
    enough = len(requests) == expected if not kinds["ApprovalLost"] else len(requests) <= expected
    assert enough  # one that was lost may be opened again
    assert status[ApprovalStatus.USED] == kinds["Promoted"]
    waiting = status[ApprovalStatus.REQUESTED] + status[ApprovalStatus.GRANTED]
    assert waiting <= (not release.state.final)
    assert not release.state.approval_open or waiting or status[ApprovalStatus.REFUSED]
    holder = f"release/{release.id}"
    pinned = [pin for pin in pins.pins_on(tx, f"version/{MODEL}/{release.number}") if pin.holder == holder]
    assert bool(pinned) != release.state.final
    moves = [
        change
        for change in stages.history(tx, MODEL)
        if change.after is Stage.PRODUCTION and change.reason == f"release {release.id} promoted it"
    ]
    assert len(moves) == kinds["Promoted"]


MAY_REPEAT = {"StepStarted", "Reallocated", "Asked", "Paused", "Resumed", "ApprovalLapsed", "ApprovalLost"}


def asked_for(steps: Any) -> int:
    """How often the steps of a release opened a request for approval."""
    states = [False, *(step.state.approval_open for step in steps)]
    return sum(after and not before for before, after in pairwise(states))


def result_of(job: Job, *, passed: bool) -> Any:
    """What a worker hands in for a job."""
    verdict = Verdict.PASS if passed else Verdict.WORSE
    number = msgspec.json.decode(job.payload)["candidate" if job.kind == GATES.name else "version"]["number"]
    found = Evidence(model=MODEL, number=number, kind="gate", name="auc", verdict=verdict, summary=str(verdict))
    if job.kind == STAGING.name:
        return msgspec.to_builtins(StagingResult(evidence=msgspec.structs.replace(found, kind="staging")))
    return msgspec.to_builtins(GatesResult(evidence=(found, found)))


def attempt(act: Callable[[], object]) -> HeadraceError | None:
    """Do something that may come too late; what it was refused with, if it was."""
    try:
        act()
    except REFUSALS as refusal:
        return refusal
    return None


def quietly(act: Callable[[], object]) -> None:
    """Do something that may come too late."""
    with suppress(*REFUSALS):
        act()


def chain_is_whole(database: Database) -> bool:
    """Whether every event follows from the one before."""
    found = database.read(lambda tx: events.after(tx, 0, limit=1_000_000))
    return [event.seq for event in found] == list(range(1, len(found) + 1))


__all__ = ["MODEL", "World", "attempt", "chain_is_whole", "models", "quietly"]
