"""`headrace predictions`: the prediction log in SQL."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from headrace.serving.query_nouns import Asked

app = typer.Typer(help="What was predicted, and what became of it.", no_args_is_help=True)

SHOWN_ROWS = 50
SHOWN_RECORDS = 10
"""Where a row takes as many lines as it has columns."""


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

    from headrace.cli.screen import console, plain
    from headrace.errors import InvalidInput
    from headrace.sdk.connect import connect

    if output is not None and output.suffix not in {".parquet", ".csv"}:
        raise InvalidInput("rows are written as Parquet or CSV", where=str(output), fix="Name a .parquet or .csv.")
    screen, aside = console(), console(stderr=True)
    began_s = time.monotonic()
    with closing(connect()) as platform, aside.status("asks") as status:
        answer = platform.predictions.ask(
            sql, timeout_s=timeout, told=lambda asked: status.update(plain(stage(asked)))
        )
        status.update("fetches the rows")
        rows = platform.predictions.rows(answer)
    most = ", the most that an answer holds; there are more" if answer.truncated else ""
    told = f"{rows.num_rows} {'row' if rows.num_rows == 1 else 'rows'}{most}"
    if output is None:
        shown = show(screen, rows)
        part = f"{shown} of " if shown < rows.num_rows else ""
        write = "; --output writes them all" if shown < rows.num_rows else ""
        aside.print(f"{part}{told}{write} ({time.monotonic() - began_s:.1f} s)", style="dim")
        return
    if output.suffix == ".csv":
        pyarrow.csv.write_csv(rows, output)
    else:
        pyarrow.parquet.write_table(rows, output)
    screen.print(f"{told}, in {plain(str(output))}")


def stage(asked: "Asked") -> str:
    """What a query is at."""
    if asked.state == "queued":
        return "waits for a worker"
    done = f", about {asked.done:.0%}" if asked.done else ""
    return f"{asked.note or 'a worker has it'}{done}"


def show(screen: "Console", rows: "pa.Table") -> int:
    """Rows as a table, or one below the other where that is too narrow; how many are shown."""
    from headrace.cli.screen import WIDE, plain, table

    cells = [
        [plain("" if value is None else str(value)) for value in column.to_pylist()]
        for column in rows.slice(0, SHOWN_ROWS).columns
    ]
    numbers = [_is_number(kind) for kind in rows.schema.types]
    shown = table(*(f"{'>' * right}{name}" for name, right in zip(rows.column_names, numbers, strict=True)))
    for row in zip(*cells, strict=True):
        shown.add_row(*row)
    if screen.measure(shown, options=screen.options.update(width=WIDE)).maximum <= screen.width:
        screen.print(shown)
        return len(cells[0])
    below = table("row", "column", "value")
    few = list(zip(*cells, strict=True))[:SHOWN_RECORDS]
    for number, row in enumerate(few, 1):
        for place, (name, value) in enumerate(zip(rows.column_names, row, strict=True)):
            below.add_row("" if place else str(number), plain(name), value, end_section=place == len(row) - 1)
    screen.print(below)
    return len(few)


def _is_number(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))
