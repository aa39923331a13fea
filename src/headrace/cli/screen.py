"""What the terminal shows: one look for tables, problems and links."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from headrace.sdk.platform import Platform

WIDE = 100_000
"""Columns of an output that is no terminal; as many as `whole_table` takes for enough."""

UNSEEN = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")
"""What moves the cursor or colours the screen, and is no part of a name."""


def console(*, stderr: bool = False) -> "Console":
    """The terminal."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, emoji=False)
    if not made.is_terminal:  # what goes into a file or a pipe is not cut
        made.width = WIDE
    return made


def table(*columns: str, title: str | None = None, piped: bool | None = None) -> "Table":
    """An empty table; a column whose name begins with `>` is aligned to the right.

    What reads a pipe gets a line of names and a line for each row, without rules and edges.

    Args:
        columns: their names.
        title: above them.
        piped: whether it goes into a pipe; None looks where the output goes.
    """
    from rich import box

    from headrace.cli.whole_table import WholeTable

    made = WholeTable(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, header_style="dim"
    )
    if not console().is_terminal if piped is None else piped:
        made.box, made.pad_edge, made.padding = None, False, (0, 2, 0, 0)
    for column in columns:
        right = column.startswith(">")
        made.add_column(plain(column.removeprefix(">")), justify="right" if right else "left", overflow="fold")
    return made


def fitted(screen: "Console", columns: Mapping[str, Sequence[str]], dispensable: Sequence[str]) -> "Table":
    """A table of columns with their cells; what of it is dispensable goes, the first first, until the rest fits."""
    left = dict(columns)
    spare = [name for name in dispensable if name in left]
    while True:
        made = table(*left, piped=not screen.is_terminal)
        for cells in zip(*left.values(), strict=True):
            made.add_row(*cells)
        if not spare or screen.measure(made, options=screen.options.update(width=WIDE)).maximum <= screen.width:
            return made
        del left[spare.pop(0)]


def show_problem(problem: HeadraceError) -> None:
    """What went wrong, where, and what to do."""
    from rich.text import Text

    screen = console(stderr=True)
    line = Text("error ", style="bold red")
    if problem.where:
        line.append(f"{problem.where}: ", style="bold")
    line.append(problem.message)
    screen.print(line, soft_wrap=True)
    if problem.fix:
        screen.print(Text(f"      {problem.fix}", style="dim"), soft_wrap=True)


def warn_unless_known(platform: "Platform", screen: "Console", model: str) -> None:
    """Say it where something is set for a model that is not there: it may be on its way, or it is mistyped."""
    from headrace.errors import NotFound

    try:
        platform.model(model)
    except NotFound as problem:
        screen.print(f"[yellow]![/] {plain(problem.message)} yet. [dim]{plain(problem.fix or '')}[/]")


def plain(text: str) -> str:
    """What somebody typed, none of which is markup or an order to the terminal."""
    from rich.markup import escape

    return escape(text.translate(UNSEEN))


def moment(when: datetime | None) -> str:
    """A time, to the minute."""
    return "" if when is None else f"{when:%Y-%m-%d %H:%M}"


def day(when: datetime | None) -> str:
    """A date."""
    return "" if when is None else f"{when:%Y-%m-%d}"


STAGE_COLOURS = {"Production": "green", "Staging": "yellow", "Archived": "dim", "None": ""}


def coloured(text: str, style: str) -> str:
    """Markup for `text` in `style`; none for an empty style."""
    return f"[{style}]{text}[/]" if style else text


FAMILIAR = ("roc_auc", "accuracy", "brier", "log_loss", "average_precision")


def leading(metrics: set[str], most: int, *, asked: str = "") -> list[str]:
    """The metrics worth a column: those that were asked about, then those known best; never the machine's."""
    ranked = sorted(
        (key for key in metrics if not key.startswith("system/")),
        key=lambda key: (key not in asked, FAMILIAR.index(key) if key in FAMILIAR else len(FAMILIAR), key),
    )
    return ranked[:most]
