"""Lineage around one thing: from data and code up, over runs and versions, down to releases and their answers."""

from typing import NamedTuple

from headrace.errors import InvalidInput, NotFound
from headrace.governance.facts import facts_of
from headrace.governance.nouns import Edge, Lineage, Neighbour, Neighbours, Node
from headrace.kernel import lineage, lineage_walks
from headrace.kernel.database import Tx
from headrace.kernel.lineage import Subject
from headrace.kernel.lineage_walks import Bounds, Direction, Walk
from headrace.registry import naming, versions
from headrace.registry.lineage import version_subject
from headrace.tracking import cursors

DEPTH_LIMIT = 50
NEIGHBOURS_LIMIT = 200
NODES_LIMIT = 1_000
PASSED_OVER = ("feature",)
"""A version names its features itself; shown one by one they would hide the rest."""
NOTES_LIMIT = 5


class View(NamedTuple):
    """How much of a graph is shown: as `Bounds`, in the directions that are asked for."""

    up: bool = True
    down: bool = True
    depth: int = 12
    neighbours: int = 20
    nodes: int = 300


VIEW = View()


def around(tx: Tx, name: str, view: View = VIEW) -> Lineage:
    """What a thing was made from, and what came of it.

    Args:
        tx: the transaction.
        name: `MODEL@3`, `MODEL@champion`, `MODEL@production`, or a name in the graph such as `run/<id>`.
        view: how much is shown.

    Raises:
        InvalidInput: it is no name, or more is asked for than is shown.
        NotFound: nothing of this name is in the graph.
    """
    _check(view)
    start = resolve(tx, name)
    bounds = Bounds(depth=view.depth, neighbours=view.neighbours, subjects=view.nodes)
    nothing = Walk({start.number: start}, [], {})
    walks: dict[Direction, Walk] = {"up": nothing, "down": nothing}
    if view.up:
        walks["up"] = lineage_walks.walk(tx, start.number, "up", bounds, without=PASSED_OVER)
    if view.down:
        walks["down"] = lineage_walks.walk(tx, start.number, "down", bounds, without=PASSED_OVER)
    subjects = {number: subject for walk in walks.values() for number, subject in walk.subjects.items()}
    edges = {(edge.upstream, edge.downstream): edge for walk in walks.values() for edge in walk.edges}
    more_up, more_down = walks["up"].more, walks["down"].more
    return Lineage(
        subject=start.subject,
        nodes=tuple(
            _node(tx, subject, more_up.get(number, 0), more_down.get(number, 0))
            for number, subject in subjects.items()
        ),
        edges=tuple(_edge(edge, subjects) for edge in edges.values()),
        notes=tuple(_notes(subjects, more_up, "upstream") + _notes(subjects, more_down, "downstream")),
    )


def neighbours(tx: Tx, name: str, direction: Direction, *, limit: int, cursor: str = "") -> Neighbours:
    """A page of what a thing was made from directly, or what came of it directly.

    Raises:
        InvalidInput: it is no name, or the cursor is none.
        NotFound: nothing of this name is in the graph.
    """
    start = resolve(tx, name)
    signature = cursors.signature("neighbours", start.number, direction)
    after = cursors.read(signature, cursor)
    before = None if after is None else int(after[0])
    page, ended = lineage_walks.page(tx, start.number, direction, before=before, limit=limit)
    return Neighbours(
        neighbours=tuple(
            Neighbour(
                node=_node(tx, subject, 0, 0),
                edge=_edge(edge, {start.number: start, subject.number: subject}),
            )
            for subject, edge in page
        ),
        next_cursor=cursors.write(signature, None if ended is None else (ended,)),
    )


def resolve(tx: Tx, name: str) -> Subject:
    """The thing that a name means.

    Raises:
        InvalidInput: it is no name.
        NotFound: nothing of this name is in the graph.
    """
    subject = name if "/" in name else _version(tx, name)
    found = lineage.find(tx, subject)
    if found is None and "/" not in name:
        model = name.rpartition("@")[0]
        naming.found_of(tx, model, versions.numbers(tx, model))
    if found is None:
        raise NotFound(
            f"nothing is known of {name[:200]}",
            where=subject[:200],
            fix="A run comes into the graph once a version is registered from it; a version when it is registered.",
        )
    return found


def _version(tx: Tx, name: str) -> str:
    found = versions.named(tx, name)
    if found is not None:
        return version_subject(found.model, found.number)
    model, _, number = name.rpartition("@")
    return version_subject(model, int(number))  # deleted, perhaps: the graph knows


def _check(view: View) -> None:
    bounds = (("depth", view.depth, DEPTH_LIMIT), ("neighbours", view.neighbours, NEIGHBOURS_LIMIT))
    for name, value, most in (*bounds, ("nodes", view.nodes, NODES_LIMIT)):
        if not 1 <= value <= most:
            raise InvalidInput(f"{name} is 1 to {most}", where=name)


def _node(tx: Tx, subject: Subject, more_upstream: int, more_downstream: int) -> Node:
    return Node(
        subject=subject.subject,
        kind=subject.kind,
        name=subject.name,
        at=subject.at,
        deleted_at=subject.ended_at,
        facts=facts_of(tx, subject),
        more_upstream=more_upstream,
        more_downstream=more_downstream,
    )


def _edge(edge: lineage_walks.Edge, subjects: dict[int, Subject]) -> Edge:
    return Edge(
        upstream=subjects[edge.upstream].subject,
        relation=edge.relation,
        downstream=subjects[edge.downstream].subject,
        at=edge.at,
    )


def _notes(subjects: dict[int, Subject], more: dict[int, int], where: str) -> list[str]:
    """What was left out, in words."""
    told = [
        f"{count:,} more {where} of {subjects[number].subject} are not shown"
        for number, count in list(more.items())[:NOTES_LIMIT]
    ]
    if len(more) > NOTES_LIMIT:
        told.append(f"and likewise {where} of {len(more) - NOTES_LIMIT} others")
    return told
