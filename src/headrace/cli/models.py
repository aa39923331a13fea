"""`headrace models`: models and their versions, what was in production when, and what of a version may change."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.registry.moves import History, StageMove
    from headrace.serving.loading_nouns import Candidate, OptimizationReport, VersionLoading

WAIT_S = 1_800.0


class _ShowsByDefault(TyperGroup):
    """`headrace models churn` means `headrace models show churn`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `show` before what is no command."""
        if not args or not (args[0] in self.commands or args[0].startswith("-")):
            args = ["show", *args]
        found: list[str] = super().parse_args(ctx, args)
        return found


app = typer.Typer(cls=_ShowsByDefault, help="Models, their versions and their history: headrace models [NAME].")


@app.command("show")
def show(
    name: Annotated[
        str | None, typer.Argument(help="MODEL for its versions, MODEL@N for how one is loaded.")
    ] = None,
) -> None:
    """Models and what is in production, the versions of one, or how a version is loaded."""
    from headrace.cli.overview import show_models, show_versions
    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    platform = connect()
    screen = console()
    if name is None:
        if not show_models(screen, platform):
            screen.print("no model is there yet: apply a project, or register one with MLflow")
    elif "@" in name:
        model, number = _version(name)
        _show_loading(screen, platform.loading.of(model, number))
    else:
        show_versions(screen, platform, name)


@app.command("history")
def history(
    name: Annotated[str, typer.Argument(help="The model; one that was deleted keeps its history.")],
    at: Annotated[
        str,
        typer.Option(
            metavar="MOMENT",
            help="What was in production then. 2026-03-01 is the end of that day in UTC; or 2026-03-01T14:30Z.",
        ),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many moves.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Every move of a model's versions between stages, newest first: who, why, by which release."""
    import msgspec

    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    found = connect().history(name, at=at or None, limit=limit)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        _print_history(console(), found, asked=bool(at))


@app.command("describe")
def describe(
    version: Annotated[str, typer.Argument(metavar="MODEL@N", help="The version.")],
    owner: Annotated[str | None, typer.Option(help="Who is asked about it: a person or a team.")] = None,
    description: Annotated[str | None, typer.Option(help="What is worth knowing of it.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE to set, KEY= to remove; may be repeated.")
    ] = None,
) -> None:
    """Change the owner, the description or tags of a version; what it is made of stays."""
    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    model, number = _version(version)
    platform = connect()
    tags = None
    if tag:
        tags = dict(platform.version(model, number).tags)
        for text in tag:
            key, _, value = text.partition("=")
            if value:
                tags[key] = value
            else:
                tags.pop(key, None)
    changed = platform.describe_version(model, number, description=description, tags=tags, owner=owner)
    console().print(f"[green]✓[/] {model}@{number}  owner {changed.owner}  {changed.description}")


@app.command()
def allow(
    version: Annotated[str, typer.Argument(metavar="MODEL@N", help="The version.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    pickle: Annotated[
        bool, typer.Option("--pickle", help="Let it run code when it is loaded, as pickles and Python models do.")
    ] = False,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Full name of a type that its skops file may build.")
    ] = None,
) -> None:
    """Let a version be loaded although that is not safe by itself; bound to its bytes, and recorded."""
    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    model, number = _version(version)
    allowed = connect().loading.allow(model, number, reason=reason, code=pickle, types=types or ())
    what = [*(["code"] if allowed.code else []), *allowed.types]
    console().print(f"[green]✓[/] {model}@{number} may load {', '.join(what)}, by {allowed.allowed_by}")


