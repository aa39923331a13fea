from datetime import timedelta

import msgspec
import pytest
import sqlalchemy as sa

from headrace.delivery import deadlines, releases, tables
from headrace.delivery.machine import Phase, ReportGates, ReportStaging
from headrace.delivery.nouns import OpenRelease, Release, ReleaseAction, ReleaseCommand
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.registry import approvals, models, policies, register
from headrace.registry.nouns import ApprovalStatus, ModelFile, RegisterVersion, Stage
from headrace.registry.rules import Policy


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


def test_a_release_that_cannot_be_read_keeps_no_other_from_its_deadline(
    churn: SqliteDatabase, clock: ManualClock, waiting: Release
) -> None:
    policy = Policy(model="*", stage=Stage.PRODUCTION, approvals=1)
    churn.write(lambda tx: policies.put(tx, policy), actor="local")
    churn.write(lambda tx: models.create(tx, "fraud"), actor="cy")
    files = (ModelFile(path="MLmodel", digest="sha256:" + "e" * 64, size_bytes=1),)
    asked = RegisterVersion(model="fraud", run_id="r9", files=files)
    churn.write(lambda tx: register.register_version(tx, asked), actor="cy")
    opening = OpenRelease(model="fraud", number=1)
    other = churn.write(lambda tx: releases.open_release(tx, opening), actor="cy")
    assert other.phase is Phase.AWAITING_APPROVAL
    table = tables.releases
    later = sa.update(table).where(table.c.id == waiting.id).values(document={"of": "a later program"})
    churn.write(lambda tx: tx.execute(later), actor="system")
    clock.advance(timedelta(days=8))
    churn.write(deadlines.lapse, actor="system")
    assert churn.read(lambda tx: releases.get(tx, other.id)).state.paused
    assert churn.read(deadlines.are_due)  # it is not forgotten
    with pytest.raises(msgspec.ValidationError):  # and told, for the log
        churn.write(deadlines.lapse, actor="system")
    assert churn.read(lambda tx: releases.get(tx, other.id)).state.paused
