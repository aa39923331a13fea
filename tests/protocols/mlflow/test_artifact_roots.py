"""Files that clients write themselves: at a root of the operator's, or where an experiment says."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.kernel import events, jobs
from headrace.kernel.database import Database, Tx
from headrace.kernel.jobs import Job
from headrace.kernel.roots import ArtifactRoots
from headrace.registry import versions
from headrace.tracking import experiments, lifecycle, logged_models, purging
from headrace.tracking.jobs import REMOVE_FILES, RemoveFiles

pytestmark = pytest.mark.both_databases

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from

MLMODEL = b'flavors: {}\nsignature:\n  inputs: \'[{"type": "double", "name": "x"}]\'\n'


@pytest.fixture(params=["folder", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the experiment of the tests keeps its files."""
    return f"{request.getfixturevalue('s3_url') if request.param == 's3' else tmp_path / 'root'}/own"


@pytest.fixture
def roots(location: str) -> ArtifactRoots:
    return ArtifactRoots(further=[location.removesuffix("/own")])


@pytest.fixture
def experiment(door: Door, location: str) -> str:
    created: str = door("POST", "experiments/create", name="own", artifact_location=location)["experiment_id"]
    return created


@pytest.fixture
def run_id(door: Door, experiment: str) -> str:
    created: str = door("POST", "runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
    return created


def write(roots: ArtifactRoots, place: str, files: dict[str, bytes]) -> None:
    """As a client does it, past this server."""
    for path, content in files.items():
        roots.put(place, path, iter([content]))


def registered(door: Door, **fields: str) -> dict[str, str]:
    if not door("GET", "registered-models/search"):
        door("POST", "registered-models/create", name="churn")
    version: dict[str, str] = door("POST", "model-versions/create", name="churn", **fields)["model_version"]
    return version


def test_clients_are_told_where_to_write(door: Door, experiment: str, run_id: str, location: str) -> None:
    found = door("GET", "experiments/get", experiment_id=experiment)["experiment"]
    assert found["artifact_location"] == location
    place = f"{location}/{run_id}/artifacts"
    assert door("GET", "runs/get", run_id=run_id)["run"]["info"]["artifact_uri"] == place
    (page,) = door("POST", "runs/search", experiment_ids=[experiment])["runs"]
    assert page["info"]["artifact_uri"] == place
    matching: dict[str, Any] = {"experiment_ids": [experiment], "filter": f"attributes.artifact_uri = '{place}'"}
    assert len(door("POST", "runs/search", **matching)["runs"]) == 1
    fields: dict[str, Any] = {"experiment_id": experiment, "name": "clf", "source_run_id": run_id}
    info = door("POST", "logged-models", **fields)["model"]["info"]
    assert info["artifact_uri"] == f"{location}/models/{info['model_id']}/artifacts"


def test_what_clients_wrote_is_listed_and_read(
    door: Door, run_id: str, location: str, roots: ArtifactRoots
) -> None:
    place = f"{location}/{run_id}/artifacts"
    write(roots, place, {"plot.png": b"plot", "model/MLmodel": MLMODEL})
    listed = door("GET", "artifacts/list", run_id=run_id)
    assert listed["root_uri"] == place
    assert listed["files"] == [
        {"path": "model", "is_dir": True},
        {"path": "plot.png", "is_dir": False, "file_size": 4},
    ]
    below = door("GET", "artifacts/list", run_id=run_id, path="model")["files"]
    assert below == [{"path": "model/MLmodel", "is_dir": False, "file_size": len(MLMODEL)}]
    page = door.client.get("/get-artifact", params={"run_id": run_id, "path": "plot.png"})
    assert (page.status_code, page.content) == (200, b"plot")
    ranged = door.client.get(
        "/get-artifact", params={"run_id": run_id, "path": "plot.png"}, headers={"Range": "bytes=1-2"}
    )
    assert (ranged.status_code, ranged.content) == (206, b"lo")
    again = door.client.get(
        "/get-artifact",
        params={"run_id": run_id, "path": "plot.png"},
        headers={"If-None-Match": page.headers["etag"]},
    )
    assert again.status_code == 304
    assert door.client.get("/get-artifact", params={"run_id": run_id, "path": "none"}).status_code == 404


def test_what_is_sent_here_goes_there(
    door: Door, run_id: str, experiment: str, location: str, roots: ArtifactRoots, database: Database
) -> None:
    place, path = f"{location}/{run_id}/artifacts", f"{experiment}/{run_id}/artifacts/notes/a.txt"
    assert door.put(path, b"sent") == 200
    assert b"".join(roots.stream(place, "notes/a.txt")) == b"sent"
    stored = database.read(lambda tx: events.of_subject(tx, f"run/{run_id}"))[-1]
    assert (stored.type, stored.payload["place"]) == ("tracking.artifact_stored", place)
    assert door.client.delete(f"/api/2.0/mlflow-artifacts/artifacts/{path}").status_code == 200
    assert roots.files_below(place) == []
    deleted = database.read(lambda tx: events.of_subject(tx, f"run/{run_id}"))[-1]
    assert deleted.type == "tracking.artifacts_deleted"


@pytest.mark.parametrize(
    "source", ["runs:/{run}/model", "{place}/model", "mlflow-artifacts:/{exp}/{run}/artifacts/model"]
)
def test_a_version_keeps_what_was_registered(
    door: Door, run_id: str, experiment: str, location: str, roots: ArtifactRoots, database: Database, source: str
) -> None:
    place = f"{location}/{run_id}/artifacts"
    write(roots, place, {"model/MLmodel": MLMODEL, "model/data/model.bin": b"first"})
    named = source.format(run=run_id, place=place, exp=experiment)
    version = registered(door, source=named, run_id=run_id)
    write(roots, place, {"model/data/model.bin": b"another"})
    roots.delete(place, "model/MLmodel")
    kept = database.read(lambda tx: versions.get(tx, "churn", 1))
    assert [file.path for file in kept.files] == ["MLmodel", "data/model.bin"]
    assert kept.signature == {"inputs": [{"type": "double", "name": "x"}]}
    assert kept.run_id == run_id
    page = door.client.get(
        "/model-versions/get-artifact", params={"name": "churn", "version": "1", "path": "data/model.bin"}
    )
    assert page.content == b"first"
    uri = door("GET", "model-versions/get-download-uri", name="churn", version=version["version"])["artifact_uri"]
    assert uri.startswith("mlflow-artifacts:/registered/")


def test_a_version_of_a_logged_model(
    door: Door, run_id: str, experiment: str, location: str, roots: ArtifactRoots
) -> None:
    fields: dict[str, Any] = {"experiment_id": experiment, "name": "clf", "source_run_id": run_id}
    info = door("POST", "logged-models", **fields)["model"]["info"]
    write(roots, info["artifact_uri"], {"MLmodel": MLMODEL})
    door("PATCH", f"logged-models/{info['model_id']}", status="LOGGED_MODEL_READY")
    listed = door("GET", f"logged-models/{info['model_id']}/artifacts/directories")
    assert listed["root_uri"] == info["artifact_uri"]
    assert listed["files"] == [{"path": "MLmodel", "is_dir": False, "file_size": len(MLMODEL)}]
    for source in (f"models:/{info['model_id']}", info["artifact_uri"]):
        version = registered(door, source=source, model_id=info["model_id"], run_id=run_id)
        assert version["version"] in {"1", "2"}
    elsewhere = f"{location}/{run_id}/artifacts"
    write(roots, elsewhere, {"MLmodel": MLMODEL})
    fault = door.fault(
        "POST", "model-versions/create", 400, name="churn", source=elsewhere, model_id=info["model_id"]
    )
    assert "is not of the model" in fault[1]


def test_a_place_that_the_operator_does_not_allow_is_never_read(door: Door, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    created = door("POST", "experiments/create", name="sly", artifact_location=str(secret))["experiment_id"]
    info = door("POST", "runs/create", experiment_id=created)["run"]["info"]
    place = Path(info["artifact_uri"])
    place.mkdir(parents=True)
    (place / "key").write_text("secret")
    code, message = door.fault("GET", "artifacts/list", 403, run_id=info["run_id"])
    assert code == "PERMISSION_DENIED"
    assert "HEADRACE_ARTIFACT_ROOTS" in message
    assert door.client.get("/get-artifact", params={"run_id": info["run_id"], "path": "key"}).status_code == 403
    assert door.put(f"{created}/{info['run_id']}/artifacts/key", b"overwritten") == 403
    door("POST", "registered-models/create", name="sly")
    for source in (f"runs:/{info['run_id']}/", str(place)):
        door.fault("POST", "model-versions/create", 403, name="sly", source=source, run_id=info["run_id"])
    assert (place / "key").read_text() == "secret"


def test_addresses_at_a_root_that_nobody_has(door: Door, location: str, roots: ArtifactRoots) -> None:
    write(roots, f"{location}/nobody/artifacts", {"MLmodel": MLMODEL})
    door("POST", "registered-models/create", name="churn")
    for source in (f"{location}/nobody/artifacts", location, f"{location}/artifacts/x"):
        door.fault("POST", "model-versions/create", 400, name="churn", source=source)


def _keep_files_at(root: str, tx: Tx) -> None:
    experiments.keep_files_at(tx, root)


def test_new_experiments_are_below_the_root(door: Door, database: Database) -> None:
    before = door("POST", "experiments/create", name="before")["experiment_id"]
    for root in ("s3://bucket/runs", "s3://bucket/runs", ""):
        database.write(lambda tx, root=root: experiments.keep_files_at(tx, root), actor="system")  # type: ignore[misc]
        if root:
            door(
                "POST", "experiments/create", name=f"below {len(door('POST', 'experiments/search')['experiments'])}"
            )
    after = door("POST", "experiments/create", name="after")["experiment_id"]
    found = {
        each["experiment_id"]: each["artifact_location"]
        for each in door("POST", "experiments/search")["experiments"]
    }
    assert found.pop(before) == f"mlflow-artifacts:/{before}"
    assert found.pop(after) == f"mlflow-artifacts:/{after}"
    assert found.pop("0", "mlflow-artifacts:/0") == "mlflow-artifacts:/0"
    assert all(location == f"s3://bucket/runs/{number}" for number, location in found.items())
    assert len(found) == 2
    changes = database.read(lambda tx: events.of_subject(tx, "artifact-root"))
    assert [change.payload["after"] for change in changes] == ["s3://bucket/runs", ""]


def _claim(kind: str, tx: Tx) -> Job | None:
    return jobs.claim(tx, "worker", [kind])


def test_files_at_a_root_go_with_the_run(
    door: Door, run_id: str, experiment: str, location: str, database: Database
) -> None:
    fields: dict[str, Any] = {"experiment_id": experiment, "name": "clf", "source_run_id": run_id}
    model_id = door("POST", "logged-models", **fields)["model"]["info"]["model_id"]

    def gone() -> list[RemoveFiles]:
        asked = [
            database.write(lambda tx: jobs.claim(tx, "worker", [REMOVE_FILES.name]), actor="system") for _ in "ab"
        ]
        return [msgspec.json.decode(job.payload, type=RemoveFiles) for job in asked if job is not None]

    database.write(lambda tx: lifecycle.delete_run(tx, run_id), actor="ana")
    database.write(lambda tx: logged_models.delete(tx, model_id), actor="ana")
    assert gone() == []
    database.write(lambda tx: purging.purge_run(tx, run_id), actor="ana")
    database.write(lambda tx: purging.purge_model(tx, model_id), actor="ana")
    assert gone() == [
        RemoveFiles(owner=f"run/{run_id}", place=f"{location}/{run_id}/artifacts"),
        RemoveFiles(owner=f"logged-model/{model_id}", place=f"{location}/models/{model_id}/artifacts"),
    ]


def test_bad_locations(door: Door) -> None:
    for location in ("hdfs://host/x", "dbfs:/x"):
        code, message = door.fault("POST", "experiments/create", 501, name="x", artifact_location=location)
        assert code == "NOT_IMPLEMENTED"
        assert location.partition(":")[0] in message
    for location in ("s3://bucket#x", "s3://bucket?a=../b", "/data/../etc"):
        code, _ = door.fault("POST", "experiments/create", 400, name="x", artifact_location=location)
        assert code == "INVALID_PARAMETER_VALUE"
