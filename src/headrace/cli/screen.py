"""What the terminal shows: one look for tables, problems and links."""

from datetime import datetime
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console(*, stderr: bool = False) -> "Console":
    """The terminal."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def table(*columns: str, title: str | None = None) -> "Table":
    """An empty table; a column whose name begins with `>` is aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, header_style="dim")
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
    return made


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


def plain(text: str) -> str:
    """What somebody typed, none of which is markup."""
    from rich.markup import escape

    return escape(text)


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
