"""`headrace gc`: what was deleted goes for good, and its bytes with it."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from headrace.tracking.nouns import Collection, Purge


def gc(
    older_than: Annotated[str, typer.Option(help="How long ago it was deleted, such as 30d, 12h or 0s.")] = "30d",
    spare: Annotated[str, typer.Option(help="Leave bytes that were stored within this time.")] = "1d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove for good what was deleted long ago, and the bytes that nothing names any more."""
    from headrace.cli.screen import console
    from headrace.project.durations import parse_duration
    from headrace.sdk.connect import connect

    platform = connect()
    retention, spared = parse_duration(older_than, field="--older-than"), parse_duration(spare, field="--spare")
    screen = console()
    planned = platform.purge(retention)
    screen.print(_purged(planned, f"Deleted more than {older_than} ago"))
    _show_held(planned)
    if dry_run:
        screen.print(_collected(platform.collect(spared), "Bytes that nothing names now"))
        return
    if not yes:
        typer.confirm("Remove it for good, and the bytes that nothing names any more?", abort=True)
    with screen.status("removing") as status:
        done = platform.purge(
            retention, dry_run=False, told=lambda so_far: status.update(f"removing: {so_far.runs:,} runs")
        )
        status.update("collecting bytes")
        freed = platform.collect(spared, dry_run=False)
    screen.print(_purged(done, "Removed"))
    screen.print(_collected(freed, "Bytes collected"))


def _purged(found: "Purge", title: str) -> "Table":
    from headrace.cli.screen import table

    shown = table(">runs", ">logged models", ">experiments", ">points", ">files", ">bytes", title=title)
    counts = (found.runs, found.logged_models, found.experiments, found.points, found.files, found.bytes)
    shown.add_row(*(f"{count:,}" for count in counts))
    return shown


def _collected(found: "Collection", title: str) -> "Table":
    from headrace.cli.screen import table

    shown = table(">blobs", ">bytes", ">spared as young", ">in the store", title=title)
    shown.add_row(*(f"{count:,}" for count in (found.blobs, found.bytes, found.young, found.examined)))
    return shown


def _show_held(found: "Purge") -> None:
    from headrace.cli.screen import console, plain, table

    if found.held:
        shown = table("stays", "needed by", title="Deleted, and still needed")
        for held in found.held:
            shown.add_row(plain(held.subject), plain(", ".join(held.holders)))
        console().print(shown)
