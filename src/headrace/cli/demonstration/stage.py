"""What the demo prints: acts with their times, facts that were read back, progress bars, timings."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from headrace.cli.screen import table
from headrace.errors import InternalError


class Stage:
    """The terminal as the demo uses it."""

    def __init__(self, screen: Console) -> None:
        self.screen = screen
        self.confirmed = 0
        self._timings: list[tuple[str, float]] = []

    @contextmanager
    def act(self, title: str, date: str = "") -> Iterator[None]:
        """One act of the story; its time is kept."""
        self.screen.print()
        self.screen.print(f"[bold]{escape(title)}[/]" + (f"  [dim]{date}[/]" if date else ""))
        began = time.monotonic()
        yield
        self._timings.append((title, time.monotonic() - began))

    def say(self, text: str) -> None:
        """A line of the story."""
        self.screen.print(f"  [dim]{escape(text)}[/]", soft_wrap=True)

    def confirm(self, fact: str, *, holds: bool) -> None:
        """State a fact that was just read back through the public API.

        Raises:
            InternalError: it does not hold, so the demo has failed.
        """
        if not holds:
            raise InternalError(f"not confirmed: {fact}", where="demo", fix="The logs are in the demo's home.")
        self.confirmed += 1
        self.screen.print(f"  [green]✓[/] {escape(fact)}", soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int | None) -> Iterator["Bar"]:
        """A progress bar for work of known or unknown length."""
        columns = [TextColumn("  {task.description}"), BarColumn(30), TextColumn("[dim]{task.fields[note]}[/]")]
        if total is not None and total > 1:
            columns.insert(2, MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=self.screen, transient=True) as progress:
            yield Bar(progress, progress.add_task(title, total=total, note=""))

    def timings(self) -> None:
        """The acts and how long each took."""
        shown = table("act", ">seconds")
        for title, seconds in self._timings:
            shown.add_row(title, f"{seconds:.1f}")
        shown.add_row("[bold]all[/]", f"[bold]{sum(seconds for _, seconds in self._timings):.1f}[/]")
        self.screen.print(shown)


class Bar:
    """One progress bar."""

    def __init__(self, progress: Progress, task: object) -> None:
        self._progress = progress
        self._task = task

    def at(self, completed: float, note: str = "") -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=completed, note=escape(note))  # type: ignore[arg-type]

    def step(self, amount: float = 1.0) -> None:
        """Move the bar on."""
        self._progress.advance(self._task, amount)  # type: ignore[arg-type]
