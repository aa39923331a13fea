"""What training's tests share: a worker's context over real verbs, a real lake and the example's real purchases."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import TestClient

from headrace.client.transport import decode, problem_of
from headrace.errors import HeadraceError
from headrace.features.ingest import run_ingest
from headrace.features.nouns import Ingest, ObjectDetails, SourceState
from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.kernel.database import Database, Transactions
from headrace.kernel.jobs import Job
from headrace.kernel.lake import Lake, open_lake
from headrace.kernel.roots import ArtifactRoots
from headrace.kernel.settings import load_settings
from headrace.kernel.work import WorkContext
from headrace.project.loading import LoadedProject, load_project
from headrace.server.problems import on_headrace_error
from headrace.tracking.files import Files
from headrace.tracking.routes import HANDLERS as TRACKING
from headrace.training.routes import HANDLERS as TRAINING

T = TypeVar("T")

EXAMPLE = Path(__file__).parents[2] / "examples" / "churn"
THROUGH = datetime(1997, 8, 1, tzinfo=UTC)
"""How far the purchases are in the lake, and what the business clock says."""
TABLE = "sources/purchases"


class RoutesControl:
    """Control as a worker calls it: the rooms' real routes, and where the source stands."""

    def __init__(self, client: TestClient[Litestar], source: ObjectDetails) -> None:
        self.client = client
        self._source = source

    def call(self, method: str, path: str, body: Any = None, *, returns: type[T]) -> T:
        if path == "/api/v1/features/source/purchases":
            return msgspec.convert(msgspec.to_builtins(self._source), returns)
        content = None if body is None else msgspec.json.encode(body)
        response = self.client.request(method, path, content=content, headers={"Content-Type": "application/json"})
        if response.status_code >= 400:
            raise problem_of(response)
        return decode(response.content, returns)

    def upload(self, path: str, content: bytes, *, returns: type[T]) -> T:
        response = self.client.put(path, content=content, headers={"Content-Type": "application/octet-stream"})
        if response.status_code >= 400:
            raise problem_of(response)
        return decode(response.content, returns)


def _job() -> Job:
    return Job(
        id="job_1",
        kind="delivery.train",
        payload=msgspec.Raw(b"{}"),
        actor="ana",
        workspace="default",
        state="leased",
        attempt=1,
        max_attempts=3,
        enqueued_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture(scope="session")
def example() -> LoadedProject:
    return load_project(EXAMPLE)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return open_blob_store(tmp_path)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(tmp_path)


@pytest.fixture
def client(database: Database, blobs: BlobStore, tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    settings = load_settings({"HEADRACE_HOME": str(tmp_path)})
    transactions = Transactions(database, actor="ana")
    files = Files(transactions, blobs, ArtifactRoots(), limit_bytes=settings.upload_limit_bytes)
    app = Litestar(
        [*TRACKING, *TRAINING],
        dependencies={
            "transactions": Provide(lambda: transactions, sync_to_thread=False),
            "blobs": Provide(lambda: blobs, sync_to_thread=False),
            "files": Provide(lambda: files, sync_to_thread=False),
            "settings": Provide(lambda: settings, sync_to_thread=False),
        },
        exception_handlers={HeadraceError: on_headrace_error},
        openapi_config=None,
        request_max_body_size=None,
    )
    with TestClient(app) as client:
        yield client


Contexts = Callable[..., WorkContext]


@pytest.fixture
def contexts(
    tmp_path: Path, blobs: BlobStore, lake: Lake, client: TestClient[Litestar], example: LoadedProject
) -> Contexts:
    """Makes the context of a job, with the example's purchases in the lake through `THROUGH`."""
    settings = load_settings({"HEADRACE_HOME": str(tmp_path)})
    known: list[ObjectDetails] = []

    def make(business_now: datetime = THROUGH) -> WorkContext:
        directory = tmp_path / f"job-{len(list(tmp_path.glob('job-*')))}"
        directory.mkdir()
        source = example.sources[0]
        context = WorkContext(
            control=RoutesControl(client, known[0] if known else ObjectDetails(versions=())),
            blobs=blobs,
            lake=lake,
            settings=settings,
            business_now=business_now,
            job=_job(),
            directory=directory,
            report_progress=lambda fraction, note: None,
        )
        if known:
            return context
        digest = blobs.put(EXAMPLE / source.path).digest
        payload = Ingest(source=source, version=1, table=TABLE, data_digest=digest, through=THROUGH)
        ingested = run_ingest(context, payload)
        state = SourceState(
            source=source.name,
            version=1,
            table=TABLE,
            data_digest=digest,
            lake_version=ingested.lake_version,
            ingested_through=ingested.through,
            rows=ingested.rows,
        )
        known.append(ObjectDetails(versions=(), sources=(state,)))
        return make(business_now)

    return make
