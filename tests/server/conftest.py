"""The control application in this process, over HTTP as clients see it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from headrace.kernel import subscriptions
from headrace.kernel.settings import Settings
from headrace.kernel.sqlite import SqliteDatabase
from headrace.server import composition, control
from headrace.server.resources import open_resources

SYSTEM_TOKEN = "system-token-of-the-test"
SYSTEM = {"Authorization": f"Bearer {SYSTEM_TOKEN}"}
URL = "http://127.0.0.1:8470"


def build(database: SqliteDatabase, settings: Settings) -> Litestar:
    database.write(lambda tx: subscriptions.enroll(tx, composition.SUBSCRIBERS), actor="system")
    return control.build(open_resources(settings, database))


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
