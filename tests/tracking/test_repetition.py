"""Each request of our own door that changes something, sent twice: nothing is there twice."""

from typing import Any

import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import TestClient

from headrace.kernel.access import Role
from headrace.kernel.database import Database
from headrace.tracking import routes
from headrace.tracking.nouns import Run

pytestmark = pytest.mark.both_databases

POINT = {"key": "m", "value": "NaN", "step": 3, "at": "2026-01-01T00:00:00Z"}
DATASET = {"name": "d", "digest": "1", "source_type": "s", "source": "x"}
RUN_ID = "0123456789abcdef" * 2

# route: what is sent first, what is sent twice, and the status of the second answer
REPEATED: dict[str, tuple[dict[str, Any], Any, int]] = {
    "POST /api/v1/experiments": ({}, {"name": "new", "tags": {"k": "v"}}, 409),
    "POST /api/v1/runs": ({}, {"id": RUN_ID, "experiment": "new", "tags": {"k": "v"}}, 201),
    "POST /api/v1/runs/{run_id}/batch": (
        {},
        {"metrics": [POINT, POINT], "params": {"k": 1.5}, "tags": {"k": "v"}},
        200,
    ),
    "POST /api/v1/runs/{run_id}/inputs": ({}, {"datasets": [{"dataset": DATASET, "tags": {"k": "v"}}]}, 200),
    "POST /api/v1/runs/{run_id}/finish": ({}, {"status": "FAILED", "ended_at": "2026-01-02T00:00:00Z"}, 200),
    "POST /api/v1/runs/{run_id}/resume": ({"/finish": {"status": "FAILED"}}, None, 200),
    "POST /api/v1/runs/kill": ({"/batch": {"tags": {"worker": "1"}}}, {"tag": "worker", "value": "1"}, 200),
    "PUT /api/v1/runs/{run_id}/artifacts/{path}": ({}, b"content", 200),
}


def test_every_request_that_changes_something_is_here() -> None:
    assert {route for route, role in routes.AUTHORIZATION.items() if role is not Role.VIEWER} == REPEATED.keys()


def everything(database: Database, tables: sa.MetaData) -> dict[str, list[Any]]:
    """All that is stored."""
    return database.read(
        lambda tx: {
            table.name: sorted(map(str, tx.execute(sa.select(table)).all())) for table in tables.sorted_tables
        }
    )


@pytest.mark.parametrize("route", REPEATED)
def test_the_second_time_changes_nothing(
    door: TestClient[Litestar], database: Database, every_table: sa.MetaData, run: Run, route: str
) -> None:
    before, body, status = REPEATED[route]
    method, path = route.split()
    address = path.format(run_id=run.id, path="a/b.txt")
    for place, given in before.items():
        assert door.post(f"/api/v1/runs/{run.id}{place}", json=given).status_code == 200

    def send() -> tuple[int, Any]:
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = door.request(method, address, **content)
        return answer.status_code, answer.json()

    start = everything(database, every_table)
    first = send()
    assert first[0] < 300, first
    after = everything(database, every_table)
    assert after != start
    second = send()
    assert second[0] == status
    if status < 300 and "kill" not in route:  # the second kill finds nobody
        assert second[1] == first[1]
    assert everything(database, every_table) == after
