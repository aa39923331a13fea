"""`headrace models`: what there is, what is in production, and how versions are loaded."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.serving.loading_nouns import Candidate, OptimizationReport, VersionLoading

WAIT_S = 1_800.0


class _ShowByDefault(TyperGroup):
    """`headrace models churn` is `headrace models show churn`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=_ShowByDefault, help="Models, their versions, and how they are loaded.")

Version = Annotated[str, typer.Argument(help="MODEL@N.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """Models and what is in production."""
    from headrace.cli.overview import show_models
    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    if context.invoked_subcommand is None:
        show_models(console(), connect())


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="MODEL for its versions, MODEL@N for how one is loaded.")],
) -> None:
    """The versions of a model, or how one of them is loaded."""
    from headrace.cli.overview import show_versions
    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    platform = connect()
    if "@" not in name:
        show_versions(console(), platform, name)
        return
    model, number = _version(name)
    _show_loading(console(), platform.loading.of(model, number))


@app.command()
def allow(
    version: Version,
    reason: Reason,
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
def forbid(version: Version, reason: Reason) -> None:
    """Take back what was allowed for a version."""
    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    model, number = _version(version)
    connect().loading.forbid(model, number, reason=reason)
    console().print(f"[green]✓[/] nothing is allowed for {model}@{number} any more")


@app.command()
def optimize(version: Version) -> None:
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
