"""Bundles and training sets are registered once, found again, and pinned."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events, pins
from headrace.kernel.database import Database
from headrace.project.bundle import pack_bundle
from headrace.project.environment import EnvironmentLock
from headrace.training import bundles, register
from headrace.training.nouns import LakeVersion, RegisterBundle, RegisteredBundle, RegisterTrainingSet
from headrace.training.routes import AUTHORIZATION, HANDLERS

LOCK = EnvironmentLock(python="3.11.7", packages={"numpy": "2.4.6"})
ROWS = RegisterTrainingSet(
    model="churn",
    purpose="training",
    as_of=datetime(1997, 5, 1, tzinfo=UTC),
    entity_key="customer_id",
    features=("a",),
    label="left",
    rows=4,
    holdout_rows=1,
    positives=2,
    holdout_fraction=0.25,
    seed=0,
    content_digest="sha256:" + "a" * 64,
    data_digest="sha256:" + "b" * 64,
    size_bytes=100,
    lake_versions=(LakeVersion(table="sources/purchases", version=3),),
)


@pytest.fixture
def bundle(tmp_path: Path) -> RegisterBundle:
    project = tmp_path / "code" / "project.py"
    project.parent.mkdir()
    project.write_text("x = 1\n")
    packed, _ = pack_bundle(project, LOCK)
    return RegisterBundle(project="code", bundle=packed, environment=LOCK, code_commit="0" * 40)


def test_a_bundle_is_registered_once_and_pinned(database: Database, bundle: RegisterBundle) -> None:
    first = database.write(lambda tx: bundles.register(tx, bundle), actor="ana")
    again = database.write(lambda tx: bundles.register(tx, bundle), actor="bob")
    assert first == again == database.read(lambda tx: bundles.get(tx, bundle.bundle.digest))
    assert first.created_by == "ana"
    assert [file.path for file in first.files] == ["project.py"]
    held = database.read(lambda tx: pins.pins_on(tx, f"blob/{first.digest}"))
    assert [pin.holder for pin in held] == [f"bundle/{first.digest}"]


def test_a_bundle_with_another_lock_is_refused(database: Database, bundle: RegisterBundle) -> None:
    other = msgspec.structs.replace(bundle, environment=EnvironmentLock(python="3.12.1", packages={}))
    with pytest.raises(InvalidInput, match="not the one that the bundle was packed with"):
        database.write(lambda tx: bundles.register(tx, other), actor="ana")


def test_what_was_never_registered_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound):
        database.read(lambda tx: bundles.get(tx, "sha256:none"))
    with pytest.raises(NotFound):
        database.read(lambda tx: register.get_training_set(tx, "ts_none"))


def test_a_training_set_is_registered_once_with_one_event(database: Database) -> None:
    first = database.write(lambda tx: register.register_training_set(tx, ROWS), actor="ana")
    again = database.write(lambda tx: register.register_training_set(tx, ROWS), actor="ana")
    assert again == first == database.read(lambda tx: register.get_training_set(tx, first.id))
    recorded = database.read(lambda tx: events.after(tx, 0))
    assert [event.type for event in recorded] == ["training.training_set_registered"]
    held = database.read(lambda tx: pins.pins_on(tx, "lake/sources/purchases@3"))
    assert [pin.holder for pin in held] == [f"training-set/{first.id}"]


def test_the_same_rows_from_another_lake_version_are_another_training_set(database: Database) -> None:
    newer = msgspec.structs.replace(ROWS, lake_versions=(LakeVersion(table="sources/purchases", version=4),))
    first = database.write(lambda tx: register.register_training_set(tx, ROWS), actor="ana")
    second = database.write(lambda tx: register.register_training_set(tx, newer), actor="ana")
    listed = database.read(lambda tx: register.list_training_sets(tx, model="churn"))
    assert {manifest.id for manifest in listed} == {first.id, second.id}
    with pytest.raises(NotFound, match="no model named"):
        database.read(lambda tx: register.list_training_sets(tx, model="other"))


def test_the_routes_take_and_give(client: TestClient[Litestar], bundle: RegisterBundle) -> None:
    sent = client.post("/api/v1/bundles", content=msgspec.json.encode(bundle))
    assert sent.status_code == 201
    digest = msgspec.json.decode(sent.content, type=RegisteredBundle).digest
    assert client.get(f"/api/v1/bundles/{digest}").json()["code_commit"] == "0" * 40
    made = client.post("/api/v1/training-sets", content=msgspec.json.encode(ROWS)).json()
    assert client.get(f"/api/v1/training-sets/{made['id']}").json() == made
    assert client.get("/api/v1/training-sets", params={"model": "churn"}).json() == [made]
    assert client.get("/api/v1/training-sets/none").status_code == 404


def test_every_route_has_its_line_in_the_authorization_table() -> None:
    assert len(AUTHORIZATION) == len(HANDLERS)
