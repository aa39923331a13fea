import threading

import pytest

from headrace.errors import AlreadyExists, InvalidInput, NotFound, Pinned
from headrace.kernel import events, pins
from headrace.kernel.database import Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.registry import models, register, search, versions
from headrace.registry.nouns import Estimate, ModelFile, RegisterVersion, RegistryQuery, Version, directory_digest

BLOB = "sha256:" + "a" * 64


def request(run_id: str = "r1", *, digest: str = BLOB, model: str = "churn") -> RegisterVersion:
    return RegisterVersion(
        model=model,
        run_id=run_id,
        artifact_prefix="model",
        files=(ModelFile(path="MLmodel", digest=digest, size_bytes=3),),
        metrics={"roc_auc": Estimate(value=0.75, low=0.74, high=0.76)},
        params={"depth": 3},
    )


def create(tx: Tx) -> None:
    models.create(tx, "churn")


def test_a_registered_version_reads_back_as_it_was_given(database: SqliteDatabase) -> None:
    database.write(create, actor="ana")
    made = database.write(lambda tx: register.register_version(tx, request()), actor="ana")
    read = database.read(lambda tx: versions.get(tx, "churn", 1))
    assert read == made
    assert read.metrics["roc_auc"].low == 0.74
    assert (read.author, read.created_by, read.stage) == ("ana", "ana", "None")
    assert read.digest == directory_digest(read.files)


def test_the_same_origin_and_bytes_are_the_same_version(database: SqliteDatabase) -> None:
    database.write(create, actor="ana")
    numbers = [
        database.write(lambda tx: register.register_version(tx, request()), actor="ana").number for _ in range(3)
    ]
    other = database.write(
        lambda tx: register.register_version(tx, request(digest="sha256:" + "b" * 64)), actor="ana"
    )
    assert numbers == [1, 1, 1]
    assert other.number == 2
    registered = database.read(lambda tx: events.after(tx, 0, types=["registry.version_registered"]))
    assert [event.payload["number"] for event in registered] == [1, 2]


def test_numbers_are_dense_under_concurrency_and_after_a_rollback(database: SqliteDatabase) -> None:
    database.write(create, actor="ana")

    def fails(tx: Tx) -> None:
        register.register_version(tx, request("doomed"))
        raise RuntimeError("the transaction is given up")

    made: list[Version] = []

    def add(name: int) -> None:
        if name % 3 == 0:
            with pytest.raises(RuntimeError):
                database.write(fails, actor="ana")
        made.append(database.write(lambda tx: register.register_version(tx, request(f"r{name}")), actor="ana"))

    threads = [threading.Thread(target=add, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(version.number for version in made) == list(range(1, 17))
    assert database.read(lambda tx: models.get(tx, "churn")).latest_number == 16


def test_files_and_run_of_a_version_are_pinned(database: SqliteDatabase) -> None:
    database.write(create, actor="ana")
    database.write(lambda tx: register.register_version(tx, request()), actor="ana")
    with pytest.raises(Pinned, match="version/churn/1"):
        database.read(lambda tx: pins.require_unpinned(tx, f"blob/{BLOB}"))
    with pytest.raises(Pinned):
        database.read(lambda tx: pins.require_unpinned(tx, "run/r1"))


def test_a_version_needs_a_model(database: SqliteDatabase) -> None:
    with pytest.raises(NotFound, match="churn"):
        database.write(lambda tx: register.register_version(tx, request()), actor="ana")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a\\b", "a\x00b"])
def test_paths_outside_the_model_are_refused(database: SqliteDatabase, path: str) -> None:
    database.write(create, actor="ana")
    bad = RegisterVersion(model="churn", run_id="r", files=(ModelFile(path=path, digest=BLOB, size_bytes=1),))
    with pytest.raises(InvalidInput, match="path"):
        database.write(lambda tx: register.register_version(tx, bad), actor="ana")


def test_incomplete_requests_are_refused(database: SqliteDatabase) -> None:
    database.write(create, actor="ana")
    file = ModelFile(path="MLmodel", digest=BLOB, size_bytes=1)
    for bad, problem in [
        (RegisterVersion(model="churn", run_id="r", files=()), "at least one file"),
        (RegisterVersion(model="churn", run_id="r", files=(file, file)), "same path"),
        (RegisterVersion(model="churn", files=(file,)), "run_id or source"),
    ]:
        with pytest.raises(InvalidInput, match=problem):
            database.write(lambda tx, bad=bad: register.register_version(tx, bad), actor="ana")  # type: ignore[misc]


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a:b", "a\nb", "x" * 257])
def test_names_that_cannot_stand_in_an_address_are_refused(database: SqliteDatabase, name: str) -> None:
    with pytest.raises(InvalidInput):
        database.write(lambda tx: models.create(tx, name), actor="ana")


def test_models_are_created_once_and_found_by_part_of_the_name(database: SqliteDatabase) -> None:
    for name in ["churn", "credit", "100%_sure"]:
        database.write(lambda tx, name=name: models.create(tx, name), actor="ana")  # type: ignore[misc]
    with pytest.raises(AlreadyExists):
        database.write(create, actor="ana")
    names = database.read(lambda tx: [model.name for model in models.search(tx, contains="%")])
    assert names == ["100%_sure"]
    page = database.read(lambda tx: [model.name for model in models.search(tx, after="churn")])
    assert page == ["credit"]


def test_archived_models_come_back_when_they_are_declared_again(database: SqliteDatabase) -> None:
    database.write(lambda tx: models.declare(tx, "churn", {"task": "binary"}), actor="ana")
    database.write(lambda tx: models.archive(tx, "churn", "no longer declared"), actor="ana")
    assert database.read(lambda tx: models.get(tx, "churn")).archived
    database.write(lambda tx: models.declare(tx, "churn", {"task": "binary"}), actor="ana")
    assert not database.read(lambda tx: models.get(tx, "churn")).archived
    assert len(database.read(lambda tx: events.of_subject(tx, "model/churn"))) == 3


def test_description_and_tags_of_a_version_change_and_nothing_else(database: SqliteDatabase) -> None:
    database.write(create, actor="ana")
    made = database.write(lambda tx: register.register_version(tx, request()), actor="ana")
    database.write(
        lambda tx: versions.describe(tx, "churn", 1, description="first", tags={"team": "crm"}), actor="bo"
    )
    read = database.read(lambda tx: versions.get(tx, "churn", 1))
    assert (read.description, read.tags) == ("first", {"team": "crm"})
    assert (read.digest, read.files, read.metrics) == (made.digest, made.files, made.metrics)


def test_versions_are_found_by_model_and_run(database: SqliteDatabase) -> None:
    database.write(create, actor="ana")
    for run_id in ["r1", "r2"]:
        database.write(lambda tx, run=run_id: register.register_version(tx, request(run)), actor="ana")  # type: ignore[misc]
    for text, expected in (("name = 'churn'", [2, 1]), ("run_id = 'r1'", [1])):
        query = RegistryQuery(filter=text)
        found, _ = database.read(lambda tx, query=query: search.find_versions(tx, query))  # type: ignore[misc]
        assert [version.number for version in found] == expected
