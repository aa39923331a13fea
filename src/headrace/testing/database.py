"""The contract of the Database seam, as tests that every back end passes.

class TestMyDatabase(DatabaseContract):
    @pytest.fixture
    def database(self): return MyDatabase(...)  # with every table of `kernel.schema.metadata`
"""

import threading
from concurrent.futures import Future, wait
from datetime import UTC, datetime, timedelta, timezone
from functools import partial

import pytest
import sqlalchemy as sa

from headrace.errors import InternalError, InvalidInput, Unavailable
from headrace.kernel import events, pins, tables
from headrace.kernel.database import Database, Tx, insert

WAIT_S = 30


class _Hold:
    """A work that keeps the writer busy until it is let go, so that what follows falls into one group."""

    def __init__(self, database: Database) -> None:
        self._gate = threading.Event()
        self._running = threading.Event()
        self.future = database.submit(self._work, actor="ana")
        assert self._running.wait(WAIT_S)

    def _work(self, tx: Tx) -> None:  # noqa: ARG002
        self._running.set()
        self._gate.wait(WAIT_S)

    def release(self) -> None:
        self._gate.set()
        self.future.result(WAIT_S)


def _subjects(database: Database) -> list[str]:
    return [event.subject for event in database.read(lambda tx: events.after(tx, 0, limit=10_000))]


def _make(subject: str, tx: Tx) -> events.Event:
    return events.append(tx, "test.thing_made", subject, {})


