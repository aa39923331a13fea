"""A run that is larger than any page: a million points in one series.

It takes eight seconds on SQLite; PostgreSQL, where the same would take twenty, gets a fifth of them.
"""

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from headrace.kernel.database import Database
from headrace.kernel.sqlite import SqliteDatabase
from headrace.tracking.logging import BATCH_LIMIT
from headrace.tracking.nouns import MetricPage, Run

pytestmark = pytest.mark.both_databases

PAGE = 25_000
HEADERS = {"Content-Type": "application/json"}


def test_a_million_points_of_one_series(door: TestClient[Litestar], run: Run, database: Database) -> None:
    """Written in batches, the last one twice, and paged through to the end: each is there once, in its order."""
    count = 1_000_000 if isinstance(database, SqliteDatabase) else 200_000
    address = f"/api/v1/runs/{run.id}"
    for start in [*range(0, count, BATCH_LIMIT), count - BATCH_LIMIT]:
        points = ",".join(
            f'{{"key":"loss","value":{step / 2},"step":{step},"at":"2026-01-01T00:00:00Z"}}'
            for step in range(start, start + BATCH_LIMIT)
        )
        answer = door.post(f"{address}/batch", content=f'{{"metrics":[{points}]}}', headers=HEADERS)
        assert answer.status_code == 200, answer.text
    decoder = msgspec.json.Decoder(MetricPage)
    cursor, seen, pages = "", 0, 0
    while True:
        page = decoder.decode(door.get(f"{address}/metrics/loss", params={"cursor": cursor, "limit": PAGE}).content)
        assert [(point.step, point.value) for point in page.points] == [
            (step, step / 2) for step in range(seen, seen + len(page.points))
        ]
        seen += len(page.points)
        pages += 1
        cursor = page.next_cursor
        if not cursor:
            break
    assert (seen, pages) == (count, count // PAGE)
    summary = msgspec.json.decode(door.get(address).content, type=Run).metrics["loss"]
    assert (summary.step, summary.number) == (count - 1, (count - 1) / 2)
    assert summary.min is not None
    assert summary.max is not None
    assert (summary.min.step, summary.max.step) == (0, count - 1)
