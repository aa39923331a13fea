"""Proof that the record of events is what it was: the hash chain, and the signed checkpoints of it.

The chain alone finds a row that was edited, deleted, inserted or moved by someone who did not recompute the rest.
The checkpoints, kept outside the database, also find a recomputed chain, a cut-off end and an older copy put back.
What nothing here finds is a false event added at the very end, after the last checkpoint, with a right hash.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.pool import NullPool

from headrace.errors import AuditBroken, Conflict, InvalidInput, NotFound
from headrace.kernel import checkpoints, events, tables
from headrace.kernel.checkpoints import Checkpoint, SigningKey
from headrace.kernel.database import Database, Tx

ERASED = "kernel.payload_erased"
PROBLEMS_SHOWN = 100
_PAGE_ROWS = 1000

# read without the column types, which would choke on what a forger may have put there
_COLUMNS = ("seq", "id", "type", "version", "subject", "actor", "workspace", "at", "payload_digest")
_ROWS: sa.Select[*tuple[Any, ...]] = (
    sa.select(*(sa.column(name) for name in (*_COLUMNS, "payload", "hash")))
    .select_from(sa.table("events"))
    .order_by(sa.column("seq"))
    .execution_options(yield_per=_PAGE_ROWS)
)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it was.

    Attributes:
        where: the event ("event/12") or the line of the checkpoint file ("checkpoint/3").
        message: what is wrong with it.
    """

    where: str
    message: str


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found.

    Attributes:
        events: how many events there are.
        head: hash of the last one; the genesis hash when there is none.
        checkpoints: how many signed checkpoints were compared.
        signed_through: sequence number of the last event that a checkpoint covers.
        erased: how many payloads were erased, each with an event that says so.
        key: fingerprint of the public key that the signatures were checked with; empty without checkpoints.
        problems: what is wrong, at most 100 of it; empty when the trail verifies.
    """

    events: int
    head: str
    checkpoints: int
    signed_through: int
    erased: int
    key: str
    problems: list[Problem]

    @property
    def verified(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def require(self) -> "AuditReport":
        """The report itself.

        Raises:
            AuditBroken: something is wrong; names the first place.
        """
        if self.problems:
            first = self.problems[0]
            raise AuditBroken(
                f"the audit trail does not verify: {first.message} ({len(self.problems)} found)",
                where=first.where,
                fix="Compare with a backup; headrace audit verify lists all that is wrong.",
            )
        return self


def verify(source: Database | Path, checkpoint_file: Path | None, public_key: Path | None = None) -> AuditReport:
    """Compare every event with the chain and the chain with the signed checkpoints.

    Args:
        source: the metadata database, or the path of an SQLite file, which may be a copy on another machine.
        checkpoint_file: HOME/audit/checkpoints.jsonl or a copy of it; None checks the chain alone.
        public_key: the key that the auditor trusts; by default the one that lies in the same home as the file.

    Raises:
        InvalidInput: the file is no database of this platform, or the key is no key.
    """
    problems: list[Problem] = []
    signed: list[Checkpoint] = []
    key = None
    if checkpoint_file is not None:
        if public_key is None:
            public_key = checkpoints.public_key_path(checkpoint_file.parent.parent)
        key = checkpoints.read_public_key(public_key)
        signed = list(_checked_checkpoints(checkpoint_file, key, problems))
    walk = _Walk({checkpoint.seq: checkpoint for checkpoint in signed}, problems)
    if isinstance(source, Path):
        _walk_file(source, walk)
    else:
        source.read(lambda tx: walk.over(tx.execute(_ROWS)))
    walk.finish(require_checkpoint=checkpoint_file is not None)
    return AuditReport(
        events=walk.count,
        head=walk.previous,
        checkpoints=len(signed),
        signed_through=max((checkpoint.seq for checkpoint in signed), default=0),
        erased=len(walk.empty & walk.erasures),
        key=checkpoints.fingerprint(key) if key is not None else "",
        problems=problems[:PROBLEMS_SHOWN],
    )


def sign_checkpoint(
    database: Database, checkpoint_file: Path, key: SigningKey, *, every: int = 1
) -> Checkpoint | None:
    """Sign the present head, if at least `every` events came since the last checkpoint; else do nothing.

    Only a chain that verifies from the last checkpoint on is signed, so that a checkpoint never vouches for
    an end that was exchanged since.

    Raises:
        AuditBroken: the events do not continue from the last checkpoint.
    """
    last = checkpoints.last_checkpoint(checkpoint_file)
    start = last.seq if last is not None else 0
    problems: list[Problem] = []

    def walk(tx: Tx) -> tuple[int, str, Any]:
        follower = _Walk({last.seq: last} if last is not None else {}, problems, start=start - 1 if last else 0)
        if events.head(tx) - start < every and last is not None:
            rows: Iterable[sa.Row[Any]] = tx.execute(_ROWS.where(sa.column("seq") == start))
        else:
            rows = tx.execute(_ROWS.where(sa.column("seq") >= start))
        follower.over(rows)
        follower.finish(require_checkpoint=False)
        return follower.expected - 1, follower.previous, tx.now

    seq, head, now = database.read(walk)
    if problems:
        raise AuditBroken(
            f"no checkpoint was signed: {problems[0].message}",
            where=problems[0].where,
            fix="Run: headrace audit verify",
        )
    if seq - start < every:
        return None
    return checkpoints.append(checkpoint_file, key, seq=seq, hash=head, at=now)


def erase_payload(tx: Tx, seq: int, reason: str) -> None:
    """Erase what an event says, for good; the chain still verifies, since it covers the digest alone.

    Args:
        tx: a write transaction.
        seq: the event.
        reason: why, for the event that records the erasure.

    Raises:
        NotFound: there is no such event in this workspace.
        Conflict: the event records an erasure itself.
    """
    table = tables.events
    row = tx.execute(
        sa.select(table.c.type, table.c.payload).where(table.c.seq == seq, table.c.workspace == tx.workspace)
    ).first()
    if row is None:
        raise NotFound("there is no such event", where=f"event/{seq}")
    if row.type == ERASED:
        raise Conflict("the record of an erasure stays", where=f"event/{seq}")
    if row.payload is None:
        return
    tx.execute(table.update().where(table.c.seq == seq).values(payload=None))
    events.append(tx, ERASED, f"event/{seq}", {"seq": seq, "reason": reason})


def copy_file(source: Path, target: Path) -> None:
    """Copy an SQLite database that may be in use, as of its last commit; a plain file copy would miss its log."""
    with closing(sqlite3.connect(source)) as connection, closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)


class _Erasure(msgspec.Struct):
    seq: int


class _Walk:
    """Goes along the rows and compares each with its predecessor, its payload and its checkpoint."""

    def __init__(self, signed: dict[int, Checkpoint], problems: list[Problem], *, start: int = 0) -> None:
        self._signed = dict(signed)
        self._had_checkpoints = bool(signed)
        self._problems = problems
        self._trusted_previous = start == 0  # in the middle, the first row's predecessor is not read
        self.expected = start + 1
        self.previous = events.GENESIS
        self.count = 0
        self.empty: set[int] = set()
        self.erasures: set[int] = set()

    def over(self, rows: Iterable[sa.Row[Any]]) -> None:
        for row in rows:
            self._row(row)

    def finish(self, *, require_checkpoint: bool) -> None:
        for seq in sorted(self.empty - self.erasures):
            self._report(f"event/{seq}", "its payload was removed and no event says so")
        if self._signed:
            last = max(self._signed)
            self._report(
                f"event/{min(self._signed)}",
                f"missing, though a signed checkpoint covers events up to {last}: the end was cut off, "
                "or an older copy was put back",
            )
        elif require_checkpoint and self.count and not self._had_checkpoints:
            self._report(
                "checkpoint/1", "there are events and no checkpoint was signed, or its file was taken away"
            )

    def _row(self, row: sa.Row[Any]) -> None:
        self.count += 1
        seq = row.seq
        where = f"event/{seq}"
        if not isinstance(seq, int) or seq < self.expected:
            self._report(where, "this sequence number is there twice or is none")
            return
        if seq > self.expected:
            missing = (
                f"event {self.expected}" if seq == self.expected + 1 else f"events {self.expected} to {seq - 1}"
            )
            self._report(f"event/{self.expected}", f"{missing} missing before event {seq}")
            for skipped in [known for known in self._signed if known < seq]:
                del self._signed[skipped]  # said already
        self.expected = seq + 1
        header = [getattr(row, name) for name in _COLUMNS]
        if self._trusted_previous and events.chain(self.previous, header) != row.hash:
            self._report(where, "it or its hash was changed, or it does not follow the event before it")
        self._trusted_previous = True
        self._payload(row, where)
        checkpoint = self._signed.pop(seq, None)
        if checkpoint is not None and checkpoint.hash != row.hash:
            self._report(where, "its hash is not the one that was signed: the chain was written anew")
        self.previous = str(row.hash)

    def _payload(self, row: sa.Row[Any], where: str) -> None:
        if row.payload is None:
            self.empty.add(row.seq)
            return
        if not isinstance(row.payload, str) or events.digest(row.payload) != row.payload_digest:
            self._report(where, "its payload was changed")
        elif row.type == ERASED:
            try:
                self.erasures.add(msgspec.json.decode(row.payload, type=_Erasure).seq)
            except msgspec.DecodeError:
                self._report(where, "it records an erasure of no event")

    def _report(self, where: str, message: str) -> None:
        self._problems.append(Problem(where=where, message=message))


def _checked_checkpoints(path: Path, key: Ed25519PublicKey, problems: list[Problem]) -> Iterator[Checkpoint]:
    """The checkpoints that the key signed; what is wrong with the others goes to `problems`."""
    previous, last_seq = checkpoints.FIRST, 0
    for number, line in enumerate(checkpoints.lines(path), 1):
        where = f"checkpoint/{number}"
        try:
            checkpoint = msgspec.json.decode(line, type=Checkpoint)
        except (msgspec.DecodeError, ValueError):
            problems.append(Problem(where=where, message="this line is no checkpoint"))
            previous = checkpoints.digest_of_line(line)
            continue
        if not checkpoints.verifies(checkpoint, key):
            problems.append(Problem(where=where, message="its signature is not from the trusted key"))
        elif checkpoint.previous != previous:
            problems.append(Problem(where=where, message="the checkpoint before it was changed or taken out"))
            yield checkpoint
        elif checkpoint.seq <= last_seq:
            problems.append(Problem(where=where, message="it covers less than the one before it"))
        else:
            yield checkpoint
            last_seq = checkpoint.seq
        previous = checkpoints.digest_of_line(line)


def _walk_file(path: Path, walk: _Walk) -> None:
    if not path.is_file():
        raise InvalidInput("there is no such file", where=str(path), fix="Name an SQLite database of Headrace.")
    location = f"file:{quote(str(path.absolute()))}?mode=ro"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(location, uri=True)
        # forged bytes that are no text shall fail the hash, not the verifier
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        return connection

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            walk.over(connection.execute(_ROWS))
    except sa.exc.DBAPIError as error:
        raise InvalidInput(
            f"this is no readable database of Headrace: {error.orig}",
            where=str(path),
            fix="Name an SQLite database of Headrace.",
        ) from error
    finally:
        engine.dispose()
