"""Monitoring's HTTP door over a real database."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import TestClient

from headrace.errors import HeadraceError
from headrace.kernel.database import Transactions, Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.monitoring import alerts, routes, tables
from headrace.monitoring.nouns import Finding, Health, WindowResult
from headrace.registry import models
from headrace.server.problems import on_headrace_error

END = datetime(1997, 9, 1, tzinfo=UTC)


@pytest.fixture
def door(database: SqliteDatabase) -> Iterator[TestClient[Litestar]]:
    found = Finding(monitor="drift", name="drift", health=Health.ALARM, summary="it moved", rows=100)
    window = WindowResult(
        model="churn",
        cron="0 0 1 * *",
        start=datetime(1997, 8, 1, tzinfo=UTC),
        end=END,
        version=1,
        predictions=100,
        faults=0,
        labels_joined=0,
        findings=(found,),
    )

    def work(tx: Tx) -> None:
        models.create(tx, "churn")
        tables.save_window(tx, window, "job_1")
        alerts.observe(tx, window, found, ("ops",))

    database.write(work, actor="ana")
    app = Litestar(
        routes.HANDLERS,
        dependencies={"transactions": Provide(lambda: Transactions(database, actor="ana"), sync_to_thread=False)},
        exception_handlers={HeadraceError: on_headrace_error},
        openapi_config=None,
    )
    with TestClient(app) as client:
        yield client


def test_windows_are_listed_with_their_findings(door: TestClient[Litestar]) -> None:
    (window,) = door.get("/api/v1/monitoring/windows", params={"model": "churn"}).json()
    assert window["result"]["end"] == "1997-09-01T00:00:00Z"
    assert window["result"]["findings"][0]["health"] == "ALARM"
    before = {"before": "1997-09-01T00:00:00Z"}
    assert door.get("/api/v1/monitoring/windows", params=before).json() == []
    assert door.get("/api/v1/monitoring/windows", params={"model": "nobody"}).status_code == 404
    assert door.get("/api/v1/monitoring/windows", params={"limit": 0}).status_code == 400


def test_alerts_are_listed_and_shown_with_their_messages(door: TestClient[Litestar]) -> None:
    (alert,) = door.get("/api/v1/alerts", params={"state": "open"}).json()
    assert door.get("/api/v1/alerts", params={"state": "closed"}).json() == []
    assert door.get("/api/v1/alerts", params={"model": "fraud"}).status_code == 404
    details = door.get(f"/api/v1/alerts/{alert['id']}").json()
    assert details["alert"] == alert
    assert [(found["channel"], found["state"]) for found in details["deliveries"]] == [("ops", "queued")]
    assert door.get("/api/v1/alerts/alert_0").status_code == 404


def test_every_handler_has_a_line_of_authorization() -> None:
    names = {f"{next(iter(handler.http_methods))} {path}" for handler in routes.HANDLERS for path in handler.paths}
    assert {name.replace(":str", "") for name in names} == set(routes.AUTHORIZATION)


def test_control_imports_nothing_heavy() -> None:
    heavy = {"scipy", "numpy", "pyarrow", "duckdb", "deltalake", "apprise", "pandas", "sklearn"}
    code = "import sys, headrace.monitoring.routes, headrace.statistics.sequential; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not heavy & set(loaded)
