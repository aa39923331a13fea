"""Walking the graph of lineage: around a subject step by step, and from subjects to all of one kind.

A walk shows, so it is bounded: so many steps, so many neighbours of one subject and so many subjects in all at the
most, and it says of each subject how many neighbours it leaves out. `reached` answers which ones, so it leaves
nothing out and comes in pages.
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
from headrace.kernel.tables import lineage_edges, lineage_subjects

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


def _reach(dialect: Dialect, direction: Direction) -> Any:
    """All subjects that the roots lead to, the roots among them."""
    here, there = _ENDS[direction]
    roots = sa.select(lineage_subjects.c.number).where(dialect.among(lineage_subjects.c.number, "roots"))
    reach = roots.cte("reach", recursive=True)
    step = sa.select(lineage_edges.c[there]).join_from(
        reach, lineage_edges, lineage_edges.c[here] == reach.c.number
    )
    return reach.union(step)  # not UNION ALL: what was met is not walked again, so a circle ends


def _reached(dialect: Dialect, direction: Direction) -> sa.Select[Any]:
    reach = _reach(dialect, direction)
    return (
        sa.select(*(lineage_subjects.c[name] for name in COLUMNS))
        .join_from(reach, lineage_subjects, lineage_subjects.c.number == reach.c.number)
        .where(
            lineage_subjects.c.kind == sa.bindparam("kind"),
            lineage_subjects.c.number < sa.bindparam("before"),
        )
        .order_by(lineage_subjects.c.number.desc())
        .limit(sa.bindparam("limit"))
    )


_REACHED = Prepared(lambda dialect: _reached(dialect, "down"))
_REACHED_AMONG = Prepared(
    lambda dialect: _reached(dialect, "down").where(dialect.among(lineage_subjects.c.subject, "among"))
)


def reached(
    tx: Tx,
    roots: Sequence[int],
    kind: str,
    *,
    limit: int,
    before: int | None = None,
    among: Sequence[str] | None = None,
) -> tuple[list[Subject], int | None]:
    """A page of the subjects of one kind that any of the roots leads down to, newest first, and where it ended.

    Args:
        tx: the transaction.
        roots: numbers of subjects.
        kind: of the subjects that are asked for.
        limit: how many.
        before: where the page before ended.
        among: only those that are among these.
    """
    asked: dict[str, Any] = {
        "roots": list(roots),
        "kind": kind,
        "before": _LAST if before is None else before,
        "limit": limit + 1,
    }
    rows = _REACHED.rows(tx, **asked) if among is None else _REACHED_AMONG.rows(tx, among=list(among), **asked)
    found = [subject_of(row) for row in rows]
    return found[:limit], found[limit - 1].number if len(found) > limit else None


def _above(dialect: Dialect) -> sa.Select[Any]:
    reach = _reach(dialect, "up")
    return sa.select(lineage_subjects.c.subject).join_from(
        reach, lineage_subjects, lineage_subjects.c.number == reach.c.number
    )


_ABOVE = Prepared(_above)


def above(tx: Tx, subject: str) -> set[str]:
    """The names of everything that a subject was made from, however far up; its own is among them."""
    found = lineage.find(tx, subject)
    return set() if found is None else {name for (name,) in _ABOVE.rows(tx, roots=[found.number])}


def _through(dialect: Dialect) -> sa.Select[Any]:
    subjects, edges = lineage_subjects, lineage_edges
    first = sa.select(subjects.c.number.label("origin"), subjects.c.number.label("number"))
    reach = first.where(dialect.among(subjects.c.number, "origins")).cte("reach", recursive=True)
    step = sa.select(reach.c.origin, edges.c.upstream).join_from(reach, edges, edges.c.downstream == reach.c.number)
    reach = reach.union(step)
    return sa.select(reach.c.origin, reach.c.number).where(dialect.among(reach.c.number, "roots"))


_THROUGH = Prepared(_through)


def through(tx: Tx, origins: Iterable[int], roots: Sequence[int]) -> dict[int, list[int]]:
    """Which of the roots each of some subjects comes from."""
    found: dict[int, list[int]] = {}
    for origin, root in sorted(_THROUGH.rows(tx, origins=list(origins), roots=list(roots))):
        found.setdefault(origin, []).append(root)
    return found
