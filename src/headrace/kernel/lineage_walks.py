"""Walking the graph of lineage: around a subject step by step, and from subjects to the versions made from them.

A walk shows, so it is bounded: so many steps, so many neighbours of one subject and so many subjects in all at the
most, and it says of each subject how many neighbours it leaves out. `versions_from` answers which ones, so it
leaves nothing out and comes in pages.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from headrace.kernel import lineage
from headrace.kernel.database import Tx
from headrace.kernel.lineage import COLUMNS, Subject, subject_of
from headrace.kernel.prepared import Dialect, Prepared
from headrace.kernel.schema import from_microseconds
from headrace.kernel.tables import lineage_edges, lineage_subjects, lineage_versions

Direction = Literal["up", "down"]

_LAST = 2**62


class Bounds(NamedTuple):
    """How much a walk shows.

    Attributes:
        depth: how many steps away.
        neighbours: of one subject.
        subjects: in all.
    """

    depth: int = 12
    neighbours: int = 20
    subjects: int = 300


BOUNDS = Bounds()


class Edge(NamedTuple):
    """An edge between two subjects, by number."""

    upstream: int
    downstream: int
    relation: str
    at: datetime


class Walk(NamedTuple):
    """What a walk saw.

    Attributes:
        subjects: by number, nearest first; where it began is among them.
        edges: in the order in which they were met.
        more: how many neighbours of a subject were left out.
    """

    subjects: dict[int, Subject]
    edges: list[Edge]
    more: dict[int, int]


def _neighbours(dialect: Dialect, here: str, there: str) -> sa.Select[Any]:
    edges = lineage_edges
    return (
        sa.select(edges.c[there], edges.c.relation, edges.c.at)
        .join(lineage_subjects, lineage_subjects.c.number == edges.c[there])
        .where(
            edges.c[here] == sa.bindparam("number"),
            sa.not_(dialect.among(lineage_subjects.c.kind, "without")),
            edges.c[there] < sa.bindparam("before"),
        )
        .order_by(edges.c[there].desc())
        .limit(sa.bindparam("limit"))
    )


def _count(dialect: Dialect, here: str, there: str) -> sa.Select[Any]:
    edges = lineage_edges
    return (
        sa.select(sa.func.count())
        .select_from(edges)
        .join(lineage_subjects, lineage_subjects.c.number == edges.c[there])
        .where(
            edges.c[here] == sa.bindparam("number"),
            sa.not_(dialect.among(lineage_subjects.c.kind, "without")),
        )
    )


_ENDS: dict[Direction, tuple[str, str]] = {"up": ("downstream", "upstream"), "down": ("upstream", "downstream")}
_NEIGHBOURS: dict[Direction, Prepared] = {
    "up": Prepared(lambda dialect: _neighbours(dialect, *_ENDS["up"])),
    "down": Prepared(lambda dialect: _neighbours(dialect, *_ENDS["down"])),
}
_COUNT: dict[Direction, Prepared] = {
    "up": Prepared(lambda dialect: _count(dialect, *_ENDS["up"])),
    "down": Prepared(lambda dialect: _count(dialect, *_ENDS["down"])),
}


def walk(
    tx: Tx, start: int, direction: Direction, bounds: Bounds = BOUNDS, *, without: Collection[str] = ()
) -> Walk:
    """Walk from a subject, breadth first; of many neighbours the newest are shown.

    Args:
        tx: the transaction.
        start: the number of a subject.
        direction: up to what it was made from, or down to what came of it.
        bounds: how much is shown.
        without: kinds of subjects that are passed over.
    """
    found: dict[int, None] = {start: None}
    edges: list[Edge] = []
    more: dict[int, int] = {}
    ring = [start]
    for _ in range(bounds.depth):
        following: list[int] = []
        for number in ring:
            shown = 0
            for edge in _edges(tx, number, direction, without, bounds.neighbours):
                other = edge.upstream if direction == "up" else edge.downstream
                if other not in found:
                    if len(found) >= bounds.subjects:
                        continue
                    found[other] = None
                    following.append(other)
                edges.append(edge)
                shown += 1
            if shown >= bounds.neighbours or len(found) >= bounds.subjects:
                _note(more, number, neighbours(tx, number, direction, without) - shown)
        ring = following
    for number in ring:
        _note(more, number, neighbours(tx, number, direction, without))
    known = lineage.numbered(tx, found)
    return Walk({number: known[number] for number in found}, edges, more)


def neighbours(tx: Tx, number: int, direction: Direction, without: Collection[str] = ()) -> int:
    """How many neighbours a subject has in one direction."""
    return int(_COUNT[direction].rows(tx, number=number, without=list(without))[0][0])


def page(
    tx: Tx, number: int, direction: Direction, *, before: int | None, limit: int
) -> tuple[list[tuple[Subject, Edge]], int | None]:
    """A page of a subject's neighbours, newest first, and where it ended when another follows."""
    found = _edges(tx, number, direction, (), limit + 1, before=before)
    shown = found[:limit]
    others = [edge.upstream if direction == "up" else edge.downstream for edge in shown]
    known = lineage.numbered(tx, others)
    ended = others[-1] if len(found) > limit else None
    return [(known[other], edge) for other, edge in zip(others, shown, strict=True)], ended


