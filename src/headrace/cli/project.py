"""`headrace apply` and `headrace train`: from a project file to a registered version."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.progress import TaskID

    from headrace.delivery.nouns import Pipeline, Plan
    from headrace.sdk.platform import Platform

COLOURS = {"created": "green", "changed": "yellow", "unchanged": "dim", "archived": "red"}
SIGNS = {"created": "+", "changed": "~", "unchanged": " ", "archived": "-"}


def apply(
    project: Annotated[Path, typer.Argument(help="The project file, or its folder.")] = Path(),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Apply without asking.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Only show what would change.")] = False,
) -> None:
    """Show what a project changes, then apply all of it or nothing."""
    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    platform = connect()
    screen = console()
    packed, plan = platform.plan(project)
    show_plan(screen, plan)
    if plan_only:
        return
    if all(change.action == "unchanged" for change in plan.changes):
        screen.print("nothing changes")
        return
    if not yes and not typer.confirm("Apply?", default=True):
        raise typer.Exit(1)
    applied = platform.apply(packed, plan)
    changed = sum(change.action != "unchanged" for change in applied.changes)
    told = "1 change" if changed == 1 else f"{changed} changes"
    screen.print(f"[green]✓[/] {applied.project} is applied: {told}")


def show_plan(screen: "Console", plan: "Plan") -> None:
    """A line for each object: what happens to it, and where it is declared."""
    from headrace.cli.screen import plain

    for change in plan.changes:
        colour = COLOURS[change.action]
        sign = f"[{colour}]{SIGNS[change.action]} {change.action:<9}[/]"
        line = f"  {sign} {change.kind.replace('_', ' '):<12} {change.name}"
        where = f"  [dim]{plain(change.declared_at)}[/]" if change.declared_at else ""
        screen.print(f"{line}{where}", soft_wrap=True)
        for detail in () if change.action == "unchanged" else change.details:
            screen.print(f"              [dim]{plain(detail)}[/]", soft_wrap=True)
        for warning in change.warnings:
            screen.print(f"              [yellow]! {plain(warning)}[/]", soft_wrap=True)
        if change.bound:
            show_bound(screen, change.bound, "the next release", indent=14)


def show_bound(screen: "Console", bound: "Sequence[str]", which: str, *, indent: int) -> None:
    """What of a declared delivery does not hold yet."""
    from headrace.cli.screen import plain

    room = " " * indent
    head = f"{which} is held to more than is declared, by what production was released by (declared → what holds):"
    screen.print(f"{room}[yellow]![/] {head}", soft_wrap=True)
    for line in bound:
        screen.print(f"{room}  [dim]{plain(line)}[/]", soft_wrap=True)


def train(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Business day of the features \\[newest with mature labels]."),
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="Override a default: name=value; may be repeated.")
    ] = None,
    release: Annotated[bool, typer.Option(help="Open a release when the version is registered.")] = True,
) -> None:
    """Train a model: training set, data checks, search, fit, registration, release."""
    from headrace.cli.screen import console, plain
    from headrace.sdk.connect import connect

    platform = connect()
    when = None if as_of is None else as_of.replace(tzinfo=UTC)
    pipeline = platform.train(model, as_of=when, params=parameters(param or []), release=release)
    screen = console()
    ended = follow(screen, platform, pipeline)
    if ended.status != "succeeded":
        screen.print(f"[red]✗[/] {ended.status}: {plain(ended.note)}")
        raise typer.Exit(1)
    screen.print(f"[green]✓[/] {model}@{ended.number} is registered   {platform.url}")
    if ended.release_id:
        screen.print(
            f"  release {ended.release_id} is open; what it waits for: headrace release {model}",
            style="dim",
            soft_wrap=True,
        )


def parameters(pairs: list[str]) -> dict[str, str | int | float | bool | None]:
    """`name=value` pairs as parameters; a value is JSON where it can be, otherwise text."""
    import msgspec

    from headrace.errors import InvalidInput

    found: dict[str, str | int | float | bool | None] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise InvalidInput(f"{pair!r} is not name=value", where="--param", fix="Write --param max_iter=200.")
        try:
            found[name] = msgspec.json.decode(text, type=str | int | float | bool | None)
        except msgspec.MsgspecError:
            found[name] = text
    return found


def follow(screen: "Console", platform: "Platform", pipeline: "Pipeline") -> "Pipeline":
    """Show a pipeline's stages as they go by, until it has ended."""
    import time

    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    with Progress(
        TextColumn("  {task.description}", table_column=Column(min_width=29, no_wrap=True)),
        BarColumn(12),
        TextColumn("[dim]{task.fields[note]}[/]"),
        TimeElapsedColumn(table_column=Column(min_width=7, no_wrap=True)),
        console=screen,
    ) as progress:
        tasks: dict[str, TaskID] = {}
        while True:
            pipeline = platform.pipeline(pipeline.id)
            job = platform.job(pipeline.job_id) if pipeline.job_id else None
            for stage in pipeline.stages:
                if stage.name not in tasks:
                    tasks[stage.name] = progress.add_task(stage.name, total=1.0, note="")
                task = tasks[stage.name]
                if stage.status == "running":
                    fraction = float((job.progress or {}).get("fraction", 0.0)) if job else 0.0
                    note = str((job.progress or {}).get("note", "")) if job else ""
                    progress.update(task, completed=min(fraction, 0.99), note=note)
                else:
                    progress.update(task, completed=1.0, note=stage.note)
            if pipeline.status in {"succeeded", "failed", "blocked"}:
                return pipeline
            time.sleep(0.1)
