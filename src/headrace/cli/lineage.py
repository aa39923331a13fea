"""`headrace lineage`: what a version was made from and what came of it, or which versions use one thing."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.governance.nouns import UsesPage, VersionUse
    from headrace.sdk.platform import Platform


def lineage(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL@N]",
            help="MODEL@3, MODEL@champion, MODEL@production, or anything in the graph such as run/<id>.",
        ),
    ] = None,
    up: Annotated[bool, typer.Option("--up", help="Only what it was made from.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Only what came of it.")] = False,
    depth: Annotated[int, typer.Option(min=1, max=50, help="How many steps away.")] = 12,
    neighbours: Annotated[int, typer.Option(min=1, max=200, help="How many of each thing at most.")] = 10,
    versions: Annotated[bool, typer.Option("--versions", help="List all versions that came of it.")] = False,
    table: Annotated[
        str, typer.Option(help="List the versions that used a source, a lake table, TABLE@N or a dataset.")
    ] = "",
    feature: Annotated[str, typer.Option(help="List those that read a feature: activity.spend_90d.")] = "",
    view: Annotated[str, typer.Option(help="List those that read a feature view: activity, or activity@2.")] = "",
    commit: Annotated[str, typer.Option(help="List those made from a commit, or from its first digits.")] = "",
    package: Annotated[str, typer.Option(help='List those that use a package: "numpy<2.1", "python<3.12".')] = "",
    unpinned: Annotated[
        bool, typer.Option("--unpinned", help="With --package: those that name it without an exact version.")
    ] = False,
    production: Annotated[bool, typer.Option("--production", help="List only what is in production now.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many versions to list.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a version was made from and what came of it; or which versions use a table, a feature, a package."""
    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    asked = {"table": table, "feature": feature, "view": view, "commit": commit, "package": package}
    given = {option: value for option, value in asked.items() if value}
    if name and versions:
        given["subject"] = name
    elif name:
        given["name"] = name
    _require_one(given)
    platform = connect()
    if "name" in given:
        _show_around(console(), platform, name or "", up or not down, down or not up, depth, neighbours, as_json)
        return
    _show_uses(console(), platform, given, unpinned=unpinned, production=production, limit=limit, as_json=as_json)


def _require_one(given: dict[str, str]) -> None:
    from headrace.errors import InvalidInput

    if len(given) != 1:
        raise InvalidInput(
            "ask for one thing",
            where="lineage",
            fix='Such as: headrace lineage churn@3, or headrace lineage --package "numpy<2.1".',
        )


def _show_around(
    screen: "Console",
    platform: "Platform",
    name: str,
    up: bool,
    down: bool,
    depth: int,
    neighbours: int,
    as_json: bool,
) -> None:
    import msgspec

    from headrace.cli.lineage_tree import LineageTree

    found = platform.lineage.of(name, up=up, down=down, depth=depth, neighbours=neighbours)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    drawn = LineageTree(found, url=platform.url)
    screen.print(drawn.head())
    if up:
        screen.print(drawn.branches("up", "made from"))
    if down:
        screen.print(drawn.branches("down", "led to"))
    if any(node.more_downstream for node in found.nodes):
        screen.print(f"[dim]All versions that came of it: headrace lineage {name} --versions[/]")


def _show_uses(
    screen: "Console",
    platform: "Platform",
    asked: dict[str, str],
    *,
    unpinned: bool,
    production: bool,
    limit: int,
    as_json: bool,
) -> None:
    import msgspec

    pages: list[UsesPage] = []
    shown: list[VersionUse] = []
    cursor = ""
    while len(shown) < limit and (not pages or cursor):
        size = min(1_000, limit - len(shown))
        page = platform.lineage.page(asked, unpinned=unpinned, production=production, limit=size, cursor=cursor)
        pages.append(page)
        shown += page.versions
        cursor = page.next_cursor
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())
        return
    _print_uses(screen, asked, shown, pages[0], more=bool(cursor), production=production, unpinned=unpinned)


def _print_uses(
    screen: "Console",
    asked: dict[str, str],
    shown: "list[VersionUse]",
    first: "UsesPage",
    *,
    more: bool,
    production: bool,
    unpinned: bool,
) -> None:
    from rich.markup import escape

    from headrace.cli.lineage_lines import short
    from headrace.cli.screen import STAGE_COLOURS, coloured, day, moment, table

    ((kind, value),) = asked.items()
    count = f"the newest {len(shown):,} versions" if more else f"{len(shown):,} version{'s'[: len(shown) != 1]}"
    where = " in production" if production else ""
    how = " without an exact version" if unpinned else ""
    screen.print(f"[bold]{escape(value)}[/] [dim]{kind}{how}[/]  {count}{where}")
    listed = table("version", "stage", "owner", "registered", "uses")
    for use in shown:
        stage = (
            coloured(use.stage, STAGE_COLOURS[use.stage]) if use.stage else f"[red]deleted {day(use.deleted_at)}[/]"
        )
        through = ", ".join(each.detail or short(each.subject) for each in use.through)
        listed.add_row(
            escape(f"{use.model}@{use.number}"),
            stage,
            escape(use.owner),
            moment(use.registered_at),
            escape(through),
        )
    if shown:
        screen.print(listed)
    if more:
        screen.print("[dim]There are more: --limit[/]")
    if first.unpinned and not unpinned:
        screen.print(
            f"[yellow]Other versions name the package without an exact version:[/]"
            f' headrace lineage --package "{escape(value)}" --unpinned'
        )
