"""`headrace evidence`: what gates found on a version, with their intervals, and the same computed again."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from headrace.registry.nouns import Evidence
    from headrace.sdk.platform import Platform

app = typer.Typer(help="What gates found: look at it, compute it again.", no_args_is_help=True)

COLOURS = {"PASS": "green", "BETTER": "bold green", "WORSE": "red", "INCONCLUSIVE": "yellow"}
SIGNS = {"PASS": "✓", "BETTER": "✓", "WORSE": "✗", "INCONCLUSIVE": "?"}
PLOT_CELLS = 19
MOST_PARTS = 12
SHARES = (0.0, 1.0)
FALLS = ("at_most", "calibrated", "latency", "size")
"""Gates whose estimate must stay below what it is judged against."""


@app.command("show")
def show(
    version: Annotated[str, typer.Argument(help="MODEL@N.")],
    release: Annotated[str | None, typer.Option(help="Of one release \\[the latest].")] = None,
    details: Annotated[bool, typer.Option("--details", "-d", help="Also parts, groups and numbers.")] = False,
) -> None:
    """What gates, checks and staging found on a version: intervals, margins, rows, and what they could show."""
    from headrace.cli.screen import console
    from headrace.errors import NotFound
    from headrace.sdk.connect import connect

    model, number = _version(version)
    found = connect().evidence(model, number)
    releases = [one.release_id for one in found if one.release_id is not None]
    chosen = release or (releases[-1] if releases else None)
    kept = [one for one in found if one.release_id in {None, chosen}]
    if not kept:
        raise NotFound(f"nothing has been found on {version} yet", where=version, fix="See: headrace status")
    show_evidence(console(), kept, details=details)


@app.command("recompute")
def recompute(
    what: Annotated[str, typer.Argument(help="Id of a gate's evidence, or MODEL@N for all of its latest release.")],
) -> None:
    """Compute verdicts again, here, from the stored scores; exit code 1 when one does not agree."""
    from headrace.cli.screen import console, plain, table
    from headrace.delivery.recompute import recompute as compute
    from headrace.sdk.connect import connect

    platform = connect()
    shown = table("", "gate", "recorded", "computed again", ">rows", "differs in")
    failed = 0
    for one in _gates(platform, what):
        size_bytes = sum(file.size_bytes for file in platform.version(one.model, one.number).files)
        again = compute(one, platform.blob(one.scores) if one.scores else None, size_bytes=size_bytes)
        failed += not again.agrees
        shown.add_row(
            "[green]✓[/]" if again.agrees else "[red]✗[/]",
            plain(one.name),
            _verdict(one.verdict),
            _verdict(again.finding.verdict.value),
            f"{again.finding.sample_size:,}",
            f"[red]{', '.join(again.differences)}[/]",
        )
    console().print(shown)
    if failed:
        raise typer.Exit(1)


def show_evidence(screen: "Console", found: "Sequence[Evidence]", *, details: bool = False) -> None:
    """Gates as a table with their intervals, then checks and staging, then what did not pass and why."""
    from headrace.cli.screen import day, plain

    gates = [one for one in found if one.kind == "gate"]
    first = (gates or list(found))[0]
    judged = (
        f", against {first.model}@{first.production_number}" if first.production_number else ", a first version"
    )
    moment = "" if first.cohort is None else f" as of {day(first.cohort)}"
    coverage = {one.confidence for one in gates if one.confidence is not None}
    percent = f", intervals of {100 * min(coverage):.3g} %" if len(coverage) == 1 else ""
    screen.print(f"[bold]{plain(first.model)}@{first.number}[/]{plain(judged)}{moment}{percent}")
    if gates:
        for text in _gate_lines(gates):
            screen.print(text, soft_wrap=True)
    for one in found:
        if one.kind != "gate":
            found_out = plain(f"{one.kind} {one.name}: {one.summary}")
            screen.print(f"  {_verdict(one.verdict)} {found_out}", soft_wrap=True)
    for line in _remarks(gates):
        screen.print(line, soft_wrap=True)
    if details:
        for one in gates:
            for part in _details(one):
                screen.print(part)


def _gate_lines(gates: "Sequence[Evidence]") -> "Iterator[Text]":
    """Two lines for each gate, so that all numbers are there in 80 columns, too."""
    from rich.text import Text

    from headrace.cli.screen import UNSEEN

    yield Text("")
    yield _numbers("estimate", "interval", Text(""), "needed", "rows", "can show")
    for one in gates:
        verdict = f"{SIGNS[one.verdict]} {one.verdict}"
        yield Text.assemble("  ", (verdict.ljust(16), COLOURS[one.verdict]), one.name.translate(UNSEEN))
        decided = one.details.get("decided_by")
        if len(one.details.get("parts", [])) > 1:
            parts = f"{'':18}{decided} decides, of {len(one.details['parts'])} parts"
            yield Text(parts.translate(UNSEEN), style="dim")
        counted = one.sample_size is not None and one.gate != "size"
        yield _numbers(
            _number(one.value, one),
            _interval(one.low, one.high),
            _plot(one.value, one.low, one.high, _border(one), COLOURS[one.verdict]),
            _needed(one),
            f"{one.sample_size:,}" if counted else "",
            _short(one.smallest_detectable_effect),
            style="",
        )
    yield Text("")


def _numbers(
    value: str, interval: str, picture: "Text", needed: str, rows: str, shows: str, *, style: str = "dim"
) -> "Text":
    from rich.text import Text

    line = Text(f"  {value:>9}  {interval:<19} ", style=style)
    line.append_text(picture)
    line.append(" " * (PLOT_CELLS - len(picture.plain)))
    line.append(f" {needed:>10} {rows:>7} {shows:>8}", style=style)
    return line


def _remarks(gates: "Sequence[Evidence]") -> "Iterator[str]":
    from headrace.cli.screen import plain

    for one in gates:
        if not one.verdict.passes:
            yield f"  {_verdict(one.verdict)} {plain(_reason(one))}"
    warnings = {str(one.details["warning"]) for one in gates if one.details.get("warning")}
    for warning in sorted(warnings):
        yield f"  [yellow]![/] {plain(warning)}"
    if any(one.scores for one in gates):
        yield f"  [dim]compute it again: headrace evidence recompute {plain(gates[0].model)}@{gates[0].number}[/]"


def _reason(one: "Evidence") -> str:
    """Why a gate did not pass, and what would help."""
    if one.low is None or one.high is None:
        return one.summary.removesuffix(f": {one.verdict}")
    part = f", {one.details['decided_by']}" if len(one.details.get("parts", [])) > 1 else ""
    if one.verdict == "WORSE":
        return f"{one.name}{part}: the rows show that it is not so"
    can = _short(one.smallest_detectable_effect)
    shows = f"; they can show {can}" if can else ""
    note = next((found["note"] for found in one.details.get("parts", []) if found["name"] == part[2:]), "")
    why = f" ({note})" if note else ""
    return f"{one.name}{part}: the rows do not tell{shows}{why}. Take more rows, or ask for less."


def _details(one: "Evidence") -> "Iterator[RenderableType]":
    from headrace.cli.screen import plain
    from headrace.registry.bounds import all_words_of

    if judged_by := all_words_of(one.judged_by):
        yield f"  {plain(f'{one.name}: judged by {judged_by}')}"
    parts, groups, bins = (one.details.get(name, []) for name in ("parts", "groups", "bins"))
    if len(parts) > 1:
        yield _part_table(one, parts)
    if groups:
        yield _group_table(one, groups)
    if bins:
        yield _bin_table(one, bins)


def _part_table(one: "Evidence", parts: list[dict[str, Any]]) -> "Table":
    from headrace.cli.screen import plain, table

    columns = ("verdict", "part", ">estimate", "interval", ">against", ">rows", ">can show", "note")
    shown = table(*columns, title=plain(one.name))
    for part in parts[:MOST_PARTS]:
        shown.add_row(
            _verdict(part["verdict"]),
            plain(part["name"]),
            _short(part["value"]),
            _interval(part["low"], part["high"]),
            _short(part["margin"]),
            f"{part['rows']:,}" if part["rows"] else "",
            _short(part["detectable"]),
            plain(part["note"]),
        )
    if len(parts) > MOST_PARTS:
        shown.caption = f"and {len(parts) - MOST_PARTS} more"
    return shown


def _group_table(one: "Evidence", groups: list[dict[str, Any]]) -> "Table":
    from headrace.cli.screen import plain, table

    title = plain(f"{one.name}: groups")
    shown = table("grouping", "group", "rate", ">share", "interval", "", ">rows", title=title)
    for row in groups:
        shown.add_row(
            plain(row["grouping"]),
            plain(row["group"]),
            plain(row["rate"].replace("_", " ")),
            _short(row["value"]),
            _interval(row["low"], row["high"]),
            _plot(row["value"], row["low"], row["high"], None, "cyan", SHARES),
            f"{row['rows']:,}",
            style="dim" if row["small"] else "",
        )
    return shown


def _bin_table(one: "Evidence", bins: list[dict[str, Any]]) -> "Table":
    from headrace.cli.screen import plain, table

    shown = table(">rows", ">mean score", ">share of 1", "", title=plain(f"{one.name}: bins"))
    for row in bins:
        picture = _plot(row["share"], None, None, row["mean_score"], "cyan", SHARES)
        shown.add_row(f"{row['rows']:,}", _short(row["mean_score"]), _short(row["share"]), picture)
    return shown


def _plot(
    value: float | None,
    low: float | None,
    high: float | None,
    border: float | None,
    style: str,
    scale: tuple[float, float] | None = None,
) -> "Text":
    """An interval on a line of characters, with what it is judged against."""
    from rich.text import Text

    marks = [mark for mark in (value, low, high, border) if mark is not None and math.isfinite(mark)]
    if value is None or not marks:
        return Text("")
    start, end = scale or (min(marks), max(marks))
    width = (end - start) or 1.0

    def place(mark: float) -> int:
        return round((min(max(mark, start), end) - start) / width * (PLOT_CELLS - 1))

    cells = [" "] * PLOT_CELLS
    if low is not None and high is not None:
        left, right = place(low), place(high)
        cells[left : right + 1] = "─" * (right + 1 - left)
        cells[left], cells[right] = "├", "┤"
    cells[place(value)] = "●"
    drawn = Text("".join(cells), style=style)
    if border is not None:
        at = place(border)
        if drawn.plain[at] != "●":
            drawn = Text.assemble(drawn[:at], ("┃", "bold"), drawn[at + 1 :])
    return drawn


def _border(one: "Evidence") -> float | None:
    """Where on the estimate's scale a gate is decided."""
    if one.margin is None:
        return None
    decided = str(one.details.get("decided_by", ""))
    gains = one.gate == "not_worse_than_production" or (one.gate == "slices" and decided.endswith(", change"))
    return -one.margin if gains else one.margin


