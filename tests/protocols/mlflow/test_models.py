"""Logged models, their files, and registered versions over MLflow's protocol."""

from typing import Any

import pytest

from headrace.kernel import events, pins
from headrace.kernel.database import Database
from headrace.registry import models as registry_models
from headrace.registry import versions

pytestmark = pytest.mark.both_databases

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from

MLMODEL = b"""
flavors: {python_function: {loader_module: mlflow.sklearn}}
signature:
  inputs: '[{"type": "double", "name": "x", "required": true}]'
  outputs: '[{"type": "long", "required": true}]'
  params: null
"""
FILES = {"MLmodel": MLMODEL, "model.pkl": b"weights", "code/a.py": b"pass"}


def register(door: Door, name: str = "iris", files: dict[str, bytes] = FILES) -> tuple[str, dict[str, Any]]:
    """A model with one version from a logged model; returns the logged model's id and the version."""
    model_id = door.model(door.run(), files)
    door.client.post("/api/2.0/mlflow/registered-models/create", json={"name": name})
    answer = door("POST", "model-versions/create", name=name, source=f"models:/{model_id}", model_id=model_id)
    return model_id, answer["model_version"]


def download(door: Door, uri: str, path: str) -> bytes:
    address = uri.replace("mlflow-artifacts:/", "/api/2.0/mlflow-artifacts/artifacts/")
    content: bytes = door.client.get(f"{address}/{path}").content
    return content


def test_a_logged_model_from_announcement_to_ready(door: Door) -> None:
    run_id = door.run()
    params = [{"key": "depth", "value": "3"}]
    made = door("POST", "logged-models", experiment_id="0", name="clf", source_run_id=run_id, params=params)[
        "model"
    ]
    model_id = made["info"]["model_id"]
    assert made["info"]["status"] == "LOGGED_MODEL_PENDING"
    assert made["info"]["artifact_uri"] == f"mlflow-artifacts:/0/models/{model_id}/artifacts"
    assert made["data"] == {"params": params}
    ready = door("PATCH", f"logged-models/{model_id}", model_id=model_id, status="LOGGED_MODEL_READY")["model"]
    assert ready["info"]["status"] == "LOGGED_MODEL_READY"
    door("PATCH", f"logged-models/{model_id}/tags", tags=[{"key": "a", "value": "b"}])
    point = {"key": "auc", "value": 0.9, "timestamp": 1, "step": 0, "model_id": model_id}
    door("POST", "runs/log-batch", run_id=run_id, metrics=[point])
    found = door("GET", f"logged-models/{model_id}")["model"]
    assert found["info"]["tags"] == [{"key": "a", "value": "b"}]
    assert found["data"]["metrics"] == [{**point, "run_id": run_id}]
    assert door("POST", "logged-models/search", experiment_ids=["0"], filter="name = 'clf'") == {"models": [found]}
    assert door("POST", "logged-models/search", experiment_ids=["0"], filter="name = 'other'") == {}
    door("DELETE", f"logged-models/{model_id}/tags/a")
    door("DELETE", f"logged-models/{model_id}")
    assert door.fault("GET", f"logged-models/{model_id}", 404)[0] == "RESOURCE_DOES_NOT_EXIST"
    assert door.fault("PATCH", f"logged-models/{model_id}", 400, status="READY")[0] == "INVALID_PARAMETER_VALUE"


def test_files_go_up_are_listed_and_come_down(door: Door) -> None:
    run_id = door.run()
    root = f"0/{run_id}/artifacts"
    assert door.put(f"{root}/notes/hello world.txt", b"hello") == 200
    assert door.put(f"{root}/d.json", b"{}") == 200
    assert door("GET", "artifacts/list", run_id=run_id) == {
        "root_uri": f"mlflow-artifacts:/{root}",
        "files": [{"path": "d.json", "is_dir": False, "file_size": 2}, {"path": "notes", "is_dir": True}],
    }
    listing = door("GET", "mlflow-artifacts/artifacts", path=f"{root}/notes")
    assert listing == {"files": [{"path": "hello world.txt", "is_dir": False, "file_size": 5}]}
    assert door("GET", "mlflow-artifacts/artifacts", path=f"{root}/d.json") == {}
    assert download(door, f"mlflow-artifacts:/{root}", "notes/hello world.txt") == b"hello"
    door("DELETE", f"mlflow-artifacts/artifacts/{root}/notes")
    assert len(door("GET", "artifacts/list", run_id=run_id)["files"]) == 1
    missing = door.fault("GET", f"mlflow-artifacts/artifacts/{root}/none", 404)
    assert missing == ("RESOURCE_DOES_NOT_EXIST", "No such artifact: 'none'")


