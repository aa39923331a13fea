"""What may be deleted and renamed, and what may not."""

import pytest

from headrace.errors import AlreadyExists, InvalidInput, NotFound, Pinned, PolicyRefused
from headrace.kernel import events, pins
from headrace.kernel.database import Database, Tx
from headrace.registry import aliases, history, models, register, removal, stages, versions
from headrace.registry.nouns import ModelFile, RegisterVersion, Stage

pytestmark = pytest.mark.both_databases

BLOB = "sha256:" + "a" * 64


@pytest.fixture
def two_versions(database: Database) -> Database:
    """A model `churn` with two versions; the alias `best` points at the first."""

    def make(tx: Tx) -> None:
        models.create(tx, "churn")
        for run_id in ("r1", "r2"):
            files = (ModelFile(path="MLmodel", digest=BLOB, size_bytes=3),)
            register.register_version(tx, RegisterVersion(model="churn", run_id=run_id, files=files))
        aliases.set_alias(tx, "churn", "best", 1)

    database.write(make, actor="ana")
    return database


def test_a_deleted_version_is_gone_and_its_number_stays_taken(two_versions: Database) -> None:
    two_versions.write(lambda tx: removal.delete_version(tx, "churn", 1), actor="ana")
    with pytest.raises(NotFound):
        two_versions.read(lambda tx: versions.get(tx, "churn", 1))
    assert two_versions.read(lambda tx: aliases.of_model(tx, "churn")) == ()
    two_versions.read(lambda tx: pins.require_unpinned(tx, "run/r1"))  # nobody needs its run any more
    with pytest.raises(Pinned):
        two_versions.read(lambda tx: pins.require_unpinned(tx, f"blob/{BLOB}"))  # the other version does
    files = (ModelFile(path="MLmodel", digest=BLOB, size_bytes=3),)
    again = RegisterVersion(model="churn", run_id="r1", files=files)
    assert two_versions.write(lambda tx: register.register_version(tx, again), actor="ana").number == 3


def test_what_is_in_production_stays(two_versions: Database) -> None:
    two_versions.write(lambda tx: stages.transition(tx, "churn", 2, Stage.PRODUCTION), actor="ana")
    for work in (
        lambda tx: removal.delete_version(tx, "churn", 2),
        lambda tx: removal.delete_model(tx, "churn"),
        lambda tx: removal.rename_model(tx, "churn", "other"),
    ):
        with pytest.raises(PolicyRefused, match="in production"):
            two_versions.write(work, actor="ana")
    two_versions.write(lambda tx: removal.delete_version(tx, "churn", 1), actor="ana")


def test_what_a_project_delivers_stays_until_the_project_lets_go(two_versions: Database) -> None:
    two_versions.write(lambda tx: models.declare(tx, "churn", {"name": "churn"}), actor="ana")
    with pytest.raises(PolicyRefused, match="project"):
        two_versions.write(lambda tx: removal.delete_version(tx, "churn", 1), actor="ana")
    with pytest.raises(PolicyRefused, match="project"):
        two_versions.write(lambda tx: removal.delete_model(tx, "churn"), actor="ana")
    two_versions.write(lambda tx: models.archive(tx, "churn", "no longer declared"), actor="ana")
    two_versions.write(lambda tx: removal.delete_model(tx, "churn"), actor="ana")
    with pytest.raises(NotFound):
        two_versions.read(lambda tx: models.get(tx, "churn"))
    two_versions.read(lambda tx: pins.require_unpinned(tx, f"blob/{BLOB}"))
    told = [event.type for event in two_versions.read(lambda tx: events.of_subject(tx, "model/churn"))]
    assert told[-1] == "registry.model_deleted"


def test_what_is_pinned_stays(two_versions: Database) -> None:
    two_versions.write(lambda tx: pins.pin(tx, "version/churn/1", "release/x", "it is being released"), actor="ana")
    for work in (
        lambda tx: removal.delete_version(tx, "churn", 1),
        lambda tx: removal.delete_model(tx, "churn"),
        lambda tx: removal.rename_model(tx, "churn", "other"),
    ):
        with pytest.raises(Pinned):
            two_versions.write(work, actor="ana")


def test_a_renamed_model_keeps_everything(two_versions: Database) -> None:
    two_versions.write(lambda tx: stages.transition(tx, "churn", 1, Stage.STAGING), actor="ana")
    two_versions.write(lambda tx: removal.rename_model(tx, "churn", "leaving"), actor="ana")
    assert two_versions.read(lambda tx: versions.get(tx, "leaving", 1)).stage is Stage.STAGING
    assert two_versions.read(lambda tx: aliases.get_version(tx, "leaving", "best")).number == 1
    assert len(two_versions.read(lambda tx: history.read(tx, "leaving").changes)) == 1
    holders = {pin.holder for pin in two_versions.read(lambda tx: pins.pins_on(tx, f"blob/{BLOB}"))}
    assert holders == {"version/leaving/1", "version/leaving/2"}
    with pytest.raises(NotFound):
        two_versions.read(lambda tx: models.get(tx, "churn"))


def test_a_name_that_is_taken_or_none_is_refused(two_versions: Database) -> None:
    two_versions.write(lambda tx: models.create(tx, "other"), actor="ana")
    with pytest.raises(AlreadyExists):
        two_versions.write(lambda tx: removal.rename_model(tx, "churn", "other"), actor="ana")
    with pytest.raises(InvalidInput):
        two_versions.write(lambda tx: removal.rename_model(tx, "churn", "a/b"), actor="ana")
