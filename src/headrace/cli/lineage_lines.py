"""One line for each kind of thing in lineage: what it is, which one, and what is worth knowing of it."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.markup import escape

from headrace.cli.screen import STAGE_COLOURS, coloured, day

if TYPE_CHECKING:
    from headrace.governance.nouns import Node

DIGITS = 12
"""How many digits of a digest are shown."""
FEATURES = 4
PHASES = {"completed": "green", "rolled back": "red", "blocked": "red", "refused": "red", "aborted": "dim"}


class Drawn(NamedTuple):
    """A thing that is drawn.

    Attributes:
        start: what was asked about; it knows its features and its code.
        url: of the platform, for links.
    """

    node: "Node"
    start: "Node"
    url: str

    @property
    def name(self) -> str:
        """Which one of its kind."""
        return self.node.name

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is known of it."""
        return self.node.facts


def line_of(drawn: Drawn) -> str:
    """The line, as markup."""
    line = _LINES.get(drawn.node.kind, _other)(drawn)
    if drawn.node.deleted_at is not None:
        line += f"  [red]deleted {day(drawn.node.deleted_at)}[/]"
    return line


def short(subject: str) -> str:
    """A name in the graph as people say it."""
    kind, _, name = subject.partition("/")
    if kind == "version":
        model, _, number = name.rpartition("/")
        return f"{model}@{number.partition('~')[0]}"
    if kind in {"source", "view"}:
        called, _, version = name.rpartition("/")
        return f"{kind} {called} v{version}"
    if kind == "dataset":
        called, _, digest = name.rpartition("@")
        return f"{called} {digest[:DIGITS]}"
    if kind == "commit":
        return name[:DIGITS]
    if kind in {"bundle", "environment"}:
        return f"{kind} {digits(name)}"
    if kind in {"lake", "feature"}:
        return name
    return f"{kind.replace('-', ' ')} {name}"


def digits(digest: str) -> str:
    """The first digits of a digest, which is all that people compare."""
    return escape(digest.removeprefix("sha256:")[:DIGITS])


def _told(*parts: object) -> str:
    """What is told of a thing after its name."""
    shown = " · ".join(escape(str(part)) for part in parts if part)
    return f"  [dim]{shown}[/]" if shown else ""


def _other(drawn: Drawn) -> str:
    return escape(short(drawn.node.subject))


def _version(drawn: Drawn) -> str:
    facts = drawn.facts
    parts = [escape(short(drawn.node.subject))]
    if facts.get("stage"):
        parts.append(coloured(facts["stage"], STAGE_COLOURS.get(facts["stage"], "")))
    parts += [f"[cyan]{escape(alias)}[/]" for alias in facts.get("aliases", ())]
    if facts.get("owner"):
        parts.append(f"[dim]owner[/] {escape(facts['owner'])}")
    return "  ".join(parts)


def _run(drawn: Drawn) -> str:
    facts = drawn.facts
    address = f"{drawn.url}/runs/{drawn.name}"
    deleted = "deleted" if facts.get("deleted") else ""
    told = _told(facts.get("name"), facts.get("experiment"), facts.get("status"), deleted)
    return f"run [link={address}]{escape(drawn.name[:DIGITS])}[/link]{told}"


def _logged_model(drawn: Drawn) -> str:
    return f"logged model {escape(drawn.name[: DIGITS + 2])}{_told(drawn.facts.get('name'))}"


def _training_set(drawn: Drawn) -> str:
    facts = drawn.facts
    rows = f"{facts['rows']:,} rows" if "rows" in facts else ""
    as_of = f"as of {str(facts['as_of'])[:10]}" if "as_of" in facts else ""
    return f"training set {escape(drawn.name)}{_told(rows, as_of, digits(str(facts.get('content_digest', ''))))}"


def _dataset(drawn: Drawn) -> str:
    called, _, digest = drawn.name.rpartition("@")
    return f"dataset {escape(called)}{_told(digest[:DIGITS])}"


def _view(drawn: Drawn) -> str:
    called, _, version = drawn.name.rpartition("/")
    features = list(drawn.start.facts.get("features", {}).get(f"{called}@{version}", ()))
    shown = ", ".join(features[:FEATURES])
    if len(features) > FEATURES:
        shown += f" and {len(features) - FEATURES} more"
    return f"feature view {escape(called)} v{version}{_told(shown)}"


def _lake(drawn: Drawn) -> str:
    return f"table {escape(drawn.name)}"


def _source(drawn: Drawn) -> str:
    called, _, version = drawn.name.rpartition("/")
    return f"source {escape(called)} v{version}"


def _bundle(drawn: Drawn) -> str:
    facts = drawn.facts
    project = f"project {facts['project']}" if "project" in facts else ""
    files = f"{facts['files']} file{'s'[: facts['files'] != 1]}" if "files" in facts else ""
    return f"code {digits(drawn.name)}{_told(project, files)}"


def _commit(drawn: Drawn) -> str:
    line = f"commit {escape(drawn.name[:DIGITS])}"
    mine = drawn.start.facts
    if mine.get("code_commit") == drawn.name and mine.get("code_dirty"):
        diff = mine.get("code_diff")
        line += f"  [yellow]with changes[/]{_told(digits(diff) if diff else 'not recorded')}"
    return line


def _environment(drawn: Drawn) -> str:
    facts = drawn.facts
    python = f"Python {facts['python']}" if facts.get("python") else ""
    packages = f"{facts['packages']} packages" if "packages" in facts else ""
    return f"environment {digits(drawn.name)}{_told(python, packages)}"


def _release(drawn: Drawn) -> str:
    facts = drawn.facts
    phase = str(facts.get("phase", "")).replace("_", " ")
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(facts.get("verdicts", {}).items()))
    approved = f"approved by {' and '.join(facts['approved_by'])}" if facts.get("approved_by") else ""
    shown = f"  {coloured(phase, PHASES.get(phase, 'yellow'))}" if phase else ""
    return f"release {escape(drawn.name)}{shown}{_told(verdicts, approved)}"


def _predictions(drawn: Drawn) -> str:
    facts = drawn.facts
    if "requests" not in facts:
        return "predictions"
    faults = f"[red]{facts['faults']:,} faults[/]" if facts["faults"] else "[dim]no faults[/]"
    return f"predictions  {facts['requests']:,} rows  {faults}"


_LINES: dict[str, Callable[[Drawn], str]] = {
    "version": _version,
    "run": _run,
    "logged-model": _logged_model,
    "training-set": _training_set,
    "dataset": _dataset,
    "view": _view,
    "lake": _lake,
    "source": _source,
    "bundle": _bundle,
    "commit": _commit,
    "environment": _environment,
    "release": _release,
    "predictions": _predictions,
}
