"""A table that cuts nothing: words and numbers stay whole however narrow the terminal is.

Where columns have to give way it is those of prose, line by line; where even their longest words have no room
beside one another, each row is told as lines, a column each.
"""

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

UNBOUNDED = 100_000
"""Columns in which everything has room."""


class WholeTable(Table):
    """See the module."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay the table out for the width that there is."""
        wide = options.update(width=UNBOUNDED)
        for column in self.columns:
            column.width = None
        whole = Measurement.get(console, wide, self)
        if whole.maximum > options.max_width:
            told = [column for column in self.columns if any(str(cell) for cell in column.cells)]
            self.columns = told or self.columns  # what says nothing takes no room where there is little
            whole = Measurement.get(console, wide, self)
        if whole.maximum > options.max_width:
            needed = [_measured(console, wide, column) for column in self.columns]
            edges = whole.maximum - sum(each.maximum for each in needed)
            room = options.max_width - edges - sum(each.minimum for each in needed)
            if room < 0:
                yield from self._listed()
                return
            for column, width in zip(self.columns, _shared(needed, room), strict=True):
                column.width = width
        yield from super().__rich_console__(console, options)

    def _listed(self) -> Iterator[Text]:
        """Each row below the other, a line a column; what is empty is left out."""
        if self.title:
            yield Text.from_markup(str(self.title), style="bold")
        names = [Text.from_markup(str(column.header)) for column in self.columns]
        most = max(len(name) for name in names)
        for row in zip(*(column.cells for column in self.columns), strict=True):
            yield Text("──", style="dim")
            for name, cell in zip(names, row, strict=True):
                value = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
                if value.plain.strip():
                    told = Text.assemble((name.plain.ljust(most), "dim"), "  ", value)
                    told.overflow = "fold"
                    yield told


def _measured(console: Console, options: ConsoleOptions, column: Column) -> Measurement:
    """The longest word and the longest line of a column."""
    found = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
    return Measurement(max(each.minimum for each in found), max(each.maximum for each in found))


def _shared(needed: Sequence[Measurement], room: int) -> list[int]:
    """Widths that leave words whole; what room is left goes, cell by cell, to what is the highest by then."""
    widths = [each.minimum for each in needed]
    for _ in range(room):
        highest = max(range(len(needed)), key=lambda place: needed[place].maximum / max(widths[place], 1))
        widths[highest] += 1
    return widths
