"""`headrace score`: a file of rows, answered by the model that answers online."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.serving.batch.scoring_outputs import Manifest


def score(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A model directory, models:/NAME/NUMBER, models:/NAME@ALIAS or runs:/ID/PATH."
        ),
    ],
    rows: Annotated[
        str, typer.Option("--input", "-i", help="A Parquet or CSV file, a folder of Parquet files, or lake:TABLE.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder for answers and rejected rows.")],
    format: Annotated[str | None, typer.Option(help="parquet or csv; as the input otherwise.")] = None,  # noqa: A002
    keep: Annotated[list[str] | None, typer.Option(help="A column to copy beside the answers; repeat it.")] = None,
    unknown_fields: Annotated[
        str | None,
        typer.Option(help="refuse or ignore columns that the model lacks; else as its project says."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first row that has no answer.")] = False,
    part_rows: Annotated[int, typer.Option(min=1, help="Rows of one file, held in memory at once.")] = 100_000,
    table: Annotated[str | None, typer.Option(help="A table of the lake here that takes the answers too.")] = None,
    log: Annotated[bool, typer.Option(help="Log a registered version's answers on the platform here.")] = True,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Let it run code when it is loaded; you trust who made it.")
    ] = False,
    on: Annotated[
        str | None, typer.Option(help="ray or ray://HOST:PORT: a cluster's workers answer; else this process.")
    ] = None,
) -> None:
    """Score a file or table; the same command again goes on where a killed one was."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from headrace.cli.screen import console, plain
    from headrace.errors import InvalidInput
    from headrace.sdk.scoring import score as score_rows

    if unknown_fields not in {None, "refuse", "ignore"}:
        raise InvalidInput("unknown fields are refused or ignored", where="--unknown-fields")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        bar = progress.add_task("rows", total=None)

        def told(done: int, rejected: int, every: int | None) -> None:
            name = f"rows, {rejected} rejected" if rejected else "rows"
            progress.update(bar, completed=done, total=every, description=name)

        done = score_rows(
            model,
            rows,
            output,
            format=format,
            keep=tuple(keep or ()),
            unknown_fields=unknown_fields,
            strict=strict,
            part_rows=part_rows,
            table=table,
            log=log,
            allow_pickle=allow_pickle,
            on=on,
            told=told,
        )
    told_rejects = f", {done.rejected} rejected: see _rejects-* there" if done.rejected else ""
    screen = console()
    answered = done.rows - done.rejected
    screen.print(plain(f"{answered:,} of {done.rows:,} rows answered, in {output}{told_rejects}"), soft_wrap=True)
    for line in whereabouts(done, table if answered else None):
        screen.print(f"  [dim]{plain(line)}[/]", soft_wrap=True)
    if done.rejected and done.rejected == done.rows:
        raise typer.Exit(1)


def whereabouts(done: "Manifest", table: str | None) -> list[str]:
    """Where else the answers are, and how to look at them there; or why the log has none."""
    lines = [] if table is None else [f"also in the table {table} of the lake"]
    if done.unlogged:
        return [*lines, f"not in the prediction log: {done.unlogged}"]
    if done.rows == done.rejected:
        return lines
    name = done.model.replace('"', '""')
    query = f"""SELECT * FROM predictions."{name}" WHERE prediction_id LIKE '{done.run_id}%'"""  # noqa: S608 - for people to run, as themselves
    for special in '\\"$`':
        query = query.replace(special, f"\\{special}")
    return [*lines, "in the prediction log, with purpose batch:", f'  headrace predictions query "{query}"']
