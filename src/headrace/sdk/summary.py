"""What a person sees of a run in the terminal: that it began, what is left to send, and how it ended."""

import math
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError
from headrace.sdk.records import Ending
from headrace.tracking.nouns import CreateRun, Run

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress
    from rich.table import Table

SHOWN_METRICS = 12
SMALL_BYTES = 1_000_000
STYLES = {"FINISHED": "green", "FAILED": "red", "KILLED": "yellow"}


class Seen:
    """What was logged of one metric."""

    __slots__ = ("count", "high", "last", "low")

    def __init__(self) -> None:
        self.last = math.nan
        self.low = math.inf
        self.high = -math.inf
        self.count = 0

    def add(self, value: float) -> None:
        """Take one value."""
        self.last = value
        self.count += 1
        if value < self.low:
            self.low = value
        if value > self.high:
            self.high = value


class Screen:
    """The terminal, on stderr so that a program's own output stays its own.

    Args:
        quiet: print nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._progress: Progress | None = None
        self._most = 0

    def began(self, name: str, url: str | None) -> None:
        """The platform knows the run."""
        if not self._quiet:
            from rich.text import Text

            self._print(Text.assemble("run ", (name, "bold"), f"  {url or ''}"))

    def waiting(self, left_bytes: int) -> None:
        """Some of it is still to be sent; shown as a bar where it takes a while."""
        if self._quiet or (self._progress is None and left_bytes < SMALL_BYTES) or not sys.stderr.isatty():
            return
        if self._progress is None:
            self._progress = self._bar()
        self._most = max(self._most, left_bytes)
        self._progress.update(self._progress.task_ids[0], total=self._most, completed=self._most - left_bytes)

    def ended(
        self,
        request: CreateRun,
        ending: Ending,
        seen: Mapping[str, Seen],
        *,
        run: Run | None,
        url: str | None,
        kept_in: Path | None,
        problem: HeadraceError | None,
        rejected: Path | None,
    ) -> None:
        """The run has ended.

        Args:
            request: how it began.
            ending: how it ended.
            seen: its metrics.
            run: as the platform knows it; None when it does not yet.
            url: where it can be looked at; None when not all of it has arrived.
            kept_in: where it waits then.
            problem: why it waits.
            rejected: where that lies which the platform refused.
        """
        if self._progress is not None:
            self._progress.stop()
        if self._quiet:
            return
        from rich.text import Text

        name = str(run.name if run is not None else request.name or request.id)
        lasted = "" if request.started_at is None else _duration((ending.at - request.started_at).total_seconds())
        status = (ending.status, STYLES[ending.status])
        self._print(Text.assemble("run ", (name, "bold"), "  ", status, f" after {lasted}"))
        if seen:
            self._print(_table(seen), soft_wrap=False)
        if rejected is not None:
            self._print(Text.assemble(("the platform refused some of it; see", "yellow"), f" {rejected}"))
        if url is not None:
            self._print(url)
        elif kept_in is not None:
            why = "no platform is known" if problem is None else str(problem).partition("\n")[0]
            how = (": ", why, ". Send it with ", ("headrace sync", "bold"), ".")
            self._print(Text.assemble(("kept in", "yellow"), f" {kept_in}", *how))

    def _print(self, what: "RenderableType", *, soft_wrap: bool = True) -> None:
        """Print it, where there is a terminal to print to: a training does not end for want of one."""
        with suppress(OSError):
            self._console().print(what, soft_wrap=soft_wrap)

    @staticmethod
    def _console() -> "Console":
        from rich.console import Console

        class Unread(Console):
            def on_broken_pipe(self) -> None:
                """Nobody reads any more; otherwise rich would close the program's own output and end it."""

        return Unread(stderr=True, highlight=False, markup=False, emoji=False)

    def _bar(self) -> "Progress":
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        bar = Progress(
            TextColumn("sending"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=self._console()
        )
        bar.add_task("sending")
        bar.start()
        return bar


def _table(seen: Mapping[str, Seen]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="dim")
    table.add_column("metric", overflow="fold")
    for column in ("last", "min", "max", "points"):
        table.add_column(column, justify="right")
    for key, metric in list(seen.items())[:SHOWN_METRICS]:
        low, high = ("", "") if metric.low > metric.high else (f"{metric.low:.6g}", f"{metric.high:.6g}")
        table.add_row(key, f"{metric.last:.6g}", low, high, f"{metric.count:,}")
    if len(seen) > SHOWN_METRICS:
        table.add_row(Text(f"and {len(seen) - SHOWN_METRICS} more", style="dim"), "", "", "", "")
    return table


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
