"""`headrace import`: the history of another server, with its ids, taken over into this one."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.protocols.mlflow.importing.report import Report

app = typer.Typer(help="Take over the history of another server.", no_args_is_help=True)


class Artifacts(StrEnum):
    """What becomes of files."""

    COPY = "copy"
    REFERENCE = "reference"
    NONE = "none"


@app.callback()
def chosen() -> None:
    """Take over the history of another server."""


@app.command("mlflow")
def mlflow(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH-OR-URL",
            help="An mlruns folder, a SQLite file, sqlite:///…, postgresql://…, or a server's http:// address.",
        ),
    ],
    artifacts: Annotated[
        Artifacts, typer.Option(help="Copy files into this platform, refer to where they are, or leave them.")
    ] = Artifacts.COPY,
    artifact_root: Annotated[
        Path | None,
        typer.Option(help="Where a server, whose database is read, kept what is under mlflow-artifacts:/."),
    ] = None,
    token: Annotated[
        str, typer.Option(envvar="MLFLOW_TRACKING_TOKEN", show_envvar=True, help="Token of a running server.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what is there and here; write nothing.")
    ] = False,
) -> None:
    """Import from MLflow: experiments, runs, metrics, models, files. Repeat it to go on where it stopped."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from headrace.cli.screen import console
    from headrace.protocols.mlflow.importing.moving import Carry, Import
    from headrace.protocols.mlflow.importing.opening import open_source
    from headrace.sdk.connect import connect

    platform = connect()
    opened = open_source(source, artifact_root=artifact_root, token=token)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        bars = {"runs": progress.add_task("runs", total=opened.run_count())}

        def tell(kind: str, count: int) -> None:
            if kind not in bars:
                bars[kind] = progress.add_task(kind, total=None)
            progress.advance(bars[kind], count)

        carry = Carry(artifacts.value)
        report = Import(opened, platform.transport, files=carry, dry_run=dry_run, tell=tell).run()
    opened.close()
    show(report, there="there", here="here", compared=not dry_run)
    if not dry_run and (report.problems or not report.equal):
        raise typer.Exit(1)


SHOWN_PROBLEMS = 20


def show(report: "Report", *, there: str, here: str, compared: bool = True) -> None:
    """Both sides of a move as a table, then what could not be moved."""
    from headrace.cli.screen import console, plain, table

    screen = console()
    shown = table("", f">{there}", f">{here}", "")
    for kind in report.counted:
        one, other = report.there[kind], report.here[kind]
        mark = "" if not compared else "[green]=[/]" if one == other else "[red]differs[/]"
        if one or other:
            shown.add_row(kind, f"{one:,}", f"{other:,}", mark)
    screen.print(shown)
    for what, count in report.left_behind.items():
        screen.print(f"not carried: {count:,} {plain(what)}")
    for problem in report.problems[:SHOWN_PROBLEMS]:
        screen.print(f"[yellow]{plain(problem)}[/]", soft_wrap=True)
    if len(report.problems) > SHOWN_PROBLEMS:
        screen.print(f"[yellow]and {len(report.problems) - SHOWN_PROBLEMS:,} more[/]")
