"""`headrace predictions`: the prediction log in SQL."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="What was predicted, and what became of it.", no_args_is_help=True)

SHOWN_ROWS = 50


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

    from headrace.cli.screen import console, plain, show_rows
    from headrace.errors import InvalidInput
    from headrace.sdk.connect import connect

    if output is not None and output.suffix not in {".parquet", ".csv"}:
        raise InvalidInput("rows are written as Parquet or CSV", where=str(output), fix="Name a .parquet or .csv.")
    with closing(connect()) as platform:
        rows = platform.predictions.query(sql, timeout_s=timeout)
    screen = console()
    if output is None:
        most = SHOWN_ROWS if screen.is_terminal else rows.num_rows  # whoever reads a pipe wants them all
        found = rows.slice(0, most).to_pylist()
        show_rows(screen, rows.column_names, [[_cell(value) for value in row.values()] for row in found])
        if rows.num_rows > most:
            screen.print(f"{most} of {rows.num_rows:,} rows; --output writes them all", style="dim")
        return
    if output.suffix == ".csv":
        pyarrow.csv.write_csv(rows, output)
    else:
        pyarrow.parquet.write_table(rows, output)
    screen.print(f"{rows.num_rows} rows in {plain(str(output))}")


def _cell(value: object) -> str:
    """A value in one line."""
    return "" if value is None else str(value).replace("\n", "\\n")
