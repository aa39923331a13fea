"""`headrace release`, `approve` and `rollback`: the way into production, and back."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.delivery.nouns import Release
    from headrace.sdk.platform import Platform

GATEWAY_PATIENCE_S = 30.0
LOOK_EVERY_S = 0.05


def show_last(platform: "Platform", model: str) -> None:
    """A model's last release: where it stands, what its steps show, and on what evidence."""
    from headrace.cli.releases import show_release
    from headrace.cli.screen import console
    from headrace.errors import NotFound

    found = platform.releases(model)
    if not found:
        raise NotFound(f"{model} has no release", where=model, fix=f"Open one: headrace release {model}@1")
    show_release(console(), found[0])


def release(
    version: Annotated[str, typer.Argument(help="MODEL@N to open a release; MODEL to see it, or act on it.")],
    action: Annotated[
        str | None, typer.Option("--do", help="pause, resume, abort, promote or roll_back the open release.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    history: Annotated[
        bool, typer.Option("--history", help="Tell what happened to the last release, from its events alone.")
    ] = False,
) -> None:
    """Open a release of a version, see the last one of a model, or act on the open one."""
    from headrace.cli.releases import show_held
    from headrace.cli.screen import console, plain
    from headrace.delivery.nouns import ReleaseAction
    from headrace.errors import InvalidInput, NotFound
    from headrace.sdk.connect import connect

    platform = connect()
    model, _, number = version.partition("@")
    screen = console()
    if history:
        _tell(platform, model)
        return
    if action is None:
        if number == "" and "@" not in version:
            show_last(platform, model)
            return
        if not number.isdigit():
            raise InvalidInput(f"{version!r} names no version", where="VERSION", fix="Write churn@3.")
        opened = platform.open_release(model, int(number))
        screen.print(
            f"[green]✓[/] release {opened.id} of {plain(model)}@{opened.number} is open: {_stands_at(opened)}"
        )
        show_held(screen, opened)
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
    screen.print(f"[green]✓[/] release {changed.id} of {plain(model)}@{changed.number}: {_stands_at(changed)}")


def _stands_at(release: "Release") -> str:
    """The phase in words, and whether it is held there."""
    return f"{release.phase.replace('_', ' ')}{', paused' if release.state.paused else ''}"


def _tell(platform: "Platform", model: str) -> None:
    """Every event of a model's last release."""
    from headrace.cli.screen import console, plain, table
    from headrace.errors import NotFound

    found = platform.releases(model)
    if not found:
        raise NotFound(f"{model} has no release", where=model, fix=f"Open one: headrace release {model}@1")
    told = platform.release_history(found[0].id)
    shown = table(
        "when", "who", "what", "phase", ">weight", "why", title=plain(f"{found[0].id} of {found[0].model}")
    )
    for step in told.steps:
        what = str(step.happened.__struct_config__.tag).removeprefix("release_").replace("_", " ")
        weight = f"{step.state.weight_percent} %"
        shown.add_row(
            f"{step.at:%Y-%m-%d %H:%M:%S}",
            plain(step.actor),
            what,
            step.state.phase.replace("_", " "),
            weight,
            plain(step.happened.reason),
        )
    console().print(shown)
    console().print("the events lead to what is stored" if told.agrees else "[red]the events do not lead here[/]")


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
        int | None, typer.Option(help="Version to go back to \\[the last one before whose release completed].")
    ] = None,
    leave: Annotated[
        int | None,
        typer.Option("--from", help="Version to leave; refused when another one has the traffic by then."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    look: Annotated[bool, typer.Option("--look", help="Only say what it would do.")] = False,
) -> None:
    """Take the traffic back to an earlier version, now."""
    import time

    from headrace.cli.screen import console, plain
    from headrace.sdk.connect import connect

    platform = connect()
    screen = console()
    if look:
        ahead = platform.look_at_rollback(model)
        how = "which is loaded" if ahead.resident else "which gateways load first"
        screen.print(f"{plain(model)}: from version {ahead.left} back to {_version(ahead.now)}, {how}")
        return
    began = time.monotonic()
    done = platform.roll_back(model, to=to, expected=leave, reason=reason)
    if done.left == done.now:
        screen.print(f"{plain(model)}@{done.now} was in production already")
        return
    ended = f", release {done.release_id} is over" if done.release_id else ""
    screen.print(f"[green]✓[/] {plain(model)}: from version {done.left} back to {_version(done.now)}{ended}")
    if done.sequence is not None:
        _await_gateways(platform, done.sequence)
        screen.print(f"[green]✓[/] every gateway answers with it, {time.monotonic() - began:.1f} s after the call")


def _version(number: int | None) -> str:
    return "nothing, since nothing was in production before" if number is None else str(number)


def _await_gateways(platform: "Platform", sequence: int) -> None:
    """Wait until every gateway has applied a route."""
    import time

    from headrace.errors import Unavailable

    give_up = time.monotonic() + GATEWAY_PATIENCE_S
    while behind := platform.gateways_behind(sequence):
        if time.monotonic() > give_up:
            names = ", ".join(gateway.name for gateway in behind)
            raise Unavailable(
                f"{names} did not switch within {GATEWAY_PATIENCE_S:.0f} s",
                where="gateway",
                fix="The rollback itself is done and recorded; see the log of the gateway.",
            )
        time.sleep(LOOK_EVERY_S)
