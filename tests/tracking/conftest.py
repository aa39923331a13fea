"""What tracking's tests share: an experiment's run to write to, and the HTTP door over a real database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import TestClient

from headrace.errors import HeadraceError
from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.kernel.database import Database, Transactions
from headrace.kernel.roots import ArtifactRoots
from headrace.kernel.settings import Settings, load_settings
from headrace.server.problems import on_headrace_error
from headrace.tracking import routes, runs
from headrace.tracking.files import Files
from headrace.tracking.nouns import CreateRun, Run


@pytest.fixture
def run(database: Database) -> Run:
    return database.write(lambda tx: runs.create(tx, CreateRun(experiment="churn")), actor="ana")


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
    database: Database, blobs: BlobStore, roots: ArtifactRoots, settings: Settings
) -> Iterator[TestClient[Litestar]]:
    files = Files(Transactions(database, actor="ana"), blobs, roots, limit_bytes=settings.upload_limit_bytes)
    app = Litestar(
        routes.HANDLERS,
        dependencies={
            "transactions": Provide(lambda: Transactions(database, actor="ana"), sync_to_thread=False),
            "blobs": Provide(lambda: blobs, sync_to_thread=False),
            "files": Provide(lambda: files, sync_to_thread=False),
            "settings": Provide(lambda: settings, sync_to_thread=False),
        },
        exception_handlers={HeadraceError: on_headrace_error},
        openapi_config=None,
        debug=True,
    )
    with TestClient(app) as client:
        yield client
