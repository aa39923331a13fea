"""`headrace retention`: how long what was predicted is kept."""

from typing import Annotated

import typer

app = typer.Typer(help="How long predictions, feedback and labels are kept.", no_args_is_help=True)

CLASS = "predictions, feedback or labels."
ONE_MODEL = "Only of this model."


@app.command("show")
def show() -> None:
    """Show the rules; what has none is kept for ever."""
    from contextlib import closing

    from headrace.cli.screen import console, moment, plain, table
    from headrace.sdk.connect import connect

    with closing(connect()) as platform:
        rules = platform.retention.rules()
    shown = table("data", "model", "kept for", "set by", "at")
    for rule in rules:
        model = plain(rule.model) or "all others"
        shown.add_row(rule.data_class.value, model, rule.keep, plain(rule.set_by), moment(rule.set_at))
    console().print(shown if shown.row_count else "no rule is set: everything is kept for ever")


@app.command("set")
def keep(
    data_class: Annotated[str, typer.Argument(metavar="CLASS", help=CLASS)],
    duration: Annotated[str, typer.Argument(metavar="DURATION", help="Such as 90d; never keeps it for ever.")],
    model: Annotated[str, typer.Option(help=ONE_MODEL)] = "",
) -> None:
    """Say how long a class of data is kept; what is older goes within the hour, its files an hour later."""
    from contextlib import closing

    from headrace.cli.screen import console, plain, warn_unless_known
    from headrace.sdk.connect import connect

    screen = console()
    with closing(connect()) as platform:
        if duration == "never":
            platform.retention.keep_for_ever(data_class, model=model)
        else:
            platform.retention.keep(data_class, duration, model=model)
        if model:
            warn_unless_known(platform, screen, model)
    whose = f" of {model}" if model else ""
    screen.print(plain(f"{data_class}{whose}: " + ("kept for ever" if duration == "never" else duration)))


@app.command("erase")
def erase(
    entity: Annotated[str, typer.Argument(metavar="KEY=VALUE", help="Such as customer_id=7.")],
    text: Annotated[
        bool, typer.Option("--text", help="The value is a text, also where it looks like a number.")
    ] = False,
) -> None:
    """Remove all predictions about an entity, with their labels and feedback."""
    from contextlib import closing

    from headrace.cli.screen import console
    from headrace.errors import InvalidInput
    from headrace.sdk.connect import connect

    key, found, value = entity.partition("=")
    if not found or not key:
        raise InvalidInput("this names no entity", where=entity, fix="Write KEY=VALUE, such as customer_id=7.")
    number = value.removeprefix("-").isdecimal() and not text
    with closing(connect()) as platform:
        job = platform.retention.erase(key, int(value) if number else value)
    console().print(f"asked for as {job.id}; see headrace audit for what went")