@pytest.mark.parametrize(
    "path",
    ["0/{run}/artifacts/%2e%2e/x", "0/{run}/artifacts/%252e%252e/x", "0/{run}/artifacts/a%23b", "x", "0/{run}/x"],
)
def test_paths_that_leave_are_refused(door: Door, path: str) -> None:
    place = path.format(run=door.run())
    assert door.put(place, b"x") == 400
    assert door.client.get(f"/api/2.0/mlflow-artifacts/artifacts/{place}").status_code in {400, 404}


def test_files_belong_to_their_experiment(door: Door) -> None:
    assert door.put(f"7/{door.run()}/artifacts/a", b"x") == 404


def test_a_version_has_the_files_and_the_signature_that_were_logged(door: Door, database: Database) -> None:
    model_id, version = register(door)
    assert (version["name"], version["version"], version["status"]) == ("iris", "1", "READY")
    assert (version["current_stage"], version["source"]) == ("None", f"models:/{model_id}")
    found = database.read(lambda tx: versions.get(tx, "iris", 1))
    assert {file.path for file in found.files} == set(FILES)
    assert found.signature is not None
    assert found.signature["inputs"] == [{"type": "double", "name": "x", "required": True}]
    held = database.read(lambda tx: pins.pins_on(tx, f"logged-model/{model_id}"))
    assert [pin.holder for pin in held] == ["version/iris/1"]
    code, message = door.fault("DELETE", f"logged-models/{model_id}", 409)
    assert code == "RESOURCE_CONFLICT"
    assert "version/iris/1" in message


def test_registering_again_is_the_same_version(door: Door) -> None:
    model_id, version = register(door)
    again = door("POST", "model-versions/create", name="iris", source=f"models:/{model_id}", model_id=model_id)
    assert again["model_version"] == version


def test_a_version_stays_what_it_was(door: Door) -> None:
    model_id, _ = register(door)
    assert door.put(f"0/models/{model_id}/artifacts/model.pkl", b"other weights") == 200
    uri = door("GET", "model-versions/get-download-uri", name="iris", version="1")["artifact_uri"]
    assert download(door, uri, "model.pkl") == b"weights"
    assert download(door, uri, "code/a.py") == b"pass"
    place = uri.removeprefix("mlflow-artifacts:/")
    listing = door("GET", "mlflow-artifacts/artifacts", path=place)["files"]
    assert [(file["path"], file["is_dir"]) for file in listing] == [
        ("MLmodel", False),
        ("code", True),
        ("model.pkl", False),
    ]
    assert door.put(f"{place}/model.pkl", b"x") == 403


def test_names_of_any_alphabet_have_an_address(door: Door) -> None:
    register(door, name="größe 1~%20")
    uri = door("GET", "model-versions/get-download-uri", name="größe 1~%20", version="1")["artifact_uri"]
    assert uri.isascii()
    assert "%" not in uri
    assert download(door, uri, "model.pkl") == b"weights"


def from_run(door: Door) -> tuple[str, str]:
    run_id = door.run()
    for path, content in FILES.items():
        assert door.put(f"0/{run_id}/artifacts/model/{path}", content) == 200
    return run_id, "model"


@pytest.mark.parametrize(
    "source",
    [
        "runs:/{run}/model",
        "mlflow-artifacts:/0/{run}/artifacts/model",
        "mlflow-artifacts://host:1/0/{run}/artifacts/model",
    ],
)
def test_versions_from_a_runs_folder(door: Door, database: Database, source: str) -> None:
    run_id, _ = from_run(door)
    door("POST", "registered-models/create", name="iris")
    door("POST", "model-versions/create", name="iris", source=source.format(run=run_id), run_id=run_id)
    found = database.read(lambda tx: versions.get(tx, "iris", 1))
    assert {file.path for file in found.files} == set(FILES)
    assert (found.run_id, found.artifact_prefix) == (run_id, "model")


def test_a_version_can_be_copied(door: Door, database: Database) -> None:
    register(door)
    door("POST", "registered-models/create", name="copy")
    door("POST", "model-versions/create", name="copy", source="models:/iris/1")
    one, other = (database.read(lambda tx, name=name: versions.get(tx, name, 1)) for name in ("iris", "copy"))  # type: ignore[misc]
    assert one.digest == other.digest


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("/etc", 400),
        ("file:///etc", 400),
        ("s3://bucket/model", 400),
        ("runs:/{run}/nothing", 400),
        ("runs:/none/model", 404),
        ("models:/m-none", 404),
        ("models:/none/1", 404),
        ("mlflow-artifacts:/0/{run}/artifacts/../x", 400),
    ],
)
def test_sources_elsewhere_are_refused(door: Door, source: str, status: int) -> None:
    door("POST", "registered-models/create", name="iris")
    door.fault("POST", "model-versions/create", status, name="iris", source=source.format(run=door.run()))


