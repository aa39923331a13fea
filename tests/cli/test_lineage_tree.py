"""Lineage as it is drawn: one line for each thing, nothing twice, and what is cut is said."""

import io
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from headrace.cli.lineage_lines import short
from headrace.cli.lineage_tree import LineageTree
from headrace.governance.nouns import Edge, Lineage, Node

THEN = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
DIGEST = "sha256:" + "ab" * 32


def node(subject: str, more: int = 0, **facts: Any) -> Node:
    kind, _, name = subject.partition("/")
    return Node(subject=subject, kind=kind, name=name, at=THEN, facts=facts, more_downstream=more)


def edge(upstream: str, downstream: str) -> Edge:
    return Edge(upstream=upstream, relation="made", downstream=downstream, at=THEN)


VERSION = node(
    "version/churn/3",
    stage="Production",
    aliases=["champion"],
    owner="team [growth]",
    author="dana",
    registered_at=THEN.isoformat(),
    digest=DIGEST,
    description="calibrated",
    metrics={"roc_auc": {"value": 0.78, "low": 0.76, "high": 0.8}, "x": {"value": 1.5, "low": None, "high": None}},
    code_commit="3ac41f" + "0" * 34,
    code_dirty=True,
    code_diff=DIGEST,
    features={"activity@2": [f"f{number}" for number in range(6)]},
)
NODES = (
    VERSION,
    node("run/" + "1" * 32, name="bold-otter", experiment="churn", status="FINISHED", deleted=True),
    node("training-set/ts_1", rows=2357, as_of="1997-05-01T00:00:00Z", content_digest=DIGEST),
    node("lake/sources/purchases@3"),
    node("lake/sources/purchases"),
    node("source/purchases/1"),
    node("view/activity/2"),
    node("commit/3ac41f" + "0" * 34),
    node(f"environment/{DIGEST}", python="3.11.7", packages=212),
    node("release/rel_1", phase="rolled_back", verdicts={"PASS": 2, "BETTER": 1}, approved_by=["ravi", "bo"]),
    node("predictions/churn/3", requests=12_345, faults=2),
)
RUN = NODES[1].subject
EDGES = (
    edge(RUN, VERSION.subject),
    edge("view/activity/2", VERSION.subject),
    edge(f"environment/{DIGEST}", VERSION.subject),
    edge("training-set/ts_1", RUN),
    edge(NODES[7].subject, RUN),
    edge("lake/sources/purchases@3", "training-set/ts_1"),
    edge("lake/sources/purchases", "lake/sources/purchases@3"),
    edge("source/purchases/1", "lake/sources/purchases"),
    edge("source/purchases/1", "view/activity/2"),
    edge(VERSION.subject, "release/rel_1"),
    edge("release/rel_1", "predictions/churn/3"),
)


def drawn(found: Lineage) -> str:
    tree = LineageTree(found, url="http://platform")
    screen = Console(width=200, record=True, color_system=None, file=io.StringIO())
    screen.print(tree.head())
    screen.print(tree.branches("up", "made from"))
    screen.print(tree.branches("down", "led to"))
    return screen.export_text()


def test_a_version_with_all_that_is_around_it() -> None:
    shown = drawn(Lineage(subject=VERSION.subject, nodes=NODES, edges=EDGES))
    expected = """
churn@3  Production  champion  owner team [growth]
registered 2026-03-01 10:30 by dana · abababababab
roc_auc 0.7800 0.7600–0.8000   x 1.5000
calibrated
made from
├── run 111111111111  bold-otter · churn · FINISHED · deleted
│   ├── training set ts_1  2,357 rows · as of 1997-05-01 · abababababab
│   │   └── table sources/purchases@3 ← table sources/purchases ← source purchases v1
│   └── commit 3ac41f000000  with changes  abababababab
├── feature view activity v2  f0, f1, f2, f3 and 2 more
│   └── source purchases v1  see above
└── environment abababababab  Python 3.11.7 · 212 packages
led to
└── release rel_1  rolled back  1 BETTER, 2 PASS · approved by ravi and bo
    └── predictions  12,345 rows  2 faults
"""
    assert [line.rstrip() for line in shown.strip().splitlines()] == expected.strip().splitlines()


def test_from_a_table_down_what_branches_is_a_tree_and_what_is_cut_is_counted() -> None:
    nodes = (
        node("source/purchases/1"),
        node("lake/sources/purchases"),
        node("lake/sources/purchases@1"),
        node("lake/sources/purchases@2", more=9_980),
    )
    table = "lake/sources/purchases"
    edges = (edge("source/purchases/1", table), edge(table, f"{table}@1"), edge(table, f"{table}@2"))
    shown = drawn(Lineage(subject="source/purchases/1", nodes=nodes, edges=edges))
    assert [line.rstrip() for line in shown.strip().splitlines()] == [
        "source purchases v1",
        "made from",
        "└── nothing that is known",
        "led to",
        "└── table sources/purchases",
        "    ├── table sources/purchases@1",
        "    └── table sources/purchases@2",
        "        └── … 9,980 more",
    ]


def test_a_circle_is_drawn_once() -> None:
    nodes = (node("logged-model/m-1", name="clf"), node("run/1"))
    edges = (edge("run/1", "logged-model/m-1"), edge("logged-model/m-1", "run/1"))
    shown = drawn(Lineage(subject="logged-model/m-1", nodes=nodes, edges=edges))
    assert shown.count("run 1") == 2  # above and below
    assert shown.count("see above") == 2


def test_short_names() -> None:
    for subject, name in {
        "version/churn/3": "churn@3",
        "version/churn/3~57": "churn@3",
        "dataset/team/holidays@0123456789abcdef": "team/holidays 0123456789ab",
        "commit/" + "a" * 40: "a" * 12,
        f"environment/{DIGEST}": "environment abababababab",
        "feature/activity.spend": "activity.spend",
        "training-set/ts_1": "training set ts_1",
        "view/activity/2": "view activity v2",
    }.items():
        assert short(subject) == name
