from collections.abc import Callable

import msgspec
import pytest
from tests.delivery.conftest import add_version, declaration, declare

from headrace.delivery import machine, releases, rollback
from headrace.delivery.kinds import GATES, STAGING
from headrace.delivery.machine import (
    AnswerApproval,
    Happening,
    Phase,
    ReportGates,
    ReportStaging,
    replay,
)
from headrace.delivery.nouns import OpenRelease, Release, ReleaseAction, ReleaseCommand, RollbackRequest
from headrace.errors import Conflict, LeaseLost, NotFound
from headrace.kernel import events, jobs
from headrace.kernel.access import Role, create_principal
from headrace.kernel.events import Event
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.fallback import Fallback
from headrace.registry import approvals, models, stages, versions
from headrace.registry.approval import Decision
from headrace.registry.nouns import ApprovalStatus, Stage
from headrace.serving import routing

OpenTo = Callable[[int], Release]
HAPPENINGS = machine.Opened | machine.GatesPassed | machine.StagingPassed | machine.Approved | machine.StepStarted


def open_release(database: SqliteDatabase, number: int = 1, actor: str = "cy") -> Release:
    return database.write(
        lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=number)), actor=actor
    )


def kinds_of(database: SqliteDatabase, release: Release) -> list[str]:
    found = database.read(lambda tx: events.of_subject(tx, f"release/{release.id}"))
    return [event.type for event in found]


def test_opening_asks_for_the_gates(churn: SqliteDatabase) -> None:
    release = open_release(churn)
    assert (release.phase, release.champion, release.state.plan.steps) == (Phase.GATING, None, (100,))
    job = churn.write(lambda tx: jobs.claim(tx, "w", [GATES.name]), actor="system")
    assert job is not None
    assert job.key == f"delivery.gates/{release.id}/1"
    assert kinds_of(churn, release) == ["delivery.release_opened"]


def test_one_release_of_a_model_at_a_time(churn: SqliteDatabase) -> None:
    release = open_release(churn)
    assert open_release(churn) == release
    with pytest.raises(Conflict, match="on its way"):
        open_release(churn, 2)
    with pytest.raises(NotFound):
        open_release(churn, 9)


def test_each_phase_leaves_its_effects(churn: SqliteDatabase) -> None:
    release = open_release(churn)
    churn.write(lambda tx: releases.execute(tx, release.id, ReportGates(attempt=1, passed=True)), actor="cy")
    assert churn.read(lambda tx: versions.get(tx, "churn", 1)).stage is Stage.STAGING
    route = churn.read(lambda tx: routing.get(tx, "churn"))
    assert (route.champion, route.challenger, [v.number for v in route.versions]) == (None, None, [1])
    assert churn.write(lambda tx: jobs.claim(tx, "w", [STAGING.name]), actor="system") is not None

    churn.write(lambda tx: releases.execute(tx, release.id, ReportStaging(attempt=2, passed=True)), actor="cy")
    (request,) = churn.read(lambda tx: approvals.search(tx, status=ApprovalStatus.REQUESTED))
    assert (request.release_id, request.requested_by) == (release.id, "cy")
    assert set(request.excluded) == {"ana", "cy"}

    bo = churn.write(lambda tx: create_principal(tx, "bo", [Role.APPROVER]), actor="local")
    churn.write(lambda tx: approvals.decide(tx, request.id, Decision(grant=True, reason="good"), bo), actor="bo")
    decided = churn.read(lambda tx: events.of_subject(tx, f"approval/{request.id}"))[-1]
    churn.write(lambda tx: releases.on_approval_decided(tx, decided), actor="bo")
    churn.write(lambda tx: releases.on_approval_decided(tx, decided), actor="bo")
    route = churn.read(lambda tx: routing.get(tx, "churn"))
    assert (route.champion, route.challenger, route.weight_percent, route.step) == (None, 1, 100.0, 0)
    assert kinds_of(churn, release) == [
        "delivery.release_opened",
        "delivery.release_gates_passed",
        "delivery.release_staging_passed",
        "delivery.release_approved",
        "delivery.release_step_started",
    ]