BOMB = b"a0: &a0 [x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 30)
)
BOMB += b"signature: {inputs: *a29}\n"
"""References to references: 9 to the power of 29 texts, were they written out."""


def test_a_model_file_that_is_none_is_refused(door: Door) -> None:
    door("POST", "registered-models/create", name="iris")
    for content in (b"[1", b"- a", b"signature: {inputs: '['}", b"made: 2026-99-99", b"a: " + b"[" * 50_000, BOMB):
        model_id = door.model(door.run(), {"MLmodel": content})
        code, message = door.fault("POST", "model-versions/create", 400, name="iris", source=f"models:/{model_id}")
        assert code == "INVALID_PARAMETER_VALUE"
        assert "MLmodel" in message


def test_registered_models(door: Door) -> None:
    door("POST", "registered-models/create", name="b", tags=[{"key": "t", "value": "v"}], description="about")
    assert door.fault("POST", "registered-models/create", 400, name="b")[0] == "RESOURCE_ALREADY_EXISTS"
    door("POST", "registered-models/create", name="a")
    door("POST", "registered-models/set-tag", name="b", key="u", value="w")
    found = door("GET", "registered-models/get", name="b")["registered_model"]
    assert found["description"] == "about"
    assert found["tags"] == [{"key": "t", "value": "v"}, {"key": "u", "value": "w"}]
    page = door("GET", "registered-models/search", max_results=1)
    assert [model["name"] for model in page["registered_models"]] == ["a"]
    rest = door("GET", "registered-models/search", max_results=1, page_token=page["next_page_token"])
    assert [model["name"] for model in rest["registered_models"]] == ["b"]
    assert "next_page_token" not in rest
    assert door("GET", "registered-models/search", filter="name = 'none'") == {}


def test_aliases(door: Door) -> None:
    register(door)
    door("POST", "registered-models/alias", name="iris", alias="champion", version="1")
    for alias in ("champion", "latest"):
        found = door("GET", "registered-models/alias", name="iris", alias=alias)["model_version"]
        assert (found["version"], found["aliases"]) == ("1", ["champion"])
    door("DELETE", "registered-models/alias", name="iris", alias="champion")
    assert door.fault("GET", "registered-models/alias", 400, name="iris", alias="champion") == (
        "INVALID_PARAMETER_VALUE",
        "Registered model alias champion not found.",
    )
    assert door.fault("GET", "model-versions/get", 400, name="iris", version="one")[0] == "INVALID_PARAMETER_VALUE"


def test_stages(door: Door) -> None:
    register(door)
    register(door)

    def move(**fields: object) -> Any:
        return door("POST", "model-versions/transition-stage", name="iris", **fields)

    assert move(version="1", stage="production")["model_version"]["current_stage"] == "Production"
    move(version="2", stage="Production", archive_existing_versions=True)
    for method in ("GET", "POST"):
        latest = door(
            method, "registered-models/get-latest-versions", name="iris", stages=["Production", "Archived"]
        )
        stages = {found["current_stage"]: found["version"] for found in latest["model_versions"]}
        assert stages == {"Archived": "1", "Production": "2"}
    fault = door.fault("POST", "model-versions/transition-stage", 400, name="iris", version="1", stage="Live")
    assert fault[1].endswith("Value must be one of None, Staging, Production, Archived.")


def test_a_delivered_model_moves_by_release_alone(door: Door, database: Database) -> None:
    register(door)
    database.write(lambda tx: registry_models.declare(tx, "iris", {"name": "iris"}), actor="ana")
    code, message = door.fault(
        "POST", "model-versions/transition-stage", 403, name="iris", version="1", stage="Production"
    )
    assert code == "PERMISSION_DENIED"
    assert "headrace release iris@1" in message
    assert database.read(lambda tx: versions.get(tx, "iris", 1)).stage == "None"
    last = database.read(lambda tx: events.of_subject(tx, "version/iris/1"))[-1]
    assert last.type == "registry.change_refused"
    door("POST", "model-versions/transition-stage", name="iris", version="1", stage="Staging")


def test_version_searches(door: Door) -> None:
    register(door)
    register(door)
    found = door("GET", "model-versions/search", filter="name = 'iris'")["model_versions"]
    assert [version["version"] for version in found] == ["2", "1"]
    run_id = found[1]["run_id"]
    assert [
        each["version"]
        for each in door("GET", "model-versions/search", filter=f"run_id = '{run_id}'")["model_versions"]
    ] == ["1"]
    page = door("GET", "model-versions/search", max_results=1)
    rest = door("GET", "model-versions/search", max_results=1, page_token=page["next_page_token"])
    assert rest["model_versions"] == found[1:]
    door("POST", "model-versions/set-tag", name="iris", version="1", key="a", value="b")
    assert door("GET", "model-versions/get", name="iris", version="1")["model_version"]["tags"] == [
        {"key": "a", "value": "b"}
    ]
