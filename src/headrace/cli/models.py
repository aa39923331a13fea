"""`headrace models`: models and their versions, what was in production when, and what of a version may change."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.registry.moves import History, StageMove


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
    name: Annotated[str | None, typer.Argument(help="One model, with its versions.")] = None,
) -> None:
    """Models and what is in production, or the versions of one."""
    from headrace.cli.overview import show_models, show_versions
    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    platform = connect()
    screen = console()
    if name is not None:
        show_versions(screen, platform, name)
    elif not show_models(screen, platform):
        screen.print("no model is there yet: apply a project, or register one with MLflow")


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
    from headrace.errors import InvalidInput
    from headrace.sdk.connect import connect

    model, _, number = version.rpartition("@")
    if not model or not number.isdigit():
        raise InvalidInput(f"{version!r} names no version", where="VERSION", fix="Write churn@3.")
    platform = connect()
    tags = None
    if tag:
        tags = dict(platform.version(model, int(number)).tags)
        for text in tag:
            key, _, value = text.partition("=")
            if value:
                tags[key] = value
            else:
                tags.pop(key, None)
    changed = platform.describe_version(model, int(number), description=description, tags=tags, owner=owner)
    console().print(f"[green]✓[/] {model}@{number}  owner {changed.owner}  {changed.description}")


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
