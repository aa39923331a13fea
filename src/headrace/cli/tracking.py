"""`headrace runs` and `headrace sync`: what was tracked, and what still waits to be."""

from pathlib import Path
from typing import Annotated

import typer

PATIENCE_S = 5.0
"""Seconds for which a platform is tried that does not answer; what waits is safe where it is."""


def runs(
    filter_: Annotated[
        str,
        typer.Argument(metavar="FILTER", help="What a run must be: \"metrics.auc > 0.8 AND params.depth = '3'\"."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    experiment: Annotated[str | None, typer.Option(help="Only one experiment, by name.")] = None,
    order_by: Annotated[
        list[str] | None,
        typer.Option("--order-by", help='Such as "max(metrics.auc) DESC".'),
    ] = None,
) -> None:
    """Runs with their metrics, newest first."""
    from headrace.cli.screen import console, fitted, leading, moment, plain
    from headrace.sdk.connect import connect

    platform = connect()
    screen = console()
    found = platform.runs.search(
        filter_, experiment=experiment, order_by=order_by or (), tags=(), params=(), limit=limit
    )
    if not found:
        among = "no run" if experiment is None else f"no run of {plain(experiment)}"
        screen.print(f"{among} meets the filter" if filter_ else f"{among} is there yet")
        return
    keys = leading({key for run in found for key in run.metrics}, 4, asked=f"{filter_} {' '.join(order_by or ())}")
    columns: dict[str, list[str]] = {
        "run": [f"[link={platform.url}/runs/{run.id}]{run.id}[/link]" for run in found],
        "name": [plain(run.name) for run in found],
        "status": [run.status for run in found],
        "started": [moment(run.started_at) for run in found],
        "by": [plain(run.user) for run in found],
    }
    for key in keys:
        columns[f">{key}"] = [f"{run.metrics[key].number:.4g}" if key in run.metrics else "" for run in found]
    last_metrics = [f">{key}" for key in reversed(keys[1:])]
    screen.print(fitted(screen, columns, ("by", *last_metrics[:-1], "started", *last_metrics[-1:])))


def sync(
    folder: Annotated[
        Path | None, typer.Argument(help="Where runs wait \\[HEADRACE_SPOOL, otherwise HEADRACE_HOME/spool].")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and look for new ones every few seconds.")] = False,
    every_s: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 5.0,
) -> None:
    """Send the runs that wait on this machine: their platform was away, or their process died."""
    import time

    from headrace.cli.screen import console, plain
    from headrace.errors import InvalidInput, Unavailable
    from headrace.kernel.settings import load_settings

    if folder is not None and not folder.is_dir() and not watch:
        raise InvalidInput("there is no such folder", where=str(folder), fix="Name the one that a run was kept in.")
    spool = (folder or load_settings().spool_path).absolute()
    left = _sync_once(spool, quiet=False)
    while watch:
        time.sleep(every_s)
        try:
            left = _sync_once(spool, quiet=True)
        except Unavailable as problem:
            console(stderr=True).print(f"[yellow]{plain(problem.message)}[/]")
    if left:
        raise typer.Exit(1)


def _sync_once(spool: Path, *, quiet: bool) -> int:
    """Send what waits; returns how many runs could not be sent."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    from headrace.cli.screen import console, plain, table
    from headrace.sdk.connect import connect
    from headrace.sdk.spool import spooled_runs
    from headrace.sdk.sync import sync as send

    if not any(True for _ in spooled_runs(spool)):
        if not quiet:
            console().print(f"nothing waits in {spool}")
        return 0
    platform = connect()
    platform.transport.patience_s = PATIENCE_S
    shown = table("run", "name", ">sent", "")
    failed = 0
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        bars: dict[str, TaskID] = {}

        def told(run_id: str, sent: int, total: int) -> None:
            bar = bars.get(run_id)
            if bar is None:
                bar = bars[run_id] = progress.add_task(run_id[:8], total=total)
            progress.update(bar, completed=sent)

        for one in send(spool, platform.transport, told):
            failed += one.problem is not None
            if one.in_progress:
                note = "goes on, and sends itself"
            elif one.problem is not None:
                note = f"[red]{plain(one.problem.message)}[/]"
            elif one.rejected:
                lines = "line" if one.rejected == 1 else "lines"
                note = f"[yellow]{one.rejected} {lines} refused, see {plain(str(one.folder))}[/]"
            else:
                note = f"{platform.url}/runs/{one.run_id}"
            shown.add_row(one.run_id, plain(one.name), f"{one.bytes_sent:,} B", note)
    console().print(shown)
    return failed
