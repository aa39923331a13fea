"""The HTTP door: what a client sends is stored, and comes back."""

import hashlib
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from headrace.kernel.database import Database
from headrace.tracking import logged_models, routes
from headrace.tracking.nouns import CreateLoggedModel, Run

pytestmark = pytest.mark.both_databases


def begin(door: TestClient[Litestar]) -> str:
    answer = door.post("/api/v1/runs", json={"experiment": "churn", "name": "first"})
    assert answer.status_code == 201, answer.text
    run_id: str = answer.json()["id"]
    return run_id


def test_a_run_from_begin_to_end(door: TestClient[Litestar]) -> None:
    run_id = begin(door)
    batch = {
        "metrics": [
            {"key": "val/loss", "value": 0.5, "step": 0, "at": "2026-01-01T00:00:00Z"},
            {"key": "val/loss", "value": "NaN", "step": 1},
        ],
        "params": {"depth": 3},
        "tags": {"team": "growth"},
    }
    assert door.post(f"/api/v1/runs/{run_id}/batch", json=batch).json() == {"stored": True}
    dataset = {"name": "purchases", "digest": "abc", "source_type": "delta", "source": "{}"}
    assert door.post(f"/api/v1/runs/{run_id}/inputs", json={"datasets": [{"dataset": dataset}]}).status_code == 200
    assert door.post(f"/api/v1/runs/{run_id}/finish", json={"status": "FINISHED"}).status_code == 200
    run = door.get(f"/api/v1/runs/{run_id}").json()
    assert (run["status"], run["params"], run["tags"]) == ("FINISHED", {"depth": "3"}, {"team": "growth"})
    assert run["metrics"]["val/loss"]["value"] == "NaN"
    assert run["inputs"]["datasets"][0]["dataset"]["name"] == "purchases"
    history = door.get(f"/api/v1/runs/{run_id}/metrics/val/loss").json()
    assert [point["value"] for point in history["points"]] == [0.5, "NaN"]
    page = door.get("/api/v1/runs", params={"experiment_id": run["experiment_id"]}).json()
    assert [found["id"] for found in page["runs"]] == [run_id]
    named = door.get("/api/v1/experiments", params={"name": "churn"}).json()["experiments"]
    assert [found["id"] for found in named] == [run["experiment_id"]]


def test_searches(door: TestClient[Litestar], run: Run, database: Database) -> None:
    def found(what: str, **query: object) -> Any:
        answer = door.post(f"/api/v1/{what}/search", json=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    request = CreateLoggedModel(experiment_id=run.experiment_id, name="clf")
    model = database.write(lambda tx: logged_models.create(tx, request), actor="ana")
    runs = found("runs", filter="status = 'RUNNING'", select={"params": []})
    assert [each["id"] for each in runs["runs"]] == [run.id]
    (one,) = found("experiments", filter="name LIKE 'ch%'", order_by=["name"], limit=1)["experiments"]
    assert one["id"] == run.experiment_id
    models = found("logged-models", experiment_ids=[run.experiment_id], order_by=[{"key": "name"}])
    assert [each["id"] for each in models["logged_models"]] == [model.id]
    refused = door.post("/api/v1/experiments/search", json={"filter": "nothing = 'x'"})
    assert (refused.status_code, refused.json()["error"]["where"]) == (400, "filter")


def test_artifacts_go_up_and_come_down(door: TestClient[Litestar]) -> None:
    run_id = begin(door)
    content = b"<script>" * 100_000
    stored = door.put(f"/api/v1/runs/{run_id}/artifacts/plots/a b.html", content=content)
    assert stored.json()["digest"] == "sha256:" + hashlib.sha256(content).hexdigest()
    assert [entry["path"] for entry in door.get(f"/api/v1/runs/{run_id}/artifacts").json()] == ["plots"]
    answer = door.get(f"/api/v1/runs/{run_id}/artifacts/plots/a b.html")
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b.html"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_empty_file_is_a_file(door: TestClient[Litestar]) -> None:
    run_id = begin(door)
    assert door.put(f"/api/v1/runs/{run_id}/artifacts/empty", content=b"").json()["size_bytes"] == 0
    assert door.get(f"/api/v1/runs/{run_id}/artifacts/empty").content == b""


@pytest.mark.parametrize("path", ["%2e%2e/x", "a/%252e%252e/x", "%00", "a%23b", "a%2F..%2F..%2Fx"])
def test_paths_out_of_the_run_are_refused(door: TestClient[Litestar], path: str) -> None:
    answer = door.put(f"/api/v1/runs/{begin(door)}/artifacts/{path}", content=b"x")
    assert answer.status_code in {400, 404}


def test_a_body_that_was_cut_off_is_no_file(door: TestClient[Litestar]) -> None:
    run_id = begin(door)
    answer = door.put(f"/api/v1/runs/{run_id}/artifacts/a", content=b"abc", headers={"content-length": "10"})
    assert answer.status_code == 400
    assert "cut off" in answer.json()["error"]["message"]
    assert door.get(f"/api/v1/runs/{run_id}/artifacts").json() == []


def test_a_metric_that_json_cannot_hold_is_refused(door: TestClient[Litestar]) -> None:
    run_id = begin(door)
    answer = door.post(f"/api/v1/runs/{run_id}/batch", json={"metrics": [{"key": "loss", "value": None}]})
    assert answer.status_code == 400


def test_every_route_is_authorized() -> None:
    registered = {
        f"{method} {path}".replace(":str}", "}").replace(":path}", "}")
        for handler in routes.HANDLERS
        for path in handler.paths
        for method in handler.http_methods - {"HEAD"}  # needs what GET needs
    }
    assert registered == set(routes.AUTHORIZATION)


@pytest.mark.parametrize("at", ["2026-01-01T00:00:00", "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"])
def test_times_that_cannot_be_kept_are_refused(door: TestClient[Litestar], at: str) -> None:
    """One without its offset means another time at each place; one outside the years could never be read again."""
    run_id = begin(door)
    before = door.get(f"/api/v1/runs/{run_id}").json()
    for path, body in (
        ("/api/v1/runs", {"started_at": at}),
        (f"/api/v1/runs/{run_id}/batch", {"metrics": [{"key": "m", "value": 1, "at": at}]}),
        (f"/api/v1/runs/{run_id}/finish", {"ended_at": at}),
    ):
        assert door.post(path, json=body).status_code == 400, path
    assert door.get(f"/api/v1/runs/{run_id}").json() == before
    assert len(door.get("/api/v1/runs").json()["runs"]) == 1
