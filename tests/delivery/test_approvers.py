"""Who may approve hears of a request when it is filed, when a grant falls, and when its time runs out."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.delivery.conftest import RAVI, Traffic, declaration, declare

from headrace.delivery import approvers, canary, releases
from headrace.delivery.machine import ReportGates, ReportStaging
from headrace.delivery.nouns import OpenRelease, Release
from headrace.delivery.settling import SUBSCRIBERS
from headrace.errors import ApprovalNeeded
from headrace.kernel import access, events, jobs, subscriptions
from headrace.kernel.access import Role, create_principal
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Blocking, Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.monitoring import alerts
from headrace.monitoring.jobs import NOTIFY
from headrace.monitoring.nouns import Delivered, Notification
from headrace.registry import approvals, policies, stages
from headrace.registry.approval import Approval, Decision, Revocation
from headrace.registry.nouns import ApprovalStatus, Stage
from headrace.registry.rules import Policy

YES = Decision(grant=True, meaning="I have reviewed the evidence and accept the risk.")
(HEARS,) = (each for each in SUBSCRIBERS if each.name == "delivery.approvers")


@pytest.fixture
def desk(churn: SqliteDatabase) -> SqliteDatabase:
    """Requests for Staging are told to two channels, one of them named twice."""
    wanted = Policy(model="churn", stage=Stage.STAGING, approvals=1, notify=("risk", "ops", "risk"), expires="8h")

    def work(tx: Tx) -> None:
        subscriptions.enroll(tx, [HEARS])
        create_principal(tx, "dana", [Role.DEVELOPER])
        policies.put(tx, wanted)

    churn.write(work, actor="local")
    return churn


def ask(database: SqliteDatabase) -> Approval:
    """What a refused call files; asked again it is the same."""
    with pytest.raises(ApprovalNeeded):
        Blocking(database, actor="dana").write(lambda tx: stages.transition(tx, "churn", 1, Stage.STAGING))
    hear(database)
    return database.read(approvals.search)[0]


def hear(database: SqliteDatabase) -> None:
    database.write(lambda tx: subscriptions.advance(tx, HEARS), actor="system")


def messages(database: SqliteDatabase) -> list[Notification]:
    """What workers are asked to send, as they claim it."""
    found: list[Notification] = []
    while True:
        job = database.write(lambda tx: jobs.claim(tx, "w1", [NOTIFY.name]), actor="system")
        if job is None:
            return found
        found.append(msgspec.json.decode(job.payload, type=Notification))
        sent = msgspec.to_builtins(Delivered(channel=found[-1].channel))
        database.write(
            lambda tx, job=job, sent=sent: jobs.settle(tx, alerts.NOTIFY_HANDLING, job.id, job.lease or "", sent),  # type: ignore[misc]
            actor="system",
        )


def remind(database: SqliteDatabase) -> bool:
    due = database.read(approvers.are_due)
    if due:
        database.write(approvers.remind, actor="system")
    assert not database.read(approvers.are_due)
    return due


def test_each_channel_hears_once_of_a_request(desk: SqliteDatabase) -> None:
    approval = ask(desk)
    assert ask(desk) == approval
    told = messages(desk)
    assert sorted(message.channel for message in told) == ["ops", "risk"]
    assert told[0].title == "churn@1 is to move to Staging: who approves it?"
    for text in ("dana asks", "0 of 1 approval of the role approver", "churn: stage/Staging", approval.id):
        assert text in told[0].text
    assert "ticket" not in told[0].text
    kinds = [event.type for event in desk.read(lambda tx: events.of_subject(tx, f"approval/{approval.id}"))]
    assert kinds.count("monitoring.message_delivered") == 2


def test_whose_time_runs_out_is_told_once_more(desk: SqliteDatabase, clock: ManualClock) -> None:
    approval = ask(desk)
    messages(desk)
    clock.advance(timedelta(hours=5, minutes=59))
    assert not remind(desk)
    clock.advance(timedelta(minutes=1))
    assert remind(desk)
    told = messages(desk)
    assert [message.channel for message in told] == ["risk", "ops"]
    assert told[0].title == "churn@1 is to move to Staging: still too few have decided, and 2h are left"
    clock.advance(timedelta(minutes=1))
    assert not remind(desk)
    (reminded,) = [event for event in desk.read(events.recent) if event.type == "registry.approval_reminded"]
    assert reminded.payload["approval_id"] == approval.id
    kept = desk.read(lambda tx: approvals.get(tx, approval.id))
    assert kept == msgspec.structs.replace(approval, remind_at=None)


def test_what_is_granted_is_reminded_of_only_when_a_grant_falls(desk: SqliteDatabase, clock: ManualClock) -> None:
    approval = ask(desk)
    desk.write(lambda tx: approvals.decide(tx, approval.id, YES, RAVI), actor=RAVI.id)
    messages(desk)
    clock.advance(timedelta(hours=7))
    assert not remind(desk)
    desk.write(lambda tx: approvals.revoke(tx, approval.id, Revocation(), RAVI), actor=RAVI.id)
    assert remind(desk)


def test_a_request_of_which_nobody_can_be_told_keeps_no_other_from_it(
    desk: SqliteDatabase, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ask(desk)
    with pytest.raises(ApprovalNeeded):
        Blocking(desk, actor="dana").write(lambda tx: stages.transition(tx, "churn", 2, Stage.STAGING))
    hear(desk)
    messages(desk)
    clock.advance(timedelta(hours=6))
    tell = alerts.tell

    def fails_once(tx: Tx, subject: str, *told: Any) -> None:
        if subject == f"approval/{broken.id}":
            raise RuntimeError("a channel of a later program")
        tell(tx, subject, *told)

    monkeypatch.setattr(alerts, "tell", fails_once)
    desk.write(approvers.remind, actor="system")
    assert {message.title.partition(" ")[0] for message in messages(desk)} == {"churn@2"}
    with pytest.raises(RuntimeError, match="later program"):
        desk.write(approvers.remind, actor="system")
    monkeypatch.undo()
    assert remind(desk)
    assert {message.title.partition(" ")[0] for message in messages(desk)} == {"churn@1"}


def take_back(database: SqliteDatabase, approval: Approval) -> None:
    database.write(lambda tx: approvals.revoke(tx, approval.id, Revocation(), RAVI), actor=RAVI.id)


def lose_role(database: SqliteDatabase, _: Approval) -> None:
    database.write(lambda tx: access.revoke_role(tx, RAVI.id, Role.APPROVER), actor="local")
    lost = database.read(lambda tx: events.of_subject(tx, f"principal/{RAVI.id}"))[-1]
    database.write(lambda tx: approvals.on_access_lost(tx, lost), actor="system")


@pytest.mark.parametrize("fall", [take_back, lose_role])
def test_each_channel_hears_that_a_grant_fell(
    desk: SqliteDatabase, fall: Callable[[SqliteDatabase, Approval], None]
) -> None:
    approval = ask(desk)
    desk.write(lambda tx: approvals.decide(tx, approval.id, YES, RAVI), actor=RAVI.id)
    hear(desk)
    messages(desk)
    fall(desk, approval)
    hear(desk)
    told = messages(desk)
    assert sorted(message.channel for message in told) == ["ops", "risk"]
    assert told[0].title == "churn@1 is to move to Staging: a grant fell, who approves it?"
    assert "0 of 1 approval" in told[0].text


def test_nobody_hears_of_a_grant_that_is_not_missed_or_of_a_request_that_is_over(
    desk: SqliteDatabase, clock: ManualClock
) -> None:
    approval = ask(desk)
    messages(desk)
    desk.write(lambda tx: approvals.void_about(tx, "churn", 1, "other files"), actor="local")
    hear(desk)
    assert messages(desk) == []
    late = ask(desk)
    assert late.id != approval.id
    messages(desk)
    desk.write(lambda tx: approvals.decide(tx, late.id, YES, RAVI), actor=RAVI.id)
    clock.advance(timedelta(hours=9))
    take_back(desk, late)
    assert desk.read(lambda tx: approvals.get(tx, late.id)).status is ApprovalStatus.EXPIRED
    hear(desk)
    assert messages(desk) == []


def test_a_grant_that_falls_under_a_release_with_traffic_is_told(
    desk: SqliteDatabase, traffic: Traffic, release_to_traffic: Callable[[int], Release], clock: ManualClock
) -> None:
    declare(desk, declaration(alerts=["churn_team"]))
    release = release_to_traffic(1)
    hear(desk)
    messages(desk)
    take_back(desk, desk.read(lambda tx: approvals.search(tx, release_id=release.id))[0])
    hear(desk)
    traffic.report(release, 1, units=400)
    clock.advance(timedelta(minutes=1))
    desk.write(canary.evaluate_open, actor="system")
    assert desk.read(lambda tx: releases.get(tx, release.id)).state.approval_open
    hear(desk)
    assert [message.channel for message in messages(desk)] == ["churn_team"]


def test_a_long_request_is_reminded_of_a_day_before(desk: SqliteDatabase) -> None:
    longer = Policy(model="churn", stage=Stage.STAGING, approvals=1, notify=("ops",), expires="30d")
    desk.write(lambda tx: policies.put(tx, longer), actor="local")
    approval = ask(desk)
    assert approval.remind_at == approval.expires_at - timedelta(days=1)


def test_without_channels_nobody_is_told(desk: SqliteDatabase, clock: ManualClock) -> None:
    quiet = Policy(model="churn", stage=Stage.STAGING, approvals=1)
    desk.write(lambda tx: policies.put(tx, quiet), actor="local")
    assert ask(desk).remind_at is None
    clock.advance(timedelta(days=6, hours=23))
    assert not remind(desk)
    assert messages(desk) == []


def test_a_release_tells_the_channels_of_its_project_and_of_the_policy(desk: SqliteDatabase) -> None:
    declare(desk, declaration(alerts=["churn_team"]))
    governing = Policy(model="churn", stage=Stage.PRODUCTION, approvals=1, notify=("risk",))
    desk.write(lambda tx: policies.put(tx, governing), actor="local")

    def work(tx: Tx) -> None:
        release = releases.open_release(tx, OpenRelease(model="churn", number=1))
        releases.execute(tx, release.id, ReportGates(attempt=1, passed=True))
        releases.execute(tx, release.id, ReportStaging(attempt=2, passed=True))

    desk.write(work, actor="cy")
    hear(desk)
    assert sorted(message.channel for message in messages(desk)) == ["churn_team", "risk"]