def _edges(
    tx: Tx,
    number: int,
    direction: Direction,
    without: Collection[str],
    limit: int,
    *,
    before: int | None = None,
) -> list[Edge]:
    rows = _NEIGHBOURS[direction].rows(
        tx, number=number, without=list(without), limit=limit, before=_LAST if before is None else before
    )
    if direction == "up":
        return [Edge(other, number, relation, from_microseconds(at)) for other, relation, at in rows]
    return [Edge(number, other, relation, from_microseconds(at)) for other, relation, at in rows]


def _note(more: dict[int, int], number: int, count: int) -> None:
    if count > 0:
        more[number] = count


def _from_one(_: Dialect) -> sa.Select[Any]:
    versions, subjects = lineage_versions, lineage_subjects
    return (
        sa.select(*(subjects.c[name] for name in COLUMNS))
        .join_from(versions, subjects, subjects.c.number == versions.c.version)
        .where(versions.c.origin == sa.bindparam("root"), versions.c.version < sa.bindparam("before"))
        .order_by(versions.c.version.desc())
        .limit(sa.bindparam("limit"))
    )


def _from_several(dialect: Dialect) -> sa.Select[Any]:
    versions, subjects = lineage_versions, lineage_subjects
    some = (
        sa.select(versions.c.version)
        .where(
            dialect.among(versions.c.origin, "roots"),
            versions.c.version < sa.bindparam("before"),
            sa.not_(_from_any(dialect, versions.c.version, "but")),
        )
        .distinct()
        .order_by(versions.c.version.desc())
        .limit(sa.bindparam("limit"))
        .subquery()
    )
    columns = (subjects.c[name] for name in COLUMNS)
    query = sa.select(*columns).join_from(some, subjects, subjects.c.number == some.c.version)
    return query.order_by(subjects.c.number.desc())


def _among(dialect: Dialect) -> sa.Select[Any]:
    subjects = lineage_subjects
    return (
        sa.select(*(subjects.c[name] for name in COLUMNS))
        .where(
            subjects.c.workspace == sa.bindparam("workspace"),
            dialect.among(subjects.c.subject, "among"),
            subjects.c.number < sa.bindparam("before"),
            _from_any(dialect, subjects.c.number, "roots"),
            sa.not_(_from_any(dialect, subjects.c.number, "but")),
        )
        .order_by(subjects.c.number.desc())
        .limit(sa.bindparam("limit"))
    )


def _from_any(dialect: Dialect, version: Any, roots: str) -> sa.ColumnElement[bool]:
    """A version comes from one of some roots."""
    known = lineage_versions.alias(f"from_{roots}")
    return sa.exists().where(known.c.version == version, dialect.among(known.c.origin, roots))


_FROM_ONE = Prepared(_from_one)
_FROM_SEVERAL = Prepared(_from_several)
_AMONG = Prepared(_among)


def versions_from(
    tx: Tx,
    roots: Sequence[int],
    *,
    limit: int,
    before: int | None = None,
    among: Sequence[str] | None = None,
    but: Sequence[int] = (),
) -> tuple[list[Subject], int | None]:
    """A page of the versions that come from any of the roots, newest first, and where it ended.

    Args:
        tx: the transaction.
        roots: numbers of subjects.
        limit: how many.
        before: where the page before ended.
        among: only those of these subjects.
        but: none that comes from one of these roots too.
    """
    asked: dict[str, Any] = {"before": _LAST if before is None else before, "limit": limit + 1}
    if among is not None:
        rows = _AMONG.rows(tx, workspace=tx.workspace, roots=list(roots), but=list(but), among=list(among), **asked)
    elif len(roots) == 1 and not but:
        rows = _FROM_ONE.rows(tx, root=roots[0], **asked)
    else:
        rows = _FROM_SEVERAL.rows(tx, roots=list(roots), but=list(but), **asked)
    found = [subject_of(row) for row in rows]
    return found[:limit], found[limit - 1].number if len(found) > limit else None


def above(tx: Tx, subject: str) -> set[str]:
    """The names of everything that a subject was made from, however far up; its own is among them."""
    found = lineage.find(tx, subject)
    if found is None:
        return set()
    return {each.subject for each in lineage.numbered(tx, lineage.everything_above(tx, [found.number])).values()}


_THROUGH = Prepared(
    lambda dialect: sa.select(lineage_versions.c.version, lineage_versions.c.origin).where(
        dialect.among(lineage_versions.c.version, "versions"), dialect.among(lineage_versions.c.origin, "roots")
    )
)


def through(tx: Tx, versions: Iterable[int], roots: Sequence[int]) -> dict[int, list[int]]:
    """Which of the roots each of some versions comes from."""
    found: dict[int, list[int]] = {}
    for version, root in sorted(_THROUGH.rows(tx, versions=list(versions), roots=list(roots))):
        found.setdefault(version, []).append(root)
    return found