def test_the_events_tell_the_state(churn: SqliteDatabase, release_to_traffic: OpenTo) -> None:
    release = release_to_traffic(1)

    def happening(event: Event) -> Happening:
        found: Happening = msgspec.convert(event.payload["happening"], type=HAPPENINGS)
        return found

    found = churn.read(lambda tx: events.of_subject(tx, f"release/{release.id}"))
    assert replay([happening(event) for event in found]) == release.state


def test_blocked_gates_archive_the_version_and_serve_nothing(churn: SqliteDatabase) -> None:
    release = open_release(churn)
    blocked = churn.write(
        lambda tx: releases.execute(tx, release.id, ReportGates(attempt=1, passed=False, reason="WORSE")),
        actor="cy",
    )
    assert (blocked.phase, blocked.reason, blocked.ended_at is not None) == (Phase.BLOCKED, "WORSE", True)
    assert churn.read(lambda tx: versions.get(tx, "churn", 1)).stage is Stage.ARCHIVED
    with pytest.raises(NotFound):
        churn.read(lambda tx: routing.get(tx, "churn"))
    assert open_release(churn, 2).phase is Phase.GATING


def test_a_refusal_ends_the_release(churn: SqliteDatabase) -> None:
    release = open_release(churn)
    churn.write(lambda tx: releases.execute(tx, release.id, ReportGates(attempt=1, passed=True)), actor="cy")
    churn.write(lambda tx: releases.execute(tx, release.id, ReportStaging(attempt=2, passed=True)), actor="cy")
    refused = churn.write(
        lambda tx: releases.execute(tx, release.id, AnswerApproval(granted=False, reason="not now")), actor="bo"
    )
    assert (refused.phase, refused.reason) == (Phase.REFUSED, "not now")


def test_aborting_withdraws_the_request_and_frees_the_model(churn: SqliteDatabase) -> None:
    release = open_release(churn)
    churn.write(lambda tx: releases.execute(tx, release.id, ReportGates(attempt=1, passed=True)), actor="cy")
    churn.write(lambda tx: releases.execute(tx, release.id, ReportStaging(attempt=2, passed=True)), actor="cy")
    abort = ReleaseCommand(command=ReleaseAction.ABORT, reason="wrong data")
    aborted = churn.write(lambda tx: releases.command(tx, release.id, abort), actor="di")
    assert aborted.phase is Phase.ABORTED
    assert churn.write(lambda tx: releases.command(tx, release.id, abort), actor="di") == aborted
    assert churn.read(lambda tx: approvals.search(tx, status=ApprovalStatus.REQUESTED)) == ()
    assert churn.read(lambda tx: versions.get(tx, "churn", 1)).stage is Stage.NONE


def test_aborting_ends_the_work_that_nobody_needs_any_more(churn: SqliteDatabase) -> None:
    """A staging check would wait minutes for gateways to load what no route names, and hold up its worker."""
    release = open_release(churn)
    abort = ReleaseCommand(command=ReleaseAction.ABORT)
    churn.write(lambda tx: releases.command(tx, release.id, abort), actor="di")
    assert churn.write(lambda tx: jobs.claim(tx, "w", [GATES.name]), actor="system") is None

    second = open_release(churn)
    churn.write(lambda tx: releases.execute(tx, second.id, ReportGates(attempt=1, passed=True)), actor="cy")
    job = churn.write(lambda tx: jobs.claim(tx, "w", [STAGING.name]), actor="system")
    assert job is not None
    churn.write(lambda tx: releases.command(tx, second.id, abort), actor="di")
    with pytest.raises(LeaseLost):
        churn.write(lambda tx: jobs.heartbeat(tx, job.id, job.lease or ""), actor="system")
    assert churn.read(lambda tx: jobs.get(tx, job.id)).state == jobs.CANCELLED


