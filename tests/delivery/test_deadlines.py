from datetime import timedelta

import pytest

from headrace.delivery import deadlines, releases
from headrace.delivery.machine import Phase, ReportGates, ReportStaging
from headrace.delivery.nouns import OpenRelease, Release, ReleaseAction, ReleaseCommand
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.registry import approvals
from headrace.registry.nouns import ApprovalStatus


@pytest.fixture
def waiting(churn: SqliteDatabase) -> Release:
    """A release that waits for its approval."""

    def work(tx: Tx) -> Release:
        release = releases.open_release(tx, OpenRelease(model="churn", number=1))
        releases.execute(tx, release.id, ReportGates(attempt=1, passed=True))
        return releases.execute(tx, release.id, ReportStaging(attempt=2, passed=True))

    return churn.write(work, actor="cy")


def look(database: SqliteDatabase, release: Release) -> Release:
    if database.read(deadlines.are_due):
        database.write(deadlines.lapse, actor="system")
    assert not database.read(deadlines.are_due)
    return database.read(lambda tx: releases.get(tx, release.id))


def test_a_lapsed_request_holds_the_release_until_it_is_asked_for_again(
    churn: SqliteDatabase, clock: ManualClock, waiting: Release
) -> None:
    clock.advance(timedelta(days=8))
    release = look(churn, waiting)
    assert (release.phase, release.state.paused) == (Phase.AWAITING_APPROVAL, True)
    resume = ReleaseCommand(command=ReleaseAction.RESUME)
    churn.write(lambda tx: releases.command(tx, release.id, resume), actor="cy")
    (request,) = churn.read(lambda tx: approvals.search(tx, status=ApprovalStatus.REQUESTED))
    assert request.release_id == release.id


def test_a_clock_that_jumps_loses_no_deadline(churn: SqliteDatabase, clock: ManualClock, waiting: Release) -> None:
    clock.advance(timedelta(days=-3650))
    assert look(churn, waiting).state.approval_open
    clock.advance(timedelta(days=3650 + 6))
    assert look(churn, waiting).state.approval_open
    clock.advance(timedelta(days=1))
    assert look(churn, waiting).state.paused
