"""Lineage: what was made from what, as one graph that each room adds to in the transaction of its own change.

Like pins, it knows names and nothing of what they mean: `run/<id>`, `version/churn/3`, `lake/sources/purchases@3`.
An edge leads downstream, from what was used to what came of it. Nothing is ever taken out: what is deleted is
marked, so that a question about the past is still answered. Edges hold numbers, so that a subject that gets another
name keeps its place.

Which versions come from a subject is kept beside the edges (`lineage_versions`), since it is asked of tables that
thousands of versions were trained on. Versions are the one kind that this module knows.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from headrace.errors import InvalidInput
from headrace.kernel.database import Tx
from headrace.kernel.prepared import InsertMany, Prepared, Row
from headrace.kernel.schema import from_microseconds, to_microseconds
from headrace.kernel.tables import lineage_edges, lineage_subjects, lineage_versions

VERSION = "version"
ASIDE = "~"
"""Before the number at the end of a name that was given to another subject since."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in the graph.

    Attributes:
        number: its lasting number.
        subject: `<kind>/<name>`.
        about: what is worth keeping of it, even after it was deleted.
        at: when it came into the graph.
        ended_at: when it was deleted.
    """

    number: int
    subject: str
    about: dict[str, Any]
    at: datetime
    ended_at: datetime | None = None

    @property
    def kind(self) -> str:
        """What it is."""
        return self.subject.partition("/")[0]

    @property
    def name(self) -> str:
        """Which one of its kind."""
        return self.subject.partition("/")[2]


class Link(NamedTuple):
    """An edge that reads as a sentence: `run/1 registered as version/churn/1`."""

    upstream: str
    relation: str
    downstream: str


COLUMNS = ("number", "subject", "about", "at", "ended_at")

_ADD_SUBJECTS = InsertMany(lineage_subjects, ("workspace", "kind", "subject", "about", "at"), keep_existing=True)
_ADD_EDGES = InsertMany(
    lineage_edges,
    ("upstream", "downstream", "workspace", "relation", "at"),
    keep_existing=True,
    returning=("upstream", "downstream"),
)
_ADD_VERSIONS = InsertMany(lineage_versions, ("origin", "version", "workspace"), keep_existing=True)


_UPSTREAM = Prepared(
    lambda dialect: sa.select(lineage_edges.c.downstream, lineage_edges.c.upstream).where(
        dialect.among(lineage_edges.c.downstream, "numbers")
    )
)
_DOWNSTREAM = Prepared(
    lambda dialect: sa.select(lineage_edges.c.upstream, lineage_edges.c.downstream).where(
        dialect.among(lineage_edges.c.upstream, "numbers")
    )
)
_VERSIONS_OF = Prepared(
    lambda dialect: sa.select(lineage_subjects.c.number).where(
        dialect.among(lineage_subjects.c.number, "numbers"), lineage_subjects.c.kind == VERSION
    )
)
_FIND = Prepared(
    lambda dialect: sa.select(*(lineage_subjects.c[name] for name in COLUMNS)).where(
        lineage_subjects.c.workspace == sa.bindparam("workspace"),
        dialect.among(lineage_subjects.c.subject, "subjects"),
    )
)
_FIND_NUMBERS = Prepared(
    lambda dialect: sa.select(*(lineage_subjects.c[name] for name in COLUMNS)).where(
        dialect.among(lineage_subjects.c.number, "numbers")
    )
)


def enter(tx: Tx, subject: str, about: Mapping[str, Any] | None = None) -> int:
    """Have a subject in the graph, and say what is worth keeping of it; returns its number."""
    number = _numbers(tx, {subject})[subject]
    if about is not None:
        tx.execute(sa.update(lineage_subjects).where(lineage_subjects.c.number == number).values(about=dict(about)))
    return number


def connect(tx: Tx, links: Iterable[Link]) -> None:
    """Add edges, with those of their subjects that are not in the graph yet; what is there already stays."""
    wanted = [link for link in dict.fromkeys(links) if link.upstream != link.downstream]
    if not wanted:
        return
    numbers = _numbers(tx, {end for link in wanted for end in (link.upstream, link.downstream)})
    at = to_microseconds(tx.now)
    rows = [(numbers[link.upstream], numbers[link.downstream], tx.workspace, link.relation, at) for link in wanted]
    _add_versions(tx, _ADD_EDGES.run(tx, rows))


def end(tx: Tx, subject: str) -> None:
    """Mark a subject as deleted; it keeps its edges. One that is not in the graph stays out of it."""
    table = lineage_subjects
    alive = sa.and_(table.c.workspace == tx.workspace, table.c.subject == subject, table.c.ended_at.is_(None))
    tx.execute(sa.update(table).where(alive).values(ended_at=tx.now))


def end_below(tx: Tx, prefix: str) -> None:
    """Mark all subjects whose names begin alike as deleted."""
    table = lineage_subjects
    alive = sa.and_(table.c.workspace == tx.workspace, beginning_with(prefix), table.c.ended_at.is_(None))
    tx.execute(sa.update(table).where(alive).values(ended_at=tx.now))


def put_aside(tx: Tx, subject: str, *, ended_only: bool = True) -> None:
    """Take the name from a deleted subject, since a new one gets it: `version/churn/1` is `version/churn/1~57`.

    Args:
        tx: the transaction.
        subject: the name.
        ended_only: False takes it from one that is not deleted too, and marks it so.
    """
    table = lineage_subjects
    mine = sa.and_(table.c.workspace == tx.workspace, table.c.subject == subject)
    if ended_only:
        mine = sa.and_(mine, table.c.ended_at.is_not(None))
    ended = sa.func.coalesce(table.c.ended_at, to_microseconds(tx.now))
    tx.execute(sa.update(table).where(mine).values(subject=_aside(), ended_at=ended))


def rename_below(tx: Tx, before: str, after: str) -> None:
    """Give all subjects whose names begin with `before` names that begin with `after`, deleted ones too.

    What bears one of the new names already was deleted, and is put aside.
    """
    table = lineage_subjects
    renamed = sa.literal(after) + sa.func.substr(table.c.subject, len(before) + 1)
    not_aside = sa.not_(table.c.subject.like(sa.literal(f"%{ASIDE}") + sa.cast(table.c.number, sa.Text)))
    mine = sa.and_(table.c.workspace == tx.workspace, beginning_with(before), not_aside)
    taken = sa.select(renamed).where(mine).scalar_subquery()
    in_the_way = sa.and_(table.c.workspace == tx.workspace, beginning_with(after), table.c.subject.in_(taken))
    tx.execute(sa.update(table).where(in_the_way).values(subject=_aside()))
    tx.execute(sa.update(table).where(mine).values(subject=renamed))


def find(tx: Tx, subject: str) -> Subject | None:
    """A subject, deleted or not."""
    return find_all(tx, [subject]).get(subject)


def find_all(tx: Tx, subjects: Iterable[str]) -> dict[str, Subject]:
    """Those of the subjects that are in the graph, by name."""
    rows = _FIND.rows(tx, workspace=tx.workspace, subjects=list(subjects))
    return {found.subject: found for found in map(subject_of, rows)}


def numbered(tx: Tx, numbers: Iterable[int]) -> dict[int, Subject]:
    """Subjects by their numbers."""
    return {found.number: found for found in map(subject_of, _FIND_NUMBERS.rows(tx, numbers=list(numbers)))}


def find_below(tx: Tx, prefix: str, *, limit: int) -> list[Subject]:
    """Subjects whose names begin alike, by name; deleted ones too."""
    table = lineage_subjects
    query = (
        sa.select(*(table.c[name] for name in COLUMNS))
        .where(table.c.workspace == tx.workspace, beginning_with(prefix))
        .order_by(table.c.subject)
        .limit(limit)
    )
    return [Subject(**row._mapping) for row in tx.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name


def beginning_with(prefix: str) -> sa.ColumnElement[bool]:
    """A subject begins with a text that ends in an ASCII character: a range of the index."""
    column = lineage_subjects.c.subject
    return sa.and_(column >= prefix, column < prefix[:-1] + chr(ord(prefix[-1]) + 1))


def everything_above(tx: Tx, numbers: Iterable[int]) -> set[int]:
    """The numbers of all that some subjects were made from, however far up; theirs are among them."""
    return _led_to(_steps(tx, _UPSTREAM, numbers), numbers)


def subject_of(row: Row) -> Subject:
    """The subject of a row of COLUMNS, as it is stored."""
    number, subject, about, at, ended_at = row
    return Subject(
        number=number,
        subject=subject,
        about=msgspec.json.decode(about),
        at=from_microseconds(at),
        ended_at=None if ended_at is None else from_microseconds(ended_at),
    )


def _numbers(tx: Tx, subjects: set[str]) -> dict[str, int]:
    """The numbers of subjects, which come into the graph now if they have none.

    Raises:
        InvalidInput: a name holds NUL, which ends a text where SQLite reads it from JSON.
    """
    unfit = next((name for name in sorted(subjects) if "\x00" in name), None)
    if unfit is not None:
        raise InvalidInput("a name holds no NUL", where=unfit.partition("/")[0], fix="Leave the sign out.")
    known = {name: found.number for name, found in find_all(tx, subjects).items()}
    missing = sorted(subjects - known.keys())
    if missing:
        at = to_microseconds(tx.now)
        rows = [(tx.workspace, name.partition("/")[0], name, "{}", at) for name in missing]
        _ADD_SUBJECTS.run(tx, rows)
        known |= {name: found.number for name, found in find_all(tx, missing).items()}
    return known


def _add_versions(tx: Tx, fresh: list[Row]) -> None:
    """Keep which versions come from what, after new edges: what is above an edge leads to all below it."""
    down = _steps(tx, _DOWNSTREAM, {downstream for _, downstream in fresh})
    below = {downstream: _led_to(down, [downstream]) for _, downstream in fresh}
    met = set().union(*below.values())
    versions = {number for (number,) in _VERSIONS_OF.rows(tx, numbers=list(met))} if met else set()
    if not versions:
        return
    leading = [(upstream, below[downstream] & versions) for upstream, downstream in fresh]
    up = _steps(tx, _UPSTREAM, {upstream for upstream, led_to in leading if led_to})
    pairs: dict[tuple[int, int], None] = {}
    for upstream, led_to in leading:
        if led_to:
            pairs |= {(origin, each): None for origin in _led_to(up, [upstream]) for each in led_to}
    _ADD_VERSIONS.run(tx, [(*pair, tx.workspace) for pair in pairs if pair[0] != pair[1]])


def _steps(tx: Tx, step: Prepared, numbers: Iterable[int]) -> dict[int, list[int]]:
    """All edges that lead on from some subjects, by where they begin.

    A statement for each ring of neighbours and not a recursive one, for which PostgreSQL's plans are poor.
    """
    steps: dict[int, list[int]] = {number: [] for number in numbers}
    ring = list(steps)
    while ring:
        following: dict[int, None] = {}
        for here, there in step.rows(tx, numbers=ring):
            steps[here].append(there)
            if there not in steps:
                following[there] = None
        ring = list(following)
        steps.update({number: [] for number in ring})
    return steps


def _led_to(steps: Mapping[int, list[int]], numbers: Iterable[int]) -> set[int]:
    """What some subjects lead to by steps, themselves among it."""
    found = set(numbers)
    left = list(found)
    while left:
        fresh = [number for number in steps[left.pop()] if number not in found]
        found.update(fresh)
        left += fresh
    return found


def _aside() -> Any:
    table = lineage_subjects
    return table.c.subject + ASIDE + sa.cast(table.c.number, sa.Text)