class DatabaseContract:
    """What `Database` promises; a back end's test gives the fixture `database`."""

    @pytest.fixture
    def database(self) -> Database:
        """An empty database with every table."""
        raise NotImplementedError

    def test_a_transaction_knows_on_whose_behalf_it_acts(self, database: Database) -> None:
        """Actor and workspace are the caller's, and may be changed for a part of the work."""

        def work(tx: Tx) -> list[tuple[str, str]]:
            inner = tx.acting_as("bo").within("other")
            assert inner.now == tx.now
            return [(tx.actor, tx.workspace), (inner.actor, inner.workspace)]

        seen = database.write(work, actor="ana", workspace="mine")
        assert seen == [("ana", "mine"), ("bo", "other")]
        assert database.read(lambda tx: tx.workspace, workspace="mine") == "mine"

    def test_what_was_written_is_read(self, database: Database) -> None:
        """As soon as `write` has returned."""
        event = database.write(lambda tx: _make("thing/1", tx), actor="ana")
        assert database.read(lambda tx: events.after(tx, 0)) == [event]

    def test_a_failing_work_leaves_nothing_and_does_not_touch_its_group(self, database: Database) -> None:
        """Its error comes to its caller unchanged."""

        def broken(tx: Tx) -> None:
            _make("thing/broken", tx)
            raise RuntimeError("no")

        hold = _Hold(database)
        good = database.submit(lambda tx: _make("thing/1", tx), actor="ana")
        bad = database.submit(broken, actor="ana")
        later = database.submit(lambda tx: _make("thing/2", tx), actor="ana")
        hold.release()
        assert (good.result(WAIT_S).seq, later.result(WAIT_S).seq) == (1, 2)
        with pytest.raises(RuntimeError, match="no"):
            bad.result(WAIT_S)
        assert _subjects(database) == ["thing/1", "thing/2"]

    def test_a_refused_statement_does_not_touch_its_group(self, database: Database) -> None:
        """Not even on a database where an error spoils the transaction."""

        def twice(tx: Tx) -> None:
            for _ in range(2):
                tx.execute(tables.cursors.insert().values(name="one", seq=1, workspace="default"))

        hold = _Hold(database)
        good = database.submit(lambda tx: _make("thing/1", tx), actor="ana")
        bad = database.submit(twice, actor="ana")
        later = database.submit(lambda tx: _make("thing/2", tx), actor="ana")
        hold.release()
        with pytest.raises(sa.exc.IntegrityError):
            bad.result(WAIT_S)
        assert (good.result(WAIT_S).seq, later.result(WAIT_S).seq) == (1, 2)

    def test_works_run_in_the_order_in_which_they_were_queued(self, database: Database) -> None:
        """Also when there are more than fit into one group."""
        hold = _Hold(database)
        futures = [
            database.submit(lambda tx, number=number: _make(f"thing/{number}", tx), actor="ana")  # type: ignore[misc]
            for number in range(300)
        ]
        hold.release()
        assert [future.result(WAIT_S).seq for future in futures] == list(range(1, 301))
        assert _subjects(database) == [f"thing/{number}" for number in range(300)]

    def test_concurrent_writers_lose_nothing(self, database: Database) -> None:
        """Read, add one, write back: the sum is right, and the sequence of events has no gap."""

        def add(tx: Tx) -> None:
            seq = tx.execute(sa.select(tables.cursors.c.seq).where(tables.cursors.c.name == "sum")).scalar_one()
            tx.execute(tables.cursors.update().values(seq=seq + 1))
            _make(f"thing/{seq}", tx)

        def many() -> None:
            for _ in range(20):
                database.write(add, actor="ana")

        database.write(
            lambda tx: tx.execute(tables.cursors.insert().values(name="sum", seq=0, workspace="default")),
            actor="ana",
        )
        threads = [threading.Thread(target=many) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        total = database.read(lambda tx: tx.execute(sa.select(tables.cursors.c.seq)).scalar_one())
        assert total == 160
        assert _subjects(database) == [f"thing/{number}" for number in range(160)]

    def test_a_read_sees_one_moment(self, database: Database) -> None:
        """What is committed while it lasts stays out of sight."""
        database.write(lambda tx: _make("thing/1", tx), actor="ana")

        def look(tx: Tx) -> tuple[int, int]:
            before = events.head(tx)
            database.write(lambda inner: _make("thing/2", inner), actor="ana")
            return before, events.head(tx)

        assert database.read(look) == (1, 1)
        assert database.read(events.head) == 2

    def test_a_read_cannot_write(self, database: Database) -> None:
        """Nor does trying spoil the connection."""
        with pytest.raises(sa.exc.DBAPIError):
            database.read(lambda tx: pins.pin(tx, "run/1", "me", "why"))
        assert database.read(lambda tx: pins.pins_on(tx, "run/1")) == []

    def test_callbacks_run_after_the_commit_and_not_after_a_rollback(self, database: Database) -> None:
        """A callback finds the change; one that raises disturbs nobody."""
        rung: list[int] = []

        def ring(tx: Tx) -> None:
            pins.pin(tx, "run/1", "version/churn/1", "registered")
            tx.on_commit(lambda: 1 // 0)  # type: ignore[arg-type]
            tx.on_commit(lambda: rung.append(len(database.read(lambda tx: pins.pins_on(tx, "run/1")))))

        def broken(tx: Tx) -> None:
            tx.on_commit(lambda: rung.append(-1))
            raise RuntimeError

        database.write(ring, actor="ana")
        with pytest.raises(RuntimeError):
            database.write(broken, actor="ana")
        database.write(lambda tx: None, actor="ana")  # noqa: ARG005
        assert rung == [1]

    def test_a_bell_rings_after_the_commit_and_not_after_a_rollback(self, database: Database) -> None:
        """For whoever waits in this process."""

        def broken(tx: Tx) -> None:
            tx.ring("topic")
            raise RuntimeError

        with pytest.raises(RuntimeError):
            database.write(broken, actor="ana")
        assert database.bell.rung("topic") == 0
        database.write(lambda tx: tx.within("other").ring("topic"), actor="ana")
        assert database.bell.rung("topic") == 1

    def test_a_part_of_a_transaction_fails_by_itself(self, database: Database) -> None:
        """What it wrote and what it would have rung is undone; the rest is kept."""

        def part(tx: Tx) -> None:
            _make("thing/part", tx)
            tx.ring("part")
            raise RuntimeError("no")

        def work(tx: Tx) -> str:
            _make("thing/before", tx)
            with pytest.raises(RuntimeError, match="no"):
                tx.apart(part)
            tx.apart(lambda tx: _make("thing/after", tx))
            return "kept"

        hold = _Hold(database)  # both alone and in a group, which has a savepoint of its own
        grouped = [database.submit(work, actor="ana") for _ in range(2)]
        hold.release()
        assert [future.result(WAIT_S) for future in grouped] == ["kept", "kept"]
        assert database.write(work, actor="ana") == "kept"
        assert _subjects(database) == ["thing/before", "thing/after"] * 3
        assert database.bell.rung("part") == 0

    def test_a_transaction_inside_a_transaction_is_refused_rather_than_hanging(self, database: Database) -> None:
        """A verb takes a `Tx`, it does not open one."""
        with pytest.raises(InternalError, match="inside a transaction"):
            database.write(lambda tx: database.write(events.head, actor="ana"), actor="ana")  # noqa: ARG005

    def test_a_cancelled_work_is_not_run(self, database: Database) -> None:
        """As long as it waits in the queue."""
        hold = _Hold(database)
        future = database.submit(lambda tx: _make("thing/1", tx), actor="ana")
        assert future.cancel()
        hold.release()
        assert database.write(events.head, actor="ana") == 0

    def test_upserts_are_written_once(self, database: Database) -> None:
        """`insert` gives both clauses on every database."""

        def work(tx: Tx) -> None:
            for seq in (1, 2):
                row = insert(tx, tables.cursors).values(name="one", seq=seq, workspace="default")
                tx.execute(row.on_conflict_do_update(index_elements=["name"], set_={"seq": row.excluded.seq}))
            tx.execute(
                insert(tx, tables.cursors).values(name="one", seq=9, workspace="default").on_conflict_do_nothing()
            )

        database.write(work, actor="ana")
        assert database.read(lambda tx: tx.execute(sa.select(tables.cursors.c.seq)).scalars().all()) == [2]

    def test_a_conflicting_insert_counts_no_row(self, database: Database) -> None:
        """With a key that the caller gives, and with one that the database makes."""
        order = {
            "kind": "test.idle",
            "payload": "{}",
            "actor": "ana",
            "state": "queued",
            "attempt": 0,
            "lease_s": 1.0,
        }

        def work(tx: Tx) -> list[int]:
            cursor = insert(tx, tables.cursors).values(name="one", seq=1, workspace="default")
            job = insert(tx, tables.jobs).values(
                id="job_1", key="one", max_attempts=1, enqueued_at=tx.now, workspace="default", **order
            )
            statements = [cursor, cursor, job, job]
            return [tx.execute(statement.on_conflict_do_nothing()).rowcount for statement in statements]

        assert database.write(work, actor="ana") == [1, 0, 1, 0]

    def test_instants_and_documents_come_back_as_they_went_in(self, database: Database) -> None:
        """To the microsecond, in UTC; any JSON, any script, even a NUL."""
        moment = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=5)))
        document = {"text": "Ω\u0000'\"\\", "list": [1, 2.5, None, True], "at": "2026-01-01"}

        def work(tx: Tx) -> None:
            tx.execute(
                tables.business_clock.insert().values(
                    workspace="default", at=moment, moved_at=datetime.max.replace(tzinfo=UTC)
                )
            )
            tx.execute(
                tables.principals.insert().values(workspace="default", id="ana", roles=document, created_at=tx.now)
            )

        database.write(work, actor="ana")
        clock = database.read(lambda tx: tx.execute(sa.select(tables.business_clock)).one())
        assert clock.at == moment
        assert clock.at.utcoffset() == timedelta(0)
        assert clock.moved_at == datetime.max.replace(tzinfo=UTC)
        assert database.read(lambda tx: tx.execute(sa.select(tables.principals.c.roles)).scalar_one()) == document

    def test_a_value_that_fits_no_column_is_refused_and_leaves_the_database_well(self, database: Database) -> None:
        """A number of more than 64 bits, or half a character, is the caller's mistake."""
        database.write(lambda tx: _make("thing/1", tx), actor="ana")
        with pytest.raises(InvalidInput):
            database.read(lambda tx: events.after(tx, 10**30))
        with pytest.raises(InvalidInput):
            database.write(lambda tx: events.of_subject(tx, "\ud800"), actor="ana")
        database.write(lambda tx: _make("thing/2", tx), actor="ana")
        assert _subjects(database) == ["thing/1", "thing/2"]

    def test_a_time_that_could_not_be_read_again_is_refused(self, database: Database) -> None:
        """One without its offset from UTC, or one that is in year 10000 there."""

        def work(at: datetime, tx: Tx) -> None:
            tx.execute(tables.business_clock.insert().values(workspace="default", at=at, moved_at=tx.now))

        west = timezone(timedelta(hours=-1))
        for at in (datetime(2026, 1, 1), datetime.max.replace(tzinfo=west)):  # noqa: DTZ001 - that is the point
            with pytest.raises(InvalidInput, match="a time"):
                database.write(partial(work, at), actor="ana")
        assert database.read(lambda tx: tx.execute(sa.select(tables.business_clock)).all()) == []

    def test_an_error_of_a_statement_does_not_tell_its_values(self, database: Database) -> None:
        """They may be anybody's, and errors are written to logs."""

        def work(tx: Tx) -> None:
            values = {"workspace": "default", "id": "ana", "roles": ["hunter2"], "created_at": tx.now}
            tx.execute(tables.principals.insert().values(values))

        database.write(work, actor="ana")
        with pytest.raises(sa.exc.IntegrityError) as refused:
            database.write(work, actor="ana")
        assert "hunter2" not in str(refused.value)

    def test_closing_finishes_what_is_queued(self, database: Database) -> None:
        """And then refuses more."""
        futures: list[Future[events.Event]] = [
            database.submit(lambda tx: _make("thing/1", tx), actor="ana") for _ in range(50)
        ]
        database.close()
        assert not wait(futures, WAIT_S).not_done
        assert [future.result().seq for future in futures] == list(range(1, 51))
        with pytest.raises(Unavailable, match="closed"):
            database.write(events.head, actor="ana")
        database.close()