def _needed(one: "Evidence") -> str:
    border = _border(one)
    if border is None:
        return ""
    decided = str(one.details.get("decided_by", ""))
    fair = one.gate == "fair" and (decided.endswith(", change") or not str(one.metric).endswith("_ratio"))
    falls = one.gate in FALLS or fair or (one.gate == "slices" and _loss(one) and not decided.endswith(", change"))
    if one.gate == "size":
        return f"≤ {border:,.0f}"
    return f"{'≤' if falls else '>' if border < 0 else '≥'} {border:g}"


def _loss(one: "Evidence") -> bool:
    return one.metric in {"brier", "log_loss"}


def _verdict(verdict: str) -> str:
    return f"[{COLOURS.get(verdict, '')}]{SIGNS.get(verdict, '')} {verdict}[/]"


def _number(value: float | None, one: "Evidence") -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if one.gate == "size" else _short(value, signed=one.gate == "not_worse_than_production")


def _short(value: Any, *, signed: bool = False) -> str:
    """A number in four digits, without a sign for zero."""
    if value is None or not math.isfinite(value):
        return ""
    text = f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"
    return f"+{text}" if signed and value > 0 else text


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{_short(low)} to {_short(high)}"


def _gates(platform: "Platform", what: str) -> "list[Evidence]":
    if "@" not in what:
        return [platform.one_evidence(what)]
    model, number = _version(what)
    found = [one for one in platform.evidence(model, number) if one.kind == "gate"]
    return [one for one in found if one.release_id == found[-1].release_id]


def _version(version: str) -> tuple[str, int]:
    from headrace.errors import InvalidInput

    model, _, number = version.rpartition("@")
    if not model or not number.isdecimal():
        raise InvalidInput(f"{version!r} names no version", where="VERSION", fix="Write churn@3.")
    return model, int(number)
