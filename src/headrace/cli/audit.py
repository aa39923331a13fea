"""`headrace audit`: read the trail, and verify that nobody rewrote it."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The audit trail: read it, verify it.", no_args_is_help=True)


@app.command("verify")
def verify(
    home: Annotated[Path | None, typer.Option(help="Folder with the platform's state [.headrace].")] = None,
    database: Annotated[
        Path | None, typer.Option(help="A copy of the database to verify instead of the home's.")
    ] = None,
) -> None:
    """Verify the hash chain and its signed checkpoints; works on a copy, and while the platform is down."""
    from headrace.cli.screen import console
    from headrace.kernel import audit, checkpoints
    from headrace.kernel.settings import load_settings

    settings = load_settings(home=home)
    source = database or settings.database_path
    report = audit.verify(source, checkpoints.checkpoints_path(settings.home))
    screen = console()
    for problem in report.problems[:10]:
        screen.print(f"[red]✗[/] {problem.where}: {problem.message}")
    report.require()
    screen.print(
        f"[green]✓[/] {report.events} events, {report.checkpoints} signed checkpoints up to event "
        f"{report.signed_through}, head {report.head[:16]}…"
    )


@app.command("log")
def log(
    subject: Annotated[
        str | None, typer.Option(help="Only the history of one object, for example release/rel_….")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many events.")] = 30,
) -> None:
    """The newest events, or the history of one object."""
    from headrace.cli.screen import console, moment, plain, table
    from headrace.sdk.connect import connect

    shown = table(">seq", "time", "event", "subject", "by")
    for event in connect().events(subject=subject, limit=limit):
        shown.add_row(str(event.seq), moment(event.at), event.type, plain(event.subject), plain(event.actor))
    console().print(shown)
