"""What was in production at any moment: beyond a thousand moves, at equal times, after the clock was set back."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import access
from headrace.kernel.access import Principal, Role
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database, Tx
from headrace.registry import approvals, history, models, register, removal, stages
from headrace.registry.approval import Decision, RequestApproval
from headrace.registry.governed import Grounds
from headrace.registry.history import moment_of, production_at
from headrace.registry.moves import History, StageMove
from headrace.registry.nouns import (
    ModelFile,
    RegisterVersion,
    Stage,
)

pytestmark = pytest.mark.both_databases

FILE = ModelFile(path="MLmodel", digest="sha256:" + "c" * 64, size_bytes=1)
HOUR = timedelta(hours=1)


def make(database: Database, versions: int, workspace: str = "default") -> None:
    def work(tx: Tx) -> None:
        models.create(tx, "churn")
        for run in range(versions):
            register.register_version(tx, RegisterVersion(model="churn", run_id=f"r{run}", files=(FILE,)))

    database.write(work, actor="ana", workspace=workspace)


def move(database: Database, number: int, stage: Stage, workspace: str = "default", **how: object) -> None:
    database.write(
        lambda tx: stages.transition(tx, "churn", number, stage, "because", **how),  # type: ignore[arg-type]
        actor="bo",
        workspace=workspace,
    )


def production(database: Database, at: datetime, workspace: str = "default") -> int | None:
    return database.read(lambda tx: production_at(tx, "churn", at), workspace=workspace)


def read(database: Database, **asked: object) -> History:
    return database.read(lambda tx: history.read(tx, "churn", **asked))  # type: ignore[arg-type]


def test_what_was_in_production_at_any_moment(database: Database, clock: ManualClock) -> None:
    make(database, 2)
    start = clock.now()
    for number in (1, 2):
        clock.advance(HOUR)
        move(database, number, Stage.PRODUCTION, archive_existing=True)
    moments = [start, start + HOUR - timedelta(microseconds=1), start + HOUR, start + 1.5 * HOUR, start + 2 * HOUR]
    assert [production(database, at) for at in moments] == [None, None, 1, 1, 2]
    found = read(database, at=start + 1.5 * HOUR)
    assert (found.production, found.at) == (1, start + 1.5 * HOUR)
    assert found.since is not None
    assert (found.since.reason, found.since.actor, found.since.at) == ("because", "bo", start + HOUR)
    assert [(change.number, change.after) for change in found.changes] == [(1, "Production")]
    assert read(database).production == 2
    nothing = read(database, at=start)
    assert (nothing.production, nothing.since, nothing.changes) == (None, None, ())


def test_more_moves_than_a_page_holds(database: Database, clock: ManualClock) -> None:
    make(database, 3)
    for turn in range(1_100):
        clock.advance(HOUR)
        move(database, turn % 2 + 1, Stage.PRODUCTION if turn % 4 < 2 else Stage.ARCHIVED)
    clock.advance(HOUR)
    move(database, 3, Stage.PRODUCTION, archive_existing=True)
    clock.advance(HOUR)
    assert production(database, clock.now()) == 3
    assert [production(database, clock.now() - hours * HOUR) for hours in (2, 3, 4, 5)] == [None, 2, 2, 1]
    changes: list[StageMove] = []
    cursor = ""
    while True:
        found = read(database, limit=333, cursor=cursor)
        changes += found.changes
        cursor = found.next_cursor
        if not cursor:
            break
    assert [change.event_seq for change in changes] == sorted(
        {change.event_seq for change in changes}, reverse=True
    )
    assert len(changes) == 1_101
    with pytest.raises(InvalidInput, match="another search"):
        read(database, cursor=read(database, limit=1).next_cursor, at=clock.now())
    with pytest.raises(InvalidInput):
        read(database, limit=1_001)


def test_at_equal_times_the_record_decides(database: Database, clock: ManualClock) -> None:
    make(database, 3)
    for number in (2, 3, 1):
        move(database, number, Stage.PRODUCTION, archive_existing=True)
    assert production(database, clock.now()) == 1
    assert production(database, clock.now() - timedelta(microseconds=1)) is None


def test_when_the_clock_was_set_back_the_record_decides(database: Database, clock: ManualClock) -> None:
    make(database, 3)
    ten = datetime(2026, 3, 1, 10, tzinfo=UTC)
    for number, at in ((1, ten), (2, ten + HOUR / 2), (3, ten + HOUR / 6)):
        clock.advance(at - clock.now())
        move(database, number, Stage.PRODUCTION, archive_existing=True)
    minutes = (-1, 0, 9, 10, 20, 30, 60)
    found = [production(database, ten + timedelta(minutes=each)) for each in minutes]
    assert found == [None, 1, 1, 3, 3, 3, 3]
    clock.advance(-HOUR)  # before all of them
    assert read(database).production == 3
    assert read(database).at == clock.now()
    assert read(database, at=ten).production == 3  # still to come, so it is what is known now
    assert len(read(database).changes) == 5


def test_a_move_tells_its_release_and_who_approved_it(database: Database, clock: ManualClock) -> None:
    make(database, 2)

    def approved(tx: Tx) -> None:
        for name in ("ravi", "cy"):
            access.create_principal(tx, name, [Role.APPROVER])
        asked = RequestApproval(model="churn", number=1, release_id="rel_1", needed=2, expires_s=60)
        approval = approvals.request(tx, asked)
        for name in ("ravi", "cy"):
            person = Principal(id=name, name=name, roles=(Role.APPROVER,))
            approvals.decide(tx.acting_as(name), approval.id, Decision(grant=True, reason="read"), person)

    move(database, 1, Stage.STAGING, grounds=Grounds(release_id="rel_1", opened_by="ana"))
    database.write(approved, actor="ana")
    move(database, 1, Stage.PRODUCTION, grounds=Grounds(release_id="rel_1", opened_by="ana"))
    move(database, 2, Stage.PRODUCTION, archive_existing=True)
    move(database, 1, Stage.PRODUCTION, grounds=Grounds(release_id="rel_2", opened_by="ana", back=True))
    (back, second, archived, first, tried) = read(database).changes
    assert (tried.release_id, tried.approval) == ("rel_1", None)  # nobody was asked yet
    assert (second.release_id, second.approval, archived.release_id) == (None, None, None)
    assert (first.release_id, first.approved_by) == ("rel_1", ("ravi", "cy"))
    assert (back.grounds, back.release_id, back.approval) == ("rollback of release rel_2", "rel_2", None)
    found = read(database, at=clock.now())
    assert found.since == back


def test_a_deleted_model_keeps_its_history(database: Database, clock: ManualClock) -> None:
    make(database, 1)
    move(database, 1, Stage.PRODUCTION)
    then = clock.now()
    clock.advance(HOUR)
    move(database, 1, Stage.ARCHIVED)
    database.write(lambda tx: removal.delete_model(tx, "churn"), actor="ana")
    assert production(database, then) == 1
    assert production(database, clock.now()) is None
    with pytest.raises(NotFound):
        database.read(lambda tx: production_at(tx, "other", then))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01", datetime(2026, 3, 1, 23, 59, 59, 999_999, UTC)),
        ("20260301", datetime(2026, 3, 1, 23, 59, 59, 999_999, UTC)),
        ("2026-03-01T14:30", datetime(2026, 3, 1, 14, 30, tzinfo=UTC)),
        ("2026-03-01 14:30:05", datetime(2026, 3, 1, 14, 30, 5, tzinfo=UTC)),
        ("2026-03-01T14:30:00Z", datetime(2026, 3, 1, 14, 30, tzinfo=UTC)),
        ("2026-03-01T14:30:00+02:00", datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
    ],
)
def test_moments_as_people_write_them(text: str, moment: datetime) -> None:
    assert moment_of(text) == moment


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-13-01", "9999-12-31", "0001-01-01T00:00:00+14:00", "1", "12:30"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no moment"):
        moment_of(text)


_workspaces = itertools.count()
MOVES = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from(Stage), st.booleans(), st.integers(-3, 5)), max_size=20
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=MOVES, asked=st.integers(-10, 60))
def test_it_is_what_replaying_the_record_gives(
    database: Database, clock: ManualClock, moves: list[tuple[int, Stage, bool, int]], asked: int
) -> None:
    workspace = f"example-{next(_workspaces)}"
    start = datetime(2026, 3, 1, tzinfo=UTC)
    clock.advance(start - clock.now())
    make(database, 3, workspace)
    for number, stage, archive, minutes in moves:
        clock.advance(timedelta(minutes=minutes))
        move(database, number, stage, workspace, archive_existing=archive)
    moment = start + timedelta(minutes=asked)
    record = database.read(
        lambda tx: history.read(tx, "churn", at=datetime(2100, 1, 1, tzinfo=UTC), limit=1_000), workspace=workspace
    ).changes[::-1]
    happened = [change.event_seq for change in record if change.at <= moment]
    entered: dict[int, int] = {}
    for change in record:
        if happened and change.event_seq <= happened[-1]:
            entered.pop(change.number, None)
            if change.after is Stage.PRODUCTION:
                entered[change.number] = change.event_seq
    expected = max(entered, key=entered.__getitem__) if entered else None
    assert production(database, moment, workspace) == expected
    now = database.read(lambda tx: stages.production(tx, "churn"), workspace=workspace)
    assert production(database, datetime(2100, 1, 1, tzinfo=UTC), workspace) == (now.number if now else None)
