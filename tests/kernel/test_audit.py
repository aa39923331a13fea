"""Every way to change the record of events that `verify` must find, and the one change that is allowed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from headrace.errors import AuditBroken, Conflict, InvalidInput, NotFound
from headrace.kernel import audit, checkpoints, events
from headrace.kernel.audit import AuditReport
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database, Tx
from headrace.kernel.schema import to_microseconds
from headrace.kernel.sqlite import SqliteDatabase
from headrace.kernel.tables import events as table

pytestmark = pytest.mark.both_databases


class Trail:
    """A database with events and a home with checkpoints of them."""

    def __init__(self, database: Database, home: Path) -> None:
        self.database = database
        self.home = home
        self.file = checkpoints.checkpoints_path(home)

    def append(self, count: int) -> None:
        def work(tx: Tx) -> None:
            for _ in range(count):
                number = events.head(tx) + 1
                events.append(tx, "test.stone_laid", f"stone/{number}", {"number": number})

        self.database.write(work, actor="ana")

    def sign(self, every: int = 1) -> checkpoints.Checkpoint | None:
        return audit.sign_checkpoint(self.database, self.file, checkpoints.open_signing_key(self.home), every=every)

    def tamper(self, *statements: sa.Executable) -> None:
        def work(tx: Tx) -> None:
            for statement in statements:
                tx.execute(statement)

        self.database.write(work, actor="eve")

    def rechain(self, first: int) -> None:
        """What a forger with the source code does: compute all hashes anew from `first` on."""

        def work(tx: Tx) -> None:
            rows = tx.execute(sa.select(table).order_by(table.c.seq)).all()
            previous = events.GENESIS
            for row in rows:
                digest = events.digest(row.payload)
                header = [
                    row.seq, row.id, row.type, row.version, row.subject, row.actor, row.workspace,
                    to_microseconds(row.at), digest,
                ]  # fmt: skip
                fresh = events.chain(previous, header) if row.seq >= first else row.hash
                tx.execute(table.update().where(table.c.seq == row.seq).values(hash=fresh, payload_digest=digest))
                previous = fresh

        self.database.write(work, actor="eve")

    def verify(self) -> AuditReport:
        return audit.verify(self.database, self.file)

    def wrong(self) -> list[str]:
        return [problem.where for problem in self.verify().problems]


@pytest.fixture
def trail(database: Database, tmp_path: Path) -> Trail:
    """Ten events; checkpoints at 4 and 8."""
    return laid(database, tmp_path / "home")


def laid(database: Database, home: Path) -> Trail:
    trail = Trail(database, home)
    trail.append(4)
    trail.sign()
    trail.append(4)
    trail.sign()
    trail.append(2)
    return trail


def test_an_untouched_trail_verifies(trail: Trail) -> None:
    report = trail.verify().require()
    assert (report.events, report.checkpoints, report.signed_through, report.erased) == (10, 2, 8, 0)
    assert report.verified


def test_an_empty_trail_verifies(database: Database) -> None:
    report = audit.verify(database, None).require()
    assert (report.events, report.head) == (0, events.GENESIS)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("payload", '{"number":99}'),
        ("payload", ""),
        ("payload_digest", "0" * 64),
        ("type", "test.stone_removed"),
        ("version", 2),
        ("subject", "stone/9"),
        ("actor", "bo"),
        ("workspace", "other"),
        ("id", "evt_forged"),
        ("hash", "0" * 64),
    ],
)
@pytest.mark.parametrize("seq", [1, 5, 10])
def test_an_edited_row_is_found(trail: Trail, column: str, value: object, seq: int) -> None:
    trail.tamper(table.update().where(table.c.seq == seq).values({column: value}))
    assert f"event/{seq}" in trail.wrong()


def test_an_edited_time_is_found(trail: Trail, clock: ManualClock) -> None:
    trail.tamper(table.update().where(table.c.seq == 5).values(at=clock.now().replace(year=2020)))
    assert trail.wrong() == ["event/5"]


def test_an_edited_row_with_its_own_hash_repaired_is_found(trail: Trail) -> None:
    trail.tamper(table.update().where(table.c.seq == 5).values(actor="bo"))
    database_rows = trail.database.read(
        lambda tx: {row.seq: row for row in tx.execute(sa.select(table).where(table.c.seq.in_([4, 5])))}
    )
    row = database_rows[5]
    header = [5, row.id, row.type, row.version, row.subject, "bo", row.workspace, to_microseconds(row.at)]
    repaired = events.chain(database_rows[4].hash, [*header, row.payload_digest])
    trail.tamper(table.update().where(table.c.seq == 5).values(hash=repaired))
    assert trail.wrong() == ["event/6"]


@pytest.mark.parametrize("seq", [2, 4, 9])
def test_a_chain_written_anew_is_found_by_a_checkpoint(trail: Trail, seq: int) -> None:
    trail.tamper(table.update().where(table.c.seq == seq).values(actor="bo"))
    trail.rechain(seq)
    signed_after = [f"event/{checkpoint}" for checkpoint in (4, 8) if checkpoint >= seq]
    assert trail.wrong() == signed_after
    assert audit.verify(trail.database, None).verified  # the chain alone cannot tell


@pytest.mark.parametrize("seq", [1, 4, 5, 8, 9])
def test_a_deleted_row_is_found(trail: Trail, seq: int) -> None:
    trail.tamper(table.delete().where(table.c.seq == seq))
    assert trail.wrong() == [f"event/{seq}", f"event/{seq + 1}"]


def test_a_deleted_row_with_the_rest_moved_up_is_found(trail: Trail) -> None:
    trail.tamper(
        table.delete().where(table.c.seq == 5),
        *(table.update().where(table.c.seq == seq).values(seq=seq - 1) for seq in range(6, 11)),
    )
    assert "event/5" in trail.wrong()
    trail.rechain(5)
    assert trail.wrong() == ["event/8"]


@pytest.mark.parametrize("left", [7, 3, 0])
def test_a_cut_off_end_is_found_by_a_checkpoint(trail: Trail, left: int) -> None:
    trail.tamper(table.delete().where(table.c.seq > left))
    assert trail.wrong() == ["event/4" if left < 4 else "event/8"]
    assert audit.verify(trail.database, None).verified


def test_two_rows_that_changed_places_are_found(trail: Trail) -> None:
    trail.tamper(
        table.update().where(table.c.seq == 5).values(seq=999),
        table.update().where(table.c.seq == 6).values(seq=5),
        table.update().where(table.c.seq == 999).values(seq=6),
    )
    assert trail.wrong()[:2] == ["event/5", "event/6"]


def test_an_inserted_row_is_found(trail: Trail) -> None:
    def work(tx: Tx) -> None:
        for seq in range(10, 4, -1):
            tx.execute(table.update().where(table.c.seq == seq).values(seq=seq + 1))
        model = tx.execute(sa.select(table).where(table.c.seq == 4)).one()
        tx.execute(table.insert().values({**model._asdict(), "seq": 5, "id": "evt_forged"}))

    trail.database.write(work, actor="eve")
    assert "event/5" in trail.wrong()


def test_an_old_copy_that_was_put_back_is_found(tmp_path: Path, clock: ManualClock, database: Database) -> None:
    trail = Trail(database, tmp_path / "home")
    trail.append(3)
    trail.sign()
    trail.append(3)
    assert trail.sign() is not None
    trail.tamper(table.delete().where(table.c.seq > 3))  # what the file held then
    trail.append(5)  # and life went on
    assert trail.wrong() == ["event/6"]
    with pytest.raises(AuditBroken):
        trail.sign()


def test_no_checkpoint_vouches_for_an_end_that_was_cut_off(trail: Trail) -> None:
    trail.tamper(table.delete().where(table.c.seq > 7))
    with pytest.raises(AuditBroken):
        trail.sign()


def test_a_checkpoint_is_signed_only_when_enough_is_new(trail: Trail) -> None:
    assert trail.sign(every=3) is None
    signed = trail.sign(every=2)
    assert signed is not None
    assert signed.seq == 10
    assert trail.sign() is None
    assert trail.verify().require().signed_through == 10


def test_an_erased_payload_is_no_problem_when_an_event_says_so(trail: Trail) -> None:
    trail.database.write(lambda tx: audit.erase_payload(tx, 5, "asked by the customer"), actor="ana")
    report = trail.verify().require()
    assert report.erased == 1
    assert trail.database.read(lambda tx: events.after(tx, 4, limit=1))[0].payload == {}


def test_a_payload_that_was_removed_in_silence_is_found(trail: Trail) -> None:
    trail.tamper(table.update().where(table.c.seq == 5).values(payload=None))
    assert trail.wrong() == ["event/5"]


def test_the_record_of_an_erasure_stays(trail: Trail) -> None:
    trail.database.write(lambda tx: audit.erase_payload(tx, 5, "asked"), actor="ana")
    with pytest.raises(Conflict):
        trail.database.write(lambda tx: audit.erase_payload(tx, 11, "hide it"), actor="eve")
    with pytest.raises(NotFound):
        trail.database.write(lambda tx: audit.erase_payload(tx, 5, "x"), actor="eve", workspace="other")
    trail.database.write(lambda tx: audit.erase_payload(tx, 5, "again"), actor="ana")
    assert trail.verify().require().events == 11


def edit_lines(edit: Callable[[list[bytes]], list[bytes]]) -> Callable[[Trail], None]:
    def forge(trail: Trail) -> None:
        trail.file.write_bytes(b"".join(line + b"\n" for line in edit(list(checkpoints.lines(trail.file)))))

    return forge


def forge_seq(lines: list[bytes]) -> list[bytes]:
    forged = msgspec.structs.replace(msgspec.json.decode(lines[1], type=checkpoints.Checkpoint), seq=7)
    return [lines[0], msgspec.json.encode(forged)]


def strip_signature(lines: list[bytes]) -> list[bytes]:
    forged = msgspec.structs.replace(msgspec.json.decode(lines[1], type=checkpoints.Checkpoint), signature="")
    return [lines[0], msgspec.json.encode(forged)]


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (forge_seq, "checkpoint/2"),
        (strip_signature, "checkpoint/2"),
        (lambda lines: [lines[1]], "checkpoint/1"),
        (lambda lines: [lines[1], lines[0]], "checkpoint/1"),
        (lambda lines: [*lines, lines[0]], "checkpoint/3"),
        (lambda lines: [lines[0], b"{}", lines[1]], "checkpoint/2"),
        (lambda lines: [lines[0], lines[1][: len(lines[1]) // 2]], "checkpoint/2"),
        (lambda _: [], "checkpoint/1"),
    ],
    ids=["seq", "signature", "first-gone", "swapped", "replayed", "no-checkpoint", "torn", "emptied"],
)
def test_a_changed_checkpoint_file_is_found(
    trail: Trail, edit: Callable[[list[bytes]], list[bytes]], where: str
) -> None:
    edit_lines(edit)(trail)
    assert where in trail.wrong()


def test_checkpoints_signed_with_another_key_are_refused(trail: Trail, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted.pub"
    shutil.copy(checkpoints.public_key_path(trail.home), trusted)
    shutil.rmtree(trail.home)  # a forger makes the whole home anew
    trail.tamper(table.update().where(table.c.seq == 5).values(actor="bo"))
    trail.rechain(5)
    trail.sign()
    assert trail.verify().verified  # to who trusts the key in the home
    report = audit.verify(trail.database, trail.file, trusted)
    assert "checkpoint/1" in [problem.where for problem in report.problems]


def test_a_broken_trail_can_be_required_to_be_whole(trail: Trail) -> None:
    trail.tamper(table.update().where(table.c.seq == 5).values(actor="bo"))
    with pytest.raises(AuditBroken) as broken:
        trail.verify().require()
    assert broken.value.where == "event/5"


def test_a_copy_is_verified_away_from_its_home(tmp_path: Path, sqlite_database: SqliteDatabase) -> None:
    trail = laid(sqlite_database, tmp_path / "home")
    copy, file, key = tmp_path / "copy.db", tmp_path / "elsewhere.jsonl", tmp_path / "elsewhere.pub"
    audit.copy_file(sqlite_database.path, copy)
    shutil.copy(trail.file, file)
    shutil.copy(checkpoints.public_key_path(trail.home), key)
    assert audit.verify(copy, file, key).require().events == 10

    engine = sa.create_engine(f"sqlite:///{copy}")
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE events SET payload = x'ff00', at = 'yesterday', type = x'ff' WHERE seq = 5")
        )
    engine.dispose()
    assert {problem.where for problem in audit.verify(copy, file, key).problems} == {"event/5"}
    assert trail.verify().verified


@pytest.mark.parametrize("content", [None, b"", b"no database at all", b"SQLite format 3\0" + b"\0" * 4096])
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "odd.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput):
        audit.verify(path, None)


def test_a_missing_key_is_refused(trail: Trail, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        audit.verify(trail.database, trail.file, tmp_path / "none.pub")
