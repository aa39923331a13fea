"""The control application in this process, over HTTP as clients see it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from headrace.kernel import checkpoints, subscriptions
from headrace.kernel.bells import Bell
from headrace.kernel.blobs import open_blob_store
from headrace.kernel.clocks import SystemClock
from headrace.kernel.roots import open_roots
from headrace.kernel.settings import Settings
from headrace.kernel.sqlite import SqliteDatabase
from headrace.server import composition, control

SYSTEM_TOKEN = "system-token-of-the-test"
SYSTEM = {"Authorization": f"Bearer {SYSTEM_TOKEN}"}
URL = "http://127.0.0.1:8470"


def build(database: SqliteDatabase, settings: Settings) -> Litestar:
    database.write(lambda tx: subscriptions.enroll(tx, composition.SUBSCRIBERS), actor="system")
    return control.build(
        settings,
        database,
        blobs=open_blob_store(settings.home),
        roots=open_roots(settings),
        bell=Bell(),
        clock=SystemClock(),
        signing_key=checkpoints.open_signing_key(settings.home),
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, system_token=SYSTEM_TOKEN)


@pytest.fixture
def app(database: SqliteDatabase, settings: Settings) -> Litestar:
    return build(database, settings)


@pytest.fixture
def client(app: Litestar) -> Iterator[TestClient[Litestar]]:
    with TestClient(app, base_url=URL) as client:
        yield client
