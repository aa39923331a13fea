"""Governance's records: what lineage answers."""

from datetime import datetime
from typing import Any

import msgspec

from headrace.registry.nouns import Stage


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a version was made from, or that came of it.

    Attributes:
        subject: `<kind>/<name>`.
        at: when it came into the graph.
        deleted_at: when it was deleted; it is still shown.
        facts: what is known of it, by kind: a version's stage, a run's status, a release's phase.
        more_upstream: how many of its neighbours upstream are not shown.
        more_downstream: likewise downstream.
    """

    subject: str
    kind: str
    name: str
    at: datetime
    deleted_at: datetime | None = None
    facts: dict[str, Any] = {}
    more_upstream: int = 0
    more_downstream: int = 0


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """Which thing was made from which; it reads as a sentence: `run/1 registered as version/churn/1`."""

    upstream: str
    relation: str
    downstream: str
    at: datetime


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """What is around one thing.

    Attributes:
        subject: what was asked about.
        nodes: it first, then what is above it, nearest first, then what is below it.
        edges: between them.
        notes: what is not shown, in words; empty when all is.
    """

    subject: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    notes: tuple[str, ...] = ()


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """One neighbour with the edge to it."""

    node: Node
    edge: Edge


class Neighbours(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the neighbours of one thing, newest first; `next_cursor` is empty on the last one."""

    neighbours: tuple[Neighbour, ...]
    next_cursor: str = ""


class Uses(msgspec.Struct, frozen=True, kw_only=True):
    """Which versions are asked for: those that come from one thing.

    Attributes:
        table: a source, a lake table such as `sources/purchases`, one of its versions such as
            `sources/purchases@3`, or a dataset that a run logged.
        feature: `VIEW.FEATURE`.
        view: a feature view, or one of its versions such as `activity@2`.
        commit: a commit, or its first digits.
        package: a package with versions as pip writes them, such as `numpy<2.1`.
        subject: anything else, by its name in the graph.
        unpinned: instead those that name the package without an exact version.
        production: only what is in production now.
    """

    table: str = ""
    feature: str = ""
    view: str = ""
    commit: str = ""
    package: str = ""
    subject: str = ""
    unpinned: bool = False
    production: bool = False


class Through(msgspec.Struct, frozen=True, kw_only=True):
    """By what a version uses what was asked for.

    Attributes:
        detail: of a package, its version, or what is asked for instead of one.
    """

    subject: str
    detail: str = ""


class VersionUse(msgspec.Struct, frozen=True, kw_only=True):
    """A version that uses what was asked for.

    Attributes:
        stage: None for one that was deleted.
        through: the first ways by which it does.
    """

    subject: str
    model: str
    number: int
    stage: Stage | None
    owner: str
    registered_at: datetime
    deleted_at: datetime | None = None
    through: tuple[Through, ...] = ()


class UsesPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of versions, newest first.

    Attributes:
        found: what the question meant, the first names of it.
        unpinned: whether versions name the package without an exact version; ask for those by `unpinned`.
        next_cursor: empty on the last page.
    """

    found: tuple[str, ...]
    versions: tuple[VersionUse, ...]
    unpinned: bool = False
    next_cursor: str = ""
