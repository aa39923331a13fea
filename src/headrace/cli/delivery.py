"""`headrace release`, `approve` and `rollback`: the way into production, and back."""

from typing import Annotated

import typer


def release(
    version: Annotated[str, typer.Argument(help="MODEL@N to open a release; MODEL to act on the open one.")],
    action: Annotated[
        str | None, typer.Option("--do", help="pause, resume, abort, promote or roll_back the open release.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
) -> None:
    """Open a release of a version, or act on the open one."""
    from headrace.cli.screen import console
    from headrace.delivery.nouns import ReleaseAction
    from headrace.errors import InvalidInput, NotFound
    from headrace.sdk.connect import connect

    platform = connect()
    model, _, number = version.partition("@")
    screen = console()
    if action is None:
        if not number.isdigit():
            raise InvalidInput(f"{version!r} names no version", where="VERSION", fix="Write churn@3.")
        opened = platform.open_release(model, int(number))
        screen.print(f"[green]✓[/] release {opened.id} of {model}@{opened.number} is open: {opened.phase}")
        return
    found = [item for item in platform.releases(model) if not item.state.final]
    if not found:
        raise NotFound(f"no release of {model} is open", where=model, fix="See: headrace status")
    try:
        wanted = ReleaseAction(action)
    except ValueError as error:
        raise InvalidInput(
            f"{action!r} is nothing that a release can do",
            where="--do",
            fix=f"Use one of {', '.join(ReleaseAction)}.",
        ) from error
    changed = platform.command_release(found[0].id, wanted, reason)
    screen.print(f"[green]✓[/] release {changed.id} of {model}@{changed.number}: {changed.phase}")


def approve(
    version: Annotated[str, typer.Argument(help="MODEL@N, or MODEL for its only open request.")],
    refuse: Annotated[bool, typer.Option("--refuse", help="Refuse instead.")] = False,
    meaning: Annotated[str, typer.Option(help="What the approval means, for the record.")] = "",
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
) -> None:
    """Decide on a version's request for approval, as a second pair of eyes."""
    from headrace.cli.approvals import answer, find
    from headrace.sdk.connect import connect

    platform = connect()
    answer(platform, find(platform, version), grants=not refuse, meaning=meaning, reason=reason)


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    to: Annotated[
        int | None, typer.Option(help="Version to go back to [the last one whose release completed].")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
) -> None:
    """Take the traffic back to an earlier version, now."""
    from headrace.cli.screen import console
    from headrace.sdk.connect import connect

    done = connect().roll_back(model, to=to, reason=reason)
    if done.left == done.now:
        console().print(f"{model}@{done.now} was in production already")
    else:
        console().print(f"[green]✓[/] {model}: from version {done.left} back to {done.now}")
