"""`headrace predictions`: the prediction log in SQL."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.serving.query_nouns import Asked

app = typer.Typer(help="What was predicted, and what became of it.", no_args_is_help=True)

SHOWN_ROWS = 50
INTERRUPTED = 130


@app.callback()
def chosen() -> None:
    """Nothing is done before a command is named."""


@app.command("query")
def query(
    sql: Annotated[
        str, typer.Argument(metavar="SELECT", help="One SELECT over predictions, feedback and predictions.NAME.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the rows to this file: .parquet or .csv.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that it may take.")] = 60.0,
) -> None:
    """Ask the prediction log, with feedback, in SQL (DuckDB's dialect)."""
    from contextlib import closing

    import pyarrow.csv
    import pyarrow.parquet

    from headrace.cli.screen import console, plain, table
    from headrace.errors import InvalidInput
    from headrace.sdk.connect import connect

    if output is not None and output.suffix not in {".parquet", ".csv"}:
        raise InvalidInput("rows are written as Parquet or CSV", where=str(output), fix="Name a .parquet or .csv.")
    screen, aside = console(), console(stderr=True)
    began_s = time.monotonic()
    with closing(connect()) as platform:
        try:
            with aside.status("asks") as status:
                answer = platform.predictions.ask(
                    sql, timeout_s=timeout, told=lambda asked: status.update(plain(stage(asked)))
                )
                status.update("fetches the rows")
                rows = platform.predictions.rows(answer)
        except KeyboardInterrupt:
            aside.print("the query is cancelled")
            raise typer.Exit(INTERRUPTED) from None
    cut = "; there are more, and these are the most that an answer holds" if answer.truncated else ""
    told = f"{rows.num_rows:,} {'row' if rows.num_rows == 1 else 'rows'}"
    if output is None:
        most = SHOWN_ROWS if screen.is_terminal else rows.num_rows  # whoever reads a pipe wants them all
        found = rows.slice(0, most).to_pylist()
        shown = table(*map(plain, rows.column_names))
        for row in found:
            shown.add_row(*(plain(_cell(value)) for value in row.values()))
        screen.print(shown)
        part = f"{most} of {told}; --output writes them all" if rows.num_rows > most else told
        aside.print(f"{part}{cut} ({time.monotonic() - began_s:.1f} s)", style="dim")
        return
    if output.suffix == ".csv":
        pyarrow.csv.write_csv(rows, output)
    else:
        pyarrow.parquet.write_table(rows, output)
    screen.print(f"{told} in {plain(str(output))}{cut}")


def stage(asked: "Asked") -> str:
    """What a query is at."""
    if asked.state == "queued":
        return "waits for a worker"
    done = f", about {asked.done:.0%}" if asked.done else ""
    return f"{asked.note or 'a worker has it'}{done}"


def _cell(value: object) -> str:
    """A value in one line."""
    return "" if value is None else str(value).replace("\n", "\\n")
