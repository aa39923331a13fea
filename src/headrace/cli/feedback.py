"""`headrace feedback`: what became of predictions."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="What became of predictions: send it, and see what it says of each version.", no_args_is_help=True
)


@app.command("send")
def send(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines with prediction_id, value, name, at, metadata.")
    ],
) -> None:
    """Send what a file says; sending it again changes nothing."""
    from collections.abc import Iterator
    from contextlib import closing

    import msgspec

    from headrace.cli.screen import console
    from headrace.errors import InvalidInput
    from headrace.sdk.connect import connect
    from headrace.serving.feedback_nouns import Feedback

    def read() -> Iterator[Feedback]:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    if line.strip():
                        yield msgspec.json.decode(line, type=Feedback)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise InvalidInput(f"this line is no feedback: {error}", where=f"{file}:{number}") from None

    if not file.is_file():
        raise InvalidInput("there is no such file", where=str(file))
    with closing(connect()) as platform:
        taken = platform.feedback.send(read())
    console().print(f"{taken.accepted} sent, {taken.new} of them new, {taken.corrections} corrections")


@app.command("show")
def show(model: Annotated[str, typer.Argument(help="The model's name.")]) -> None:
    """What counts of a model's feedback, by version and name."""
    from contextlib import closing

    from headrace.cli.screen import console, plain, table
    from headrace.sdk.connect import connect

    with closing(connect()) as platform:
        tallies, state = platform.feedback.tallies(model), platform.feedback.state()
    screen = console()
    compared = any(tally.compared for tally in tallies)
    shown = table(">version", "name", ">count", ">mean", *(["label is what was predicted"] if compared else []))
    for tally in tallies:
        agrees = "" if tally.accuracy is None else f"{tally.accuracy:.1%} of {tally.compared:,}"
        mean = f"{tally.total / tally.count:.4g}"
        cells = (str(tally.version), plain(tally.name), f"{tally.count:,}", mean)
        shown.add_row(*cells, *([agrees] if compared else []))
    if tallies:
        screen.print(shown)
    else:
        screen.print(plain(f"no number was said of a prediction of {model} yet; texts are kept, and not added up"))
    if state.waiting:
        one = state.waiting == 1
        waits = "1 item waits for its prediction" if one else f"{state.waiting:,} items wait for their predictions"
        screen.print(f"{waits}, of whatever model: the log is brought in within seconds", style="dim")
