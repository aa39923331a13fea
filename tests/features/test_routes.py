"""The feature store's HTTP door over a real database."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import msgspec
import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import TestClient

from headrace.errors import HeadraceError
from headrace.features import catalog, routes
from headrace.features.nouns import Catalog, FeatureSpecs, ObjectDetails, SourceSpec
from headrace.kernel import jobs
from headrace.kernel.database import Transactions
from headrace.kernel.sqlite import SqliteDatabase
from headrace.server.problems import on_headrace_error
from headrace.testing import feature_cases as cases


@pytest.fixture
def door(database: SqliteDatabase) -> Iterator[TestClient[Litestar]]:
    specs = FeatureSpecs(
        project="shop",
        entities=(cases.CUSTOMER,),
        sources=(SourceSpec(source=cases.PURCHASES),),
        views=(cases.VIEW,),
        labels=(cases.LABEL,),
    )
    database.write(lambda tx: catalog.register_objects(tx, specs), actor="ana")
    app = Litestar(
        routes.HANDLERS,
        dependencies={"transactions": Provide(lambda: Transactions(database, actor="ana"), sync_to_thread=False)},
        exception_handlers={HeadraceError: on_headrace_error},
        openapi_config=None,
    )
    with TestClient(app) as client:
        yield client


def test_the_list_is_what_the_verb_says(door: TestClient[Litestar], database: SqliteDatabase) -> None:
    answer = door.get("/api/v1/features")
    assert answer.status_code == 200
    assert msgspec.json.decode(answer.content, type=Catalog) == database.read(catalog.list_objects)


@pytest.mark.parametrize(
    ("path", "states"),
    [("entity/customer", (0, 0)), ("source/purchases", (1, 0)), ("view/activity", (0, 1)), ("label/gone", (0, 0))],
)
def test_one_object(door: TestClient[Litestar], path: str, states: tuple[int, int]) -> None:
    answer = door.get(f"/api/v1/features/{path}")
    details = msgspec.json.decode(answer.content, type=ObjectDetails)
    assert [version.version for version in details.versions] == [1]
    assert (len(details.sources), len(details.views)) == states


@pytest.mark.parametrize(("path", "status"), [("view/absent", 404), ("table/activity", 400)])
def test_what_is_not_there(door: TestClient[Litestar], path: str, status: int) -> None:
    assert door.get(f"/api/v1/features/{path}").status_code == status


def test_refresh_asks_for_every_source(door: TestClient[Litestar], database: SqliteDatabase) -> None:
    asked = door.post("/api/v1/features/refresh", json={}).json()["jobs"]
    assert [database.read(partial(jobs.get, job_id=job)).kind for job in asked] == ["features.ingest"]


def test_control_stays_light() -> None:
    program = (
        "import sys, headrace.features.routes, headrace.features.settling;"
        "print([m for m in ('numpy','scipy','pyarrow','duckdb','deltalake','lmdb') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
