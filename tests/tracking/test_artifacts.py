"""Files get names under their owner, one event with their digest each, and no way out."""

from collections.abc import Callable

import pytest

from headrace.errors import InvalidInput, NotFound, Pinned, Unavailable
from headrace.kernel import events, pins
from headrace.kernel.blobs import Blob, BlobStore
from headrace.kernel.database import Database
from headrace.tracking import artifacts, importing, runs
from headrace.tracking.imported import ImportFile, ImportFiles
from headrace.tracking.nouns import CreateRun, Run

pytestmark = pytest.mark.both_databases

Put = Callable[..., Blob]


@pytest.fixture
def put(database: Database, blobs: BlobStore) -> Put:
    def store(run: Run, path: str, content: bytes = b"a") -> Blob:
        owner = artifacts.run_owner(run.id)
        blob = blobs.put(content)
        database.write(lambda tx: artifacts.record(tx, owner, path, blob, blobs), actor="ana")
        return blob

    return store


def listing(database: Database, run: Run, folder: str = "") -> list[tuple[str, bool]]:
    owner = artifacts.run_owner(run.id)
    found = database.read(lambda tx: artifacts.listing(tx, owner, folder))
    return [(entry.path, entry.is_folder) for entry in found]


def test_folders_list_what_is_directly_in_them(database: Database, run: Run, put: Put) -> None:
    for path in ("model/MLmodel", "model/data/x.bin", "model.txt", "model-2/y", "plot.png"):
        put(run, path)
    assert listing(database, run) == [
        ("model", True),
        ("model-2", True),
        ("model.txt", False),
        ("plot.png", False),
    ]
    assert listing(database, run, "model") == [("model/MLmodel", False), ("model/data", True)]
    assert listing(database, run, "model/") == listing(database, run, "model")
    assert listing(database, run, "nothing") == []
    assert listing(database, run, "plot.png") == []


def test_a_file_has_one_event_with_its_digest(database: Database, run: Run, put: Put) -> None:
    first = put(run, "a.txt", b"a")
    put(run, "a.txt", b"a")
    second = put(run, "a.txt", b"b")
    found = database.read(lambda tx: events.of_subject(tx, f"run/{run.id}"))[1:]
    assert [event.type for event in found] == ["tracking.artifact_stored"] * 2
    assert [event.payload["digest"] for event in found] == [first.digest, second.digest]
    assert found[1].payload["replaced"] == first.digest
    owner = artifacts.run_owner(run.id)
    assert database.read(lambda tx: artifacts.get(tx, owner, "a.txt")).digest == second.digest


def test_a_path_is_a_file_or_a_folder(database: Database, run: Run, put: Put) -> None:
    put(run, "a/b")
    with pytest.raises(InvalidInput, match="folder has this path"):
        put(run, "a")
    with pytest.raises(InvalidInput, match="needs a folder"):
        put(run, "a/b/c")


def test_owners_exist(database: Database, blobs: BlobStore) -> None:
    blob = blobs.put(b"a")
    for owner in ("run/nothing", "logged-model/m-nothing"):
        with pytest.raises(NotFound):
            database.write(lambda tx, owner=owner: artifacts.record(tx, owner, "a", blob, blobs), actor="ana")  # type: ignore[misc]
        with pytest.raises(NotFound):
            database.read(lambda tx, owner=owner: artifacts.listing(tx, owner))  # type: ignore[misc]


def test_files_belong_to_one_owner(database: Database, run: Run, put: Put) -> None:
    put(run, "a.txt")
    other = database.write(lambda tx: runs.create(tx, CreateRun()), actor="ana")
    with pytest.raises(NotFound, match=r"a\.txt"):
        database.read(lambda tx: artifacts.get(tx, artifacts.run_owner(other.id), "a.txt"))


def test_paths_stay_inside(database: Database, run: Run, put: Put) -> None:
    with pytest.raises(InvalidInput):
        put(run, "../x")
    with pytest.raises(InvalidInput):
        listing(database, run, "%2e%2e")


def test_folders_are_deleted_with_what_is_in_them(database: Database, run: Run, put: Put) -> None:
    for path in ("a/b", "a/c/d", "ab"):
        put(run, path)
    owner = artifacts.run_owner(run.id)
    database.write(lambda tx: artifacts.delete(tx, owner, "a"), actor="ana")
    assert listing(database, run) == [("ab", False)]
    last = database.read(lambda tx: events.of_subject(tx, owner))[-1]
    assert last.type == "tracking.artifacts_deleted"
    head = database.read(events.head)
    database.write(lambda tx: artifacts.delete(tx, owner, "a"), actor="ana")
    assert database.read(events.head) == head


def test_what_a_version_came_from_is_not_deleted(database: Database, run: Run, put: Put) -> None:
    put(run, "a")
    owner = artifacts.run_owner(run.id)
    database.write(lambda tx: pins.pin(tx, owner, "version/churn/1", "it came from it"), actor="ana")
    with pytest.raises(Pinned, match="version/churn/1"):
        database.write(lambda tx: artifacts.delete(tx, owner, "a"), actor="ana")


def test_a_file_whose_bytes_were_collected_meanwhile_is_not_recorded(
    database: Database, run: Run, blobs: BlobStore
) -> None:
    blob = blobs.put(b"collected")
    blobs.delete(blob.digest)
    owner = artifacts.run_owner(run.id)
    with pytest.raises(Unavailable, match="no longer there"):
        database.write(lambda tx: artifacts.record(tx, owner, "a", blob, blobs), actor="ana")
    assert listing(database, run) == []


def test_a_folder_of_very_many_files_goes_at_once(database: Database, run: Run) -> None:
    owner = artifacts.run_owner(run.id)
    digest = f"sha256:{'0' * 64}"
    files = tuple(ImportFile(path=f"shards/{number}", digest=digest, size_bytes=1) for number in range(70_000))
    database.write(lambda tx: importing.take_files(tx, ImportFiles(owner=owner, files=files)), actor="ana")
    database.write(lambda tx: artifacts.delete(tx, owner, "shards"), actor="ana")
    assert listing(database, run) == []
