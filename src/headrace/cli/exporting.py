"""`headrace export`: what was tracked and registered, in a form that other tools read."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Give the history back in a form that other tools read.", no_args_is_help=True)


@app.callback()
def chosen() -> None:
    """Give the history back in a form that other tools read."""


@app.command("mlflow")
def mlflow(
    directory: Annotated[Path, typer.Argument(help="The folder to make; it is not there yet, or empty.")],
    experiment: Annotated[str | None, typer.Option(help="Only one experiment, by name.")] = None,
    artifacts: Annotated[bool, typer.Option(help="With files.")] = True,
) -> None:
    """Export to an mlruns folder, which every MLflow of 2.9 and later reads."""
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from headrace.cli.importing import show
    from headrace.cli.screen import console
    from headrace.protocols.mlflow.exporting.export import Export
    from headrace.protocols.mlflow.exporting.platform import PlatformReader
    from headrace.sdk.connect import connect

    platform = connect()
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        bars = {"runs": progress.add_task("runs", total=None)}

        def tell(kind: str, count: int) -> None:
            if kind not in bars:
                bars[kind] = progress.add_task(kind, total=None)
            progress.advance(bars[kind], count)

        reader = PlatformReader(platform.transport)
        report = Export(reader, directory, experiment=experiment, files=artifacts, tell=tell).run()
    show(report, there="there", here="here")
    console().print(f"mlflow.set_tracking_uri({directory.absolute().as_uri()!r})", soft_wrap=True)
    if report.problems or not report.equal:
        raise typer.Exit(1)
