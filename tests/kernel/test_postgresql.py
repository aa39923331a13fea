"""What only PostgreSQL can do to us: several writing processes, and connections that break."""

import sys
import threading

import msgspec
import pytest
import sqlalchemy as sa

from headrace.errors import MissingExtra, Unavailable
from headrace.kernel import events, jobs
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Tx
from headrace.kernel.postgresql import PostgresDatabase, sqlalchemy_url, was_committed


class Nothing(msgspec.Struct, frozen=True, kw_only=True):
    pass


IDLE: jobs.JobKind[Nothing, Nothing] = jobs.JobKind(name="test.idle", payload=Nothing, result=Nothing)


@pytest.fixture
def other(postgresql_url: str, postgresql_database: PostgresDatabase, clock: ManualClock) -> PostgresDatabase:
    """The same database, as another control process has it open."""
    return PostgresDatabase(postgresql_url, clock=clock)


def make(tx: Tx) -> int:
    return events.append(tx, "test.thing_made", "thing/1", {}).seq


def in_parallel(*works: "threading.Thread") -> None:
    for work in works:
        work.start()
    for work in works:
        work.join(60)
        assert not work.is_alive()


def test_events_of_two_processes_become_visible_in_the_order_of_their_sequence(
    postgresql_database: PostgresDatabase, other: PostgresDatabase
) -> None:
    seen: list[int] = []
    done = threading.Event()

    def append(database: PostgresDatabase) -> None:
        for _ in range(60):
            database.write(make, actor="ana")

    def follow() -> None:
        while True:
            last_look = done.is_set()
            fresh = other.read(lambda tx: events.after(tx, seen[-1] if seen else 0, limit=1000))
            seen.extend(event.seq for event in fresh)
            if last_look:
                return

    follower = threading.Thread(target=follow)
    follower.start()
    in_parallel(*(threading.Thread(target=append, args=(each,)) for each in (postgresql_database, other)))
    done.set()
    follower.join(60)
    other.close()
    assert seen == list(range(1, 121))  # a late smaller number would have been missed


def test_two_processes_never_claim_the_same_job(
    postgresql_database: PostgresDatabase, other: PostgresDatabase
) -> None:
    wanted = {
        postgresql_database.write(lambda tx: jobs.enqueue(tx, IDLE, Nothing()), actor="ana") for _ in range(40)
    }
    claimed: list[str] = []

    def claim(database: PostgresDatabase, worker: str) -> None:
        while job := database.write(lambda tx: jobs.claim(tx, worker, [IDLE.name]), actor="system"):
            claimed.append(job.id)

    in_parallel(
        threading.Thread(target=claim, args=(postgresql_database, "worker-1")),
        threading.Thread(target=claim, args=(other, "worker-2")),
    )
    other.close()
    assert len(claimed) == 40
    assert set(claimed) == wanted


def end_connections(url: str) -> None:
    """What a restart of the server does to its clients."""
    engine = sa.create_engine(sqlalchemy_url(url), isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_connection_that_broke_between_two_writes_is_not_noticed(
    postgresql_database: PostgresDatabase, postgresql_url: str
) -> None:
    assert postgresql_database.write(make, actor="ana") == 1
    assert postgresql_database.read(events.head) == 1
    end_connections(postgresql_url)
    assert postgresql_database.read(events.head) == 1
    assert postgresql_database.write(make, actor="ana") == 2


def test_a_connection_that_breaks_in_a_write_keeps_nothing_and_the_writer_lives_on(
    postgresql_database: PostgresDatabase, postgresql_url: str
) -> None:
    def break_off(tx: Tx) -> None:
        make(tx)
        end_connections(postgresql_url)
        make(tx)

    with pytest.raises(Unavailable, match="could not write"):
        postgresql_database.write(break_off, actor="ana")
    assert postgresql_database.read(events.head) == 0
    assert postgresql_database.write(make, actor="ana") == 1


def test_a_connection_that_breaks_before_the_commit_keeps_nothing(
    postgresql_database: PostgresDatabase, postgresql_url: str
) -> None:
    def break_off(tx: Tx) -> None:
        make(tx)
        tx.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = '1ms'"))
        threading.Event().wait(0.2)  # the server hangs up while the work still runs

    with pytest.raises(Unavailable):
        postgresql_database.write(break_off, actor="ana")
    assert postgresql_database.write(make, actor="ana") == 1


@pytest.mark.parametrize(("end", "kept"), [("COMMIT", True), ("ROLLBACK", False)])
def test_the_server_knows_what_became_of_a_transaction(
    postgresql_database: PostgresDatabase,
    postgresql_url: str,
    end: str,
    *,
    kept: bool,
) -> None:
    engine = sa.create_engine(
        sqlalchemy_url(postgresql_url), isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        transaction = connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one()
        connection.exec_driver_sql(end)
    assert was_committed(engine, transaction) is kept


def test_a_server_that_does_not_answer_is_told(clock: ManualClock) -> None:
    database = PostgresDatabase("postgresql://127.0.0.1:1/none", clock=clock)
    with pytest.raises(Unavailable):
        database.read(events.head)
    with pytest.raises(Unavailable):
        database.write(make, actor="ana")
    database.close()


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"headrace\[postgres\]"):
        PostgresDatabase("postgresql://localhost/headrace")
