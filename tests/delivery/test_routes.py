"""Delivery's door over a real database and blob store, from the plan to the way back."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import TestClient
from tests.delivery.conftest import add_version, declaration, manifest

from headrace.delivery import routes
from headrace.delivery.nouns import Pipeline, Plan, Release
from headrace.errors import HeadraceError
from headrace.kernel.blobs import open_blob_store
from headrace.kernel.database import Transactions
from headrace.kernel.sqlite import SqliteDatabase
from headrace.server.problems import on_headrace_error


@pytest.fixture
def door(database: SqliteDatabase, tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    blobs = open_blob_store(tmp_path)
    app = Litestar(
        routes.HANDLERS,
        dependencies={
            "transactions": Provide(lambda: Transactions(database, actor="dana"), sync_to_thread=False),
            "blobs": Provide(lambda: blobs, sync_to_thread=False),
        },
        exception_handlers={HeadraceError: on_headrace_error},
        openapi_config=None,
    )
    with TestClient(app) as client:
        yield client


@pytest.fixture
def applied(door: TestClient[Litestar], tmp_path: Path) -> TestClient[Litestar]:
    """The project is applied, with its files uploaded."""
    bundle, data = b"the bundle", b"the data"
    blobs = open_blob_store(tmp_path)
    blobs.put(bundle)
    blobs.put(data)
    given = manifest(declaration())
    (file,) = given.data_files
    complete = msgspec.structs.replace(
        given,
        bundle=msgspec.structs.replace(given.bundle, digest=digest(bundle)),
        data_files=(msgspec.structs.replace(file, digest=digest(data)),),
    )
    answer = post(door, "/api/v1/apply", complete)
    assert msgspec.json.decode(answer, type=Plan).applied
    return door


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def post(door: TestClient[Litestar], path: str, body: Any, status: int = 200) -> bytes:
    content = msgspec.json.encode(body)
    answer = door.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    return answer.content


def error_of(content: bytes) -> str:
    return str(msgspec.json.decode(content)["error"]["code"])


def test_a_plan_names_what_to_upload_and_an_apply_refuses_without_it(door: TestClient[Litestar]) -> None:
    given = manifest(declaration())
    plan = msgspec.json.decode(post(door, "/api/v1/plan", given), type=Plan)
    assert len(plan.missing) == 2
    assert error_of(post(door, "/api/v1/apply", given, 409)) == "CONFLICT"
    assert door.get("/api/v1/projects").json() == []


def test_an_applied_project_can_be_read(applied: TestClient[Litestar]) -> None:
    (project,) = applied.get("/api/v1/projects").json()
    assert (project["name"], project["applied_by"], project["objects"]["model"]) == ("shop", "dana", ["churn"])


def test_training_begins_and_immature_labels_are_refused(applied: TestClient[Litestar]) -> None:
    content = post(applied, "/api/v1/train", {"model": "churn"}, 202)
    pipeline = msgspec.json.decode(content, type=Pipeline)
    assert msgspec.json.decode(applied.get(f"/api/v1/pipelines/{pipeline.id}").content, type=Pipeline) == pipeline
    assert len(applied.get("/api/v1/pipelines?model=churn").json()) == 1
    refused = post(applied, "/api/v1/train", {"model": "churn", "as_of": "2900-01-01T00:00:00Z"}, 409)
    assert error_of(refused) == "LABELS_NOT_MATURE"
    word = {"name": "labels", "status": "running", "attempt": 7}
    stale = post(applied, f"/api/v1/pipelines/{pipeline.id}/stages", word)
    assert msgspec.json.decode(stale, type=Pipeline).stages == ()


def test_a_release_is_opened_commanded_and_read(applied: TestClient[Litestar], database: SqliteDatabase) -> None:
    add_version(database, "r1")
    opened = msgspec.json.decode(
        post(applied, "/api/v1/releases", {"model": "churn", "number": 1}, 201), type=Release
    )
    path = f"/api/v1/releases/{opened.id}"
    assert msgspec.json.decode(applied.get(path).content, type=Release) == opened
    paused = post(applied, f"{path}/commands", {"command": "pause"})
    assert msgspec.json.decode(paused, type=Release).state.paused
    told = applied.get(f"{path}/history").json()
    assert (told["agrees"], [step["happened"]["event"] for step in told["steps"]]) == (
        True,
        ["release_opened", "release_paused"],
    )
    assert error_of(post(applied, f"{path}/commands", {"command": "promote"}, 409)) == "CONFLICT"
    post(applied, f"{path}/commands", {"command": "abort", "reason": "no"})
    assert applied.get("/api/v1/releases?open_only=true").json() == []
    assert len(applied.get("/api/v1/releases?model=churn").json()) == 1


def test_a_rollback_without_a_way_back_is_a_conflict(
    applied: TestClient[Litestar], database: SqliteDatabase
) -> None:
    add_version(database, "r1")
    assert error_of(post(applied, "/api/v1/models/churn/rollback", {}, 400)) == "INVALID_INPUT"
    assert error_of(post(applied, "/api/v1/models/churn/rollback", {"expected": 1}, 409)) == "CONFLICT"
    assert error_of(post(applied, "/api/v1/models/other/rollback", {"to": 1}, 404)) == "NOT_FOUND"
    assert applied.get("/api/v1/models/churn/rollback").status_code == 409


def test_every_route_has_its_role() -> None:
    listed = {path.split(" ", 1)[1] for path in routes.AUTHORIZATION}
    paths = {path for handler in routes.HANDLERS for path in handler.paths}
    assert {path.replace(":str}", "}") for path in paths} == listed
