"""Files in parts, as MLflow's clients send them; and addresses in an object store that open without a login."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.kernel.clocks import ManualClock
from headrace.kernel.roots import ArtifactRoots

pytestmark = pytest.mark.both_databases

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from

CONTENT = os.urandom(250_000)
PARTS = (CONTENT[:100_000], CONTENT[100_000:200_000], CONTENT[200_000:])


@pytest.fixture
def run_id(door: Door) -> str:
    created: str = door("POST", "runs/create", experiment_id="0")["run"]["info"]["run_id"]
    return created


@pytest.fixture
def folder(run_id: str) -> str:
    """Where the file goes, below `mlflow-artifacts:/`."""
    return f"0/{run_id}/artifacts/model"


def begin(door: Door, folder: str, parts: int = len(PARTS)) -> dict[str, Any]:
    path = f"mlflow-artifacts/mpu/create/{folder}"
    begun: dict[str, Any] = door("POST", path, path="/home/ana/model.bin", num_parts=parts)
    return begun


def send(door: Door, begun: dict[str, Any], number: int, content: bytes) -> dict[str, Any]:
    credential = begun["credentials"][number - 1]
    assert credential["part_number"] == number
    path = "/" + credential["url"].partition("://")[2].partition("/")[2]
    answer = door.client.put(path, content=content, headers=credential["headers"])
    assert answer.status_code == 200, answer.text
    return {"part_number": number, "etag": answer.headers["etag"], "url": credential["url"]}


def complete(door: Door, folder: str, begun: dict[str, Any], parts: list[dict[str, Any]], expect: int = 200) -> Any:
    fields = {"path": "/home/ana/model.bin", "upload_id": begun["upload_id"], "parts": parts}
    return door("POST", f"mlflow-artifacts/mpu/complete/{folder}", expect=expect, **fields)


def fetch(door: Door, folder: str) -> httpx.Response:
    found: httpx.Response = door.client.get(f"/api/2.0/mlflow-artifacts/artifacts/{folder}/model.bin")
    return found


def test_parts_become_one_file(door: Door, folder: str, blobs: BlobStore) -> None:
    begun = begin(door, folder)
    parts = [send(door, begun, number, PARTS[number - 1]) for number in (3, 1, 2)]
    assert fetch(door, folder).status_code == 404
    assert complete(door, folder, begun, parts) == {}
    assert fetch(door, folder).content == CONTENT
    assert [blob.size_bytes for blob in blobs.stored()] == [len(CONTENT)]  # the parts are gone


def test_every_step_may_be_repeated(door: Door, folder: str) -> None:
    begun = begin(door, folder)
    parts = [send(door, begun, number, PARTS[number - 1]) for number in (1, 1, 2, 2, 3)]
    for _ in range(2):
        complete(door, folder, begun, parts[1:2] + parts[3:])
    assert fetch(door, folder).content == CONTENT


def test_a_single_part_is_the_file(door: Door, folder: str, blobs: BlobStore) -> None:
    begun = begin(door, folder, parts=1)
    part = send(door, begun, 1, CONTENT)
    complete(door, folder, begun, [part])
    complete(door, folder, begun, [part])
    assert fetch(door, folder).content == CONTENT
    assert len(list(blobs.stored())) == 1


def test_parts_that_do_not_make_the_file(door: Door, folder: str) -> None:
    begun = begin(door, folder)
    parts = [send(door, begun, number, PARTS[number - 1]) for number in (1, 2, 3)]
    other = begin(door, folder)
    foreign = send(door, other, 2, PARTS[1])
    first, _, third = parts
    wrong = [parts[:2], [*parts, first], [first, first, third], [first, foreign, third]]
    for named in wrong:
        assert complete(door, folder, begun, named, expect=400)["error_code"] == "INVALID_PARAMETER_VALUE"
    for tag in ("", "sha256:" + "0" * 64, begun["upload_id"]):
        complete(door, folder, begun, [*parts[:2], {"part_number": 3, "etag": tag}], expect=403)
    assert fetch(door, folder).status_code == 404


def test_a_part_needs_its_ticket(door: Door, folder: str, clock: ManualClock) -> None:
    begun = begin(door, folder)
    path = "/api/2.0/mlflow-artifacts/mpu/part/1"
    assert door.client.put(path, content=b"x").status_code == 403
    assert door.client.put(path, content=b"x", headers={"X-Headrace-Ticket": "forged"}).status_code == 403
    for number in ("0", "4"):
        path = f"/api/2.0/mlflow-artifacts/mpu/part/{number}"
        answer = door.client.put(path, content=b"x", headers=begun["credentials"][0]["headers"])
        assert answer.status_code == 400
    clock.advance(timedelta(hours=24))
    path = "/api/2.0/mlflow-artifacts/mpu/part/1"
    assert door.client.put(path, content=b"x", headers=begun["credentials"][0]["headers"]).status_code == 403


def test_an_upload_is_for_one_file(door: Door, run_id: str, folder: str) -> None:
    begun = begin(door, folder, parts=1)
    part = send(door, begun, 1, CONTENT)
    complete(door, f"0/{run_id}/artifacts/other", begun, [part], expect=400)
    path = f"mlflow-artifacts/mpu/abort/{folder}"
    assert door("POST", path, path="/home/ana/model.bin", upload_id=begun["upload_id"]) == {}


def test_uploads_that_cannot_begin(door: Door, folder: str) -> None:
    create = "mlflow-artifacts/mpu/create/"
    for target, fields in (
        (folder, {"path": "../../x", "num_parts": 0}),
        (folder, {"path": "x", "num_parts": 10_001}),
        (folder, {"num_parts": 1}),
        (f"{folder}/%2e%2e", {"path": "x", "num_parts": 1}),
        (folder, {"path": "..", "num_parts": 1}),
        ("not/a/run", {"path": "x", "num_parts": 1}),
    ):
        door.fault("POST", f"{create}{target}", 400, **fields)
    door.fault("POST", f"{create}0/{'0' * 32}/artifacts", 404, path="x", num_parts=1)


def test_a_client_that_leaves_the_run_out_sends_the_file_whole(door: Door) -> None:
    for folder in ("", "/up"):
        code, message = door.fault("POST", f"mlflow-artifacts/mpu/create{folder}", 501, path="x", num_parts=1)
        assert code == "NOT_IMPLEMENTED"
        assert message.startswith("Multipart upload is not supported for the current artifact repository")


def test_parts_of_a_file_at_a_root(door: Door, roots: ArtifactRoots, tmp_path: Path) -> None:
    location = str(tmp_path / "root" / "own")
    number = door("POST", "experiments/create", name="own", artifact_location=location)["experiment_id"]
    run_id = door("POST", "runs/create", experiment_id=number)["run"]["info"]["run_id"]
    folder = f"{number}/{run_id}/artifacts/model"
    begun = begin(door, folder)
    parts = [send(door, begun, each, PARTS[each - 1]) for each in (1, 2, 3)]
    for _ in range(2):
        complete(door, folder, begun, parts)
    assert b"".join(roots.stream(f"{location}/{run_id}/artifacts", "model/model.bin")) == CONTENT


class TestInAnObjectStore:
    @pytest.fixture
    def blobs(self, tmp_path: Path, s3_url: str) -> BlobStore:
        return open_blob_store(tmp_path, f"{s3_url}/blobs")

    @pytest.fixture
    def roots(self, s3_url: str) -> ArtifactRoots:
        return ArtifactRoots(f"{s3_url}/runs")

    def test_downloads_past_the_server(self, door: Door, folder: str) -> None:
        assert door.put(f"{folder}/model.bin", CONTENT) == 200
        link = door("GET", f"mlflow-artifacts/presigned/{folder}/model.bin")
        assert link["file_size"] == len(CONTENT)
        answer = httpx.get(link["url"], headers={**link["headers"], "Range": "bytes=7-16"})
        assert answer.content == CONTENT[7:17]
        door.fault("GET", f"mlflow-artifacts/presigned/{folder}/none", 404)

    def test_downloads_of_a_registered_version(self, door: Door, run_id: str, folder: str) -> None:
        assert door.put(f"{folder}/model.bin", CONTENT) == 200
        door("POST", "registered-models/create", name="churn")
        door("POST", "model-versions/create", name="churn", source=f"runs:/{run_id}/model", run_id=run_id)
        link = door("GET", "mlflow-artifacts/presigned/registered/churn/1/model.bin")
        assert httpx.get(link["url"]).content == CONTENT
        door.fault("GET", "mlflow-artifacts/presigned/registered/churn/1/none", 404)

    def test_addresses_at_a_root(self, door: Door, s3_url: str, roots: ArtifactRoots) -> None:
        created = door("POST", "experiments/create", name="own", artifact_location=f"{s3_url}/runs/own")
        run = door("POST", "runs/create", experiment_id=created["experiment_id"])["run"]["info"]
        fields = {"run_id": run["run_id"], "path": "a/b.txt"}
        door.fault("POST", "artifacts/presigned-download-url", 404, **fields)
        link = door("POST", "artifacts/presigned-upload-url", **fields, expiration=60)
        assert httpx.put(link["presigned_url"], content=b"past the server").status_code == 200
        assert b"".join(roots.stream(run["artifact_uri"], "a/b.txt")) == b"past the server"
        link = door("POST", "artifacts/presigned-download-url", **fields)
        assert link["file_size"] == 15
        assert httpx.get(link["presigned_url"]).content == b"past the server"
        for wrong in ({"run_id": ""}, {"model_id": "m-1"}, {"expiration": 0}, {"path": ".."}):
            door.fault("POST", "artifacts/presigned-upload-url", 400, **fields | wrong)


def test_a_folder_gives_no_addresses(door: Door, folder: str, run_id: str) -> None:
    assert door.put(f"{folder}/model.bin", CONTENT) == 200
    assert door.fault("GET", f"mlflow-artifacts/presigned/{folder}/model.bin", 501)[0] == "NOT_IMPLEMENTED"
    for endpoint in ("artifacts/presigned-upload-url", "artifacts/presigned-download-url"):
        door.fault("POST", endpoint, 400, run_id=run_id, path="model/model.bin")


def test_uploads_of_the_same_bytes_do_not_take_parts_from_each_other(door: Door, folder: str) -> None:
    other = folder.replace("/model", "/copy")
    begun = {where: begin(door, where) for where in (folder, other)}
    sent = {
        where: [send(door, begun[where], number + 1, part) for number, part in enumerate(PARTS)] for where in begun
    }
    for where, upload in begun.items():
        complete(door, where, upload, sent[where])
        assert fetch(door, where).content == CONTENT


def test_parts_that_are_gone_are_told(door: Door, folder: str, blobs: BlobStore) -> None:
    begun = begin(door, folder)
    parts = [send(door, begun, number + 1, part) for number, part in enumerate(PARTS)]
    for blob in list(blobs.stored()):
        blobs.delete(blob.digest)
    assert complete(door, folder, begun, parts, expect=409)["error_code"] == "RESOURCE_CONFLICT"
