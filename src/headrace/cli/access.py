"""`headrace access`: principals, their roles and their tokens."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.sdk.platform import Platform

app = typer.Typer(help="Who may do what: principals, roles, tokens.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the principal, for example ana or ci@build.")]
Roles = Annotated[
    list[str], typer.Option("--role", help="viewer, developer, approver, operator or admin; may be repeated.")
]


@app.command("add")
def add(
    name: Name,
    role: Roles,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Write into a home on which nothing runs: its first admin."),
    ] = False,
    home: Annotated[Path | None, typer.Option(help="With --offline: the platform's folder [.headrace].")] = None,
) -> None:
    """Make a principal and its first token, which is shown this once."""
    from headrace.cli.screen import console, plain
    from headrace.kernel.access import role_named
    from headrace.kernel.settings import load_settings
    from headrace.sdk.connect import connect
    from headrace.server.offline import add_principal

    if offline:
        token = add_principal(load_settings(home=home), name, [role_named(text) for text in role])
    else:
        platform = connect(home=home)
        platform.access.add(name, role)
        token = platform.access.issue_token(name)
    screen = console()
    screen.print(plain(f"{name} may act as {', '.join(role)}"))
    screen.print("  token, shown only now:", style="dim")
    print(token.secret)


@app.command("list")
def show() -> None:
    """Every principal and its roles."""
    from headrace.cli.screen import console, plain, table
    from headrace.sdk.connect import connect

    shown = table("principal", "roles", "state")
    for principal in connect().access.list():
        shown.add_row(plain(principal.name), ", ".join(principal.roles), "disabled" if principal.disabled else "")
    console().print(shown)


@app.command("token")
def token(name: Name) -> None:
    """Make one more token for a principal; it is shown this once."""
    from headrace.sdk.connect import connect

    print(connect().access.issue_token(name).secret)


@app.command("grant")
def grant(name: Name, role: Annotated[str, typer.Argument(help="The role to give.")]) -> None:
    """Give a role."""
    from headrace.cli.screen import console, plain
    from headrace.sdk.connect import connect

    platform = connect()
    before = _roles(platform, name)
    made = platform.access.grant(name, role)
    already = f"{name} had the role {role} already: " if role in before else ""
    console().print(plain(f"{already}{made.name} may act as {', '.join(made.roles)}"))


@app.command("revoke")
def revoke(name: Name, role: Annotated[str, typer.Argument(help="The role to take away.")]) -> None:
    """Take a role away, at once for every token."""
    from headrace.cli.screen import console, plain
    from headrace.sdk.connect import connect

    platform = connect()
    before = _roles(platform, name)
    made = platform.access.revoke(name, role)
    had_not = "" if role in before else f"{name} had not got the role {role}, so nothing has changed: "
    console().print(plain(f"{had_not}{made.name} may act as {', '.join(made.roles) or 'nobody'}"))


@app.command("disable")
def disable(name: Name) -> None:
    """Refuse a principal and all its tokens from now on."""
    from headrace.cli.screen import console, plain
    from headrace.sdk.connect import connect

    connect().access.disable(name)
    console().print(plain(f"{name} is disabled"))
    console().print(f"  to let {plain(name)} in again: headrace access enable {plain(name)}", style="dim")


@app.command("enable")
def enable(name: Name) -> None:
    """Let a disabled principal in again, with its roles; it needs a new token."""
    from headrace.cli.screen import console, plain
    from headrace.sdk.connect import connect

    platform = connect()
    was_disabled = any(each.name == name and each.disabled for each in platform.access.list())
    made = platform.access.enable(name)
    screen = console()
    if not was_disabled:
        screen.print(plain(f"{name} is not disabled, so nothing has changed"))
        return
    screen.print(plain(f"{name} may act as {', '.join(made.roles) or 'nobody'} again; earlier tokens stay refused"))
    screen.print(f"  a new one: headrace access token {plain(name)}", style="dim")


def _roles(platform: "Platform", name: str) -> tuple[str, ...]:
    """The roles that a principal has; none where there is no such principal, which the change itself will say."""
    return next((tuple(each.roles) for each in platform.access.list() if each.name == name), ())