@app.command()
def forbid(
    version: Annotated[str, typer.Argument(metavar="MODEL@N", help="The version.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
) -> None:
    """Take back what was allowed for a version."""
    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    model, number = _version(version)
    connect().loading.forbid(model, number, reason=reason)
    console().print(f"[green]✓[/] nothing is allowed for {model}@{number} any more")


@app.command()
def optimize(
    version: Annotated[str, typer.Argument(metavar="MODEL@N", help="The version.")],
) -> None:
    """Build a version's environment, where it needs one, and look for a faster form that answers the same."""
    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    platform = connect()
    screen = console()
    model, number = _version(version)
    job = platform.loading.prepare(model, number)
    with screen.status(f"A worker prepares {model}@{number}"):
        platform.wait_for(
            lambda: platform.job(job.id),
            lambda found: found.state in {"done", "failed"},
            "a worker to prepare it",
            timeout_s=WAIT_S,
        )
    _show_loading(screen, platform.loading.of(model, number))


def _print_history(screen: "Console", found: "History", *, asked: bool) -> None:
    from rich.markup import escape

    from headrace.cli.screen import STAGE_COLOURS, coloured, moment, table

    verb = f"was in production at {found.at:%Y-%m-%d %H:%M:%S} UTC" if asked else "is in production"
    if found.since is None:
        screen.print(f"[bold]{escape(found.model)}[/]  nothing {verb}")
    else:
        screen.print(f"[green]{escape(found.model)}@{found.production}[/] {verb}")
        screen.print(f"  [dim]since[/] {moment(found.since.at)}{_how(found.since)}")
    listed = table("when (UTC)", "version", "move", "by", "approved by", "why", "release")
    for change in found.changes:
        after = coloured(change.after, STAGE_COLOURS[change.after])
        release = change.release_id or ""
        listed.add_row(
            f"{change.at:%Y-%m-%d %H:%M:%S}",
            escape(f"{change.model}@{change.number}"),
            f"[dim]{change.before} →[/] {after}",
            escape(change.actor),
            escape(", ".join(change.approved_by)),
            escape(change.reason.replace(f"release {release} ", "its release ") if release else change.reason),
            escape(release),
        )
    if found.changes:
        screen.print(listed)
    if found.next_cursor:
        screen.print("[dim]There are more: --limit[/]")


def _how(move: "StageMove") -> str:
    from rich.markup import escape

    parts = [f"by {move.actor}"]
    if move.release_id:
        parts.append(f"release {move.release_id}")
    if move.approved_by:
        parts.append(f"approved by {' and '.join(move.approved_by)}")
    return f"  [dim]{escape(' · '.join(parts))}[/]"


def _version(text: str) -> tuple[str, int]:
    from headrace.errors import InvalidInput

    model, _, number = text.rpartition("@")
    if not model or not number.isdigit():
        raise InvalidInput(f"{text!r} names no version", where="VERSION", fix="Write churn@3.")
    return model, int(number)


def _show_loading(screen: "Console", found: "VersionLoading") -> None:
    screen.print(f"[bold]{found.model}@{found.number}[/]")
    if found.allowance is not None:
        what = [*(["code"] if found.allowance.code else []), *found.allowance.types]
        screen.print(f"  may load     {', '.join(what)}, by {found.allowance.allowed_by}: {found.allowance.reason}")
    if found.preparation is None:
        screen.print("  not prepared yet; headrace models optimize does it")
        return
    prepared = found.preparation.prepared
    if prepared is None:
        screen.print(f"  preparation  {found.job_state}")
        return
    if prepared.refused:
        screen.print(f"  [red]refused[/]      {prepared.refused}")
        if prepared.fix:
            screen.print(f"               [dim]{prepared.fix}[/]")
        return
    libraries = f"an environment of its own, {len(prepared.packages)} packages" if prepared.environment else ""
    screen.print(f"  libraries    {libraries or 'those of the gateways'}")
    if prepared.report is not None:
        _show_report(screen, prepared.report)


def _show_report(screen: "Console", report: "OptimizationReport") -> None:
    from headrace.cli.screen import table

    screen.print(f"  served as    [green]{report.chosen}[/] ({report.runtime})")
    if report.note:
        screen.print(f"  [dim]{report.note}[/]")
    if not report.candidates:
        return
    rows = ", ".join(f"{count} of its {place}" for place, count in report.rows_from.items())
    screen.print(f"  compared on  {rows}; bound {report.absolute_bound:g} + {report.relative_bound:g} of the value")
    shown = table("form", ">1 row", ">100 rows", ">largest difference", ">flips", ">ties", "verdict")
    shown.add_row("native", _microseconds(report.one_row_us), _microseconds(report.hundred_rows_us), "", "", "", "")
    for each in report.candidates:
        shown.add_row(
            each.name,
            _microseconds(each.one_row_us),
            _microseconds(each.hundred_rows_us),
            _largest(each),
            str(sum(agreement.flips for agreement in each.agreements.values())),
            str(sum(agreement.ties for agreement in each.agreements.values())),
            "[green]the same[/]" if each.passed else f"[red]{each.why}[/]",
        )
    screen.print(shown)
    for name, why in report.not_made.items():
        screen.print(f"  [dim]{name} could not be made: {why}[/]")


def _largest(candidate: "Candidate") -> str:
    known = [each.largest for each in candidate.agreements.values() if each.largest is not None]
    return f"{max(known):.2g}" if known else ""


def _microseconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} µs"
