"""MLflow's door over a real database and blob store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import TestClient

from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database, Transactions
from headrace.kernel.roots import ArtifactRoots
from headrace.kernel.settings import Settings, load_settings
from headrace.kernel.tickets import open_tickets
from headrace.protocols.mlflow import routes
from headrace.protocols.mlflow.faults import EXCEPTION_HANDLERS
from headrace.protocols.mlflow.rows import Rows
from headrace.tracking.files import Files


class Door:
    """Calls endpoints as a client does: GET by query, everything else by JSON."""

    def __init__(self, client: TestClient[Litestar]) -> None:
        self.client = client

    def __call__(self, method: str, endpoint: str, /, *, expect: int = 200, **fields: Any) -> dict[str, Any]:
        body = {"params": fields} if method == "GET" else {"json": fields}
        answer = self.client.request(method, f"/api/2.0/{self.room(endpoint)}", **body)  # type: ignore[arg-type]
        assert answer.status_code == expect, answer.text
        found: dict[str, Any] = answer.json()
        return found

    @staticmethod
    def room(endpoint: str) -> str:
        return endpoint if endpoint.startswith("mlflow-artifacts") else f"mlflow/{endpoint}"

    def fault(self, method: str, endpoint: str, expect: int, /, **fields: Any) -> tuple[str, str]:
        found = self(method, endpoint, expect=expect, **fields)
        assert set(found) == {"error_code", "message"}
        return found["error_code"], found["message"]

    def run(self, **fields: Any) -> str:
        run_id: str = self("POST", "runs/create", experiment_id="0", **fields)["run"]["info"]["run_id"]
        return run_id

    def put(self, path: str, content: bytes) -> int:
        return self.client.put(f"/api/2.0/mlflow-artifacts/artifacts/{path}", content=content).status_code

    def model(self, run_id: str, files: dict[str, bytes]) -> str:
        model_id: str = self("POST", "logged-models", experiment_id="0", name="clf", source_run_id=run_id)["model"][
            "info"
        ]["model_id"]
        for path, content in files.items():
            assert self.put(f"0/models/{model_id}/artifacts/{path}", content) == 200
        self("PATCH", f"logged-models/{model_id}", status="LOGGED_MODEL_READY")
        return model_id


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return open_blob_store(tmp_path)


@pytest.fixture
def roots(tmp_path: Path) -> ArtifactRoots:
    return ArtifactRoots(further=[str(tmp_path / "root")])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"HEADRACE_HOME": str(tmp_path)})


@pytest.fixture
def door(
    database: Database, blobs: BlobStore, roots: ArtifactRoots, settings: Settings, clock: ManualClock
) -> Iterator[Door]:
    tickets = open_tickets(settings.home)
    files = Files(Transactions(database, actor="ana"), blobs, roots, limit_bytes=settings.upload_limit_bytes)
    app = Litestar(
        routes.HANDLERS,
        dependencies={
            "transactions": Provide(lambda: Transactions(database, actor="ana"), sync_to_thread=False),
            "blobs": Provide(lambda: blobs, sync_to_thread=False),
            "files": Provide(lambda: files, sync_to_thread=False),
            "settings": Provide(lambda: settings, sync_to_thread=False),
            "clock": Provide(lambda: clock, sync_to_thread=False),
            "tickets": Provide(lambda: tickets, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,  # as the server does for MLflow's paths
        openapi_config=None,
    )
    app.asgi_handler = Rows(routes.ENDPOINTS, lambda _scope, _role: files.transactions, app.asgi_handler)
    with TestClient(app) as client:
        yield Door(client)