def test_a_policy_changed_meanwhile_does_not_change_an_open_release(churn: SqliteDatabase) -> None:
    release = open_release(churn)
    declare(churn, declaration(approval=None, gates=[]))
    assert churn.read(lambda tx: releases.get(tx, release.id)).policy.approval is not None


def test_rolling_back_a_challenger_returns_to_the_champion(
    churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    release = release_to_traffic(2)
    assert (release.champion, release.state.weight_percent) == (1, 5)
    back = ReleaseCommand(command=ReleaseAction.ROLL_BACK)
    churn.write(lambda tx: releases.command(tx, release.id, back), actor="op")
    route = churn.read(lambda tx: routing.get(tx, "churn"))
    assert (route.champion, route.challenger, route.weight_percent) == (1, None, 0.0)
    production = churn.read(lambda tx: stages.production(tx, "churn"))
    assert production is not None
    assert production.number == 1


def test_promoting_now_ends_in_production(
    churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    release = release_to_traffic(2)
    promote = ReleaseCommand(command=ReleaseAction.PROMOTE, reason="urgent")
    promoted = churn.write(lambda tx: releases.command(tx, release.id, promote), actor="op")
    assert promoted.phase is Phase.COOLING
    route = churn.read(lambda tx: routing.get(tx, "churn"))
    assert (route.champion, route.challenger, {v.number for v in route.versions}) == (2, None, {1, 2})
    assert churn.read(lambda tx: versions.get(tx, "churn", 1)).stage is Stage.ARCHIVED


def test_a_version_in_production_cannot_be_released_again(churn: SqliteDatabase, complete: OpenTo) -> None:
    complete(1)
    with pytest.raises(Conflict, match="in production already"):
        open_release(churn, 1)


def test_a_model_without_a_project_has_the_open_policy(database: SqliteDatabase) -> None:
    database.write(lambda tx: models.create(tx, "churn"), actor="ana")
    add_version(database, "r1")
    release = open_release(database)
    assert (release.phase, release.state.plan.gates, release.state.plan.approval) == (
        Phase.ROLLING_OUT,
        False,
        False,
    )


@pytest.mark.parametrize("keep", [True, False])
def test_who_takes_over_and_the_declared_answer_are_in_every_route(
    churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo, keep: bool
) -> None:
    declare(churn, declaration(fallback=Fallback(default=0.02, keep_previous=keep)))
    add_version(churn, "r3")

    def taking_over() -> tuple[int | None, int | None, int | None, float | None]:
        found = churn.read(lambda tx: routing.get(tx, "churn"))
        assert found.previous is None or found.version(found.previous) is not None  # it is kept loaded
        return found.champion, found.challenger, found.previous, found.default

    promote = ReleaseCommand(command=ReleaseAction.PROMOTE)
    back = ReleaseCommand(command=ReleaseAction.ROLL_BACK)
    complete(1)
    assert taking_over() == (1, None, None, 0.02)
    release = release_to_traffic(2)
    assert taking_over() == (1, 2, None, 0.02)
    churn.write(lambda tx: releases.command(tx, release.id, promote), actor="op")
    assert taking_over() == (2, None, 1, 0.02)  # while the release cools
    churn.write(lambda tx: releases.execute(tx, release.id, machine.EndCooling()), actor="system")
    kept = 1 if keep else None
    assert taking_over() == (2, None, kept, 0.02)
    release = release_to_traffic(3)
    assert taking_over() == (2, 3, kept, 0.02)
    churn.write(lambda tx: releases.command(tx, release.id, back), actor="op")
    assert taking_over() == (2, None, kept, 0.02)
    churn.write(lambda tx: rollback.roll_back(tx, "churn", RollbackRequest(expected=2)), actor="op")
    assert taking_over() == (1, None, None, 0.02)  # not the one that was left
