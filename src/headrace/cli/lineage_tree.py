"""Lineage drawn as trees: each thing in one line, and what was drawn before is only named."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from rich.markup import escape
from rich.tree import Tree

from headrace.cli.lineage_lines import Drawn, digits, line_of
from headrace.cli.screen import leading, moment

if TYPE_CHECKING:
    from headrace.governance.nouns import Lineage

Direction = Literal["up", "down"]

METRICS = 3
SAME = frozenset({"lake", "source"})
"""A version of a table, the table and the source that it is read from are one line, where nothing branches."""
ORDER = (
    "version", "logged-model", "run", "training-set", "dataset", "view", "lake", "source", "label",
    "bundle", "commit", "environment", "release", "predictions",
)  # fmt: skip


class LineageTree:
    """One answer about lineage, as it is drawn.

    Args:
        found: the answer.
        url: of the platform, for links to the pages of runs.
    """

    def __init__(self, found: "Lineage", *, url: str) -> None:
        self._url = url
        self._nodes = {node.subject: node for node in found.nodes}
        self._start = self._nodes[found.subject]
        self._steps: dict[Direction, dict[str, list[str]]] = {"up": {}, "down": {}}
        for edge in found.edges:
            self._steps["up"].setdefault(edge.downstream, []).append(edge.upstream)
            self._steps["down"].setdefault(edge.upstream, []).append(edge.downstream)

    def head(self) -> str:
        """What was asked about; of a version, where it comes from and what it is worth."""
        node, facts = self._start, self._start.facts
        lines = [f"[bold]{self._line(node.subject)}[/]"]
        if node.kind == "version":
            registered = f"registered {_moment(facts.get('registered_at'))} by {facts.get('author', '')}"
            lines.append(f"[dim]{escape(registered)} · {digits(str(facts.get('digest', '')))}[/]")
            metrics = facts.get("metrics", {})
            values = [f"{escape(key)} {_estimate(metrics[key])}" for key in leading(set(metrics), METRICS)]
            lines += ["   ".join(values)] if values else []
            lines += [escape(str(facts["description"]))] if facts.get("description") else []
        return "\n".join(lines)

    def branches(self, direction: Direction, title: str) -> Tree:
        """What is above it, or below it."""
        tree = Tree(f"[dim]{title}[/]", guide_style="dim")
        self._grow(tree, self._start.subject, direction, {self._start.subject})
        if not tree.children:
            tree.add(f"[dim]{'nothing that is known' if direction == 'up' else 'nothing yet'}[/]")
        return tree

    def _grow(self, tree: Tree, subject: str, direction: Direction, drawn: set[str]) -> None:
        for name in sorted(self._steps[direction].get(subject, ()), key=self._place):
            if name in drawn:
                tree.add(f"{self._line(name)}  [dim]see above[/]")
                continue
            chain = self._chain(name, direction)
            drawn.update(chain)
            arrow = " [dim]←[/] " if direction == "up" else " [dim]→[/] "
            self._grow(tree.add(arrow.join(map(self._line, chain))), chain[-1], direction, drawn)
        node = self._nodes[subject]
        more = node.more_upstream if direction == "up" else node.more_downstream
        if more:
            tree.add(f"[dim]… {more:,} more[/]")

    def _chain(self, subject: str, direction: Direction) -> list[str]:
        """A thing, with those behind it that only say again what it is."""
        chain = [subject]
        while self._nodes[chain[-1]].kind in SAME:
            following = self._steps[direction].get(chain[-1], [])
            if len(following) != 1 or self._nodes[following[0]].kind not in SAME or following[0] in chain:
                break
            chain += following
        return chain

    def _place(self, subject: str) -> tuple[int, str]:
        kind = self._nodes[subject].kind
        return (ORDER.index(kind) if kind in ORDER else len(ORDER), subject)

    def _line(self, subject: str) -> str:
        return line_of(Drawn(self._nodes[subject], self._start, self._url))


def _moment(text: Any) -> str:
    return moment(datetime.fromisoformat(text)) if isinstance(text, str) else ""


def _estimate(metric: Mapping[str, Any]) -> str:
    low, high = metric.get("low"), metric.get("high")
    interval = f" [dim]{low:.4f}–{high:.4f}[/]" if low is not None and high is not None else ""
    return f"{metric['value']:.4f}{interval}"
