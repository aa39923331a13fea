"""Rows of a query on a terminal: side by side where there is room, one below the other where there is not."""

import io

import pyarrow as pa
import pytest
from rich.console import Console

from headrace.cli import predictions
from headrace.serving.query_nouns import Asked

WIDE = {f"feature.long_name_{number}": [0.125] * 60 for number in range(9)}


def shown(rows: pa.Table) -> tuple[int, list[str]]:
    screen = Console(file=io.StringIO(), width=80, color_system=None)
    count = predictions.show(screen, rows)
    return count, screen.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_what_fits_is_a_table() -> None:
    count, lines = shown(pa.table({"model": ["[red]churn", None], "count": [1, 20]}))
    assert count == 2
    body = [line for line in lines if line.strip()][-2:]
    assert [line.split() for line in body] == [["[red]churn", "1"], ["20"]]
    assert [line.rstrip()[-2:] for line in body] == [" 1", "20"]  # numbers stand to the right
    assert len(body[0].rstrip()) == len(body[1].rstrip())


def test_what_is_too_wide_is_shown_row_by_row() -> None:
    count, lines = shown(pa.table(WIDE))
    assert count == predictions.SHOWN_RECORDS
    assert max(len(line.rstrip()) for line in lines) <= 80
    for name in WIDE:
        assert [line.split()[-2:] for line in lines].count([name, "0.125"]) == count


def test_no_rows_are_a_table_without_any() -> None:
    assert shown(pa.table({"model": pa.array([], pa.string())}))[0] == 0
    assert shown(pa.table(dict.fromkeys(WIDE, pa.array([], pa.float64()))))[0] == 0


@pytest.mark.parametrize(
    ("state", "note", "done", "said"),
    [
        ("queued", None, 0.0, "waits for a worker"),
        ("leased", None, 0.0, "a worker has it"),
        ("leased", "runs for 3 s", 0.0, "runs for 3 s"),
        ("leased", "runs for 3 s", 0.42, "runs for 3 s, about 42%"),
    ],
)
def test_whoever_waits_is_told_for_what(state: str, note: str | None, done: float, said: str) -> None:
    assert predictions.stage(Asked(job_id="job_1", state=state, note=note, done=done)) == said
