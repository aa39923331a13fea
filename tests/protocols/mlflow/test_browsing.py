"""What MLflow's pages ask for beside the protocol."""

import pytest
from tests.protocols.mlflow.conftest import Door

pytestmark = pytest.mark.both_databases
AJAX = "/ajax-api/2.0/mlflow"


@pytest.fixture
def run_id(door: Door) -> str:
    experiment_id = door("POST", "experiments/create", name="churn")["experiment_id"]
    run_id: str = door("POST", "runs/create", experiment_id=experiment_id)["run"]["info"]["run_id"]
    address = f"{AJAX}/upload-artifact?run_uuid={run_id}&path=plots/roc ä.txt"
    assert door.client.post(address, content=b"roc").status_code == 200
    return run_id


@pytest.mark.parametrize("path", ["/get-artifact", f"{AJAX}/get-artifact"])
@pytest.mark.parametrize("field", ["run_id", "run_uuid"])
def test_a_file_of_a_run(door: Door, run_id: str, path: str, field: str) -> None:
    answer = door.client.get(path, params={field: run_id, "path": "plots/roc ä.txt"})
    assert (answer.status_code, answer.content) == (200, b"roc")
    assert answer.headers["content-disposition"].startswith("attachment")
    part = door.client.get(path, params={field: run_id, "path": "plots/roc ä.txt"}, headers={"Range": "bytes=1-"})
    assert (part.status_code, part.content) == (206, b"oc")


@pytest.mark.parametrize(
    "path", ["", "..", "../x", "/etc/passwd", "a/../../b", "a//b", "a\\..\\b", "a%2e%2e/b", "a\0b", "a#b", "plots"]
)
def test_what_is_no_file(door: Door, run_id: str, path: str) -> None:
    answer = door.client.get("/get-artifact", params={"run_id": run_id, "path": path})
    assert answer.status_code in {400, 404}
    assert set(answer.json()) == {"error_code", "message"}
    missing = door.client.get("/get-artifact", params={"run_id": "0" * 32, "path": "a"})
    assert (missing.status_code, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_a_file_of_a_version(door: Door, run_id: str) -> None:
    door("POST", "registered-models/create", name="churn")
    source = f"runs:/{run_id}/plots"
    version = door("POST", "model-versions/create", name="churn", source=source, run_id=run_id)["model_version"]
    for path in ("/model-versions/get-artifact", f"{AJAX}/model-versions/get-artifact"):
        query = {"name": "churn", "version": version["version"], "path": "roc ä.txt"}
        assert door.client.get(path, params=query).content == b"roc"
        assert door.client.get(path, params=query | {"path": "none"}).status_code == 404
        assert door.client.get(path, params=query | {"version": "9"}).status_code == 404
        for odd in ("one", "", "-1", "9" * 5_000):
            assert door.client.get(path, params=query | {"version": odd}).status_code == 400
        assert door.client.get(path, params=query | {"name": "churn/x"}).status_code == 404


def test_a_file_of_a_logged_model(door: Door, run_id: str) -> None:
    experiment_id = door("GET", "runs/get", run_id=run_id)["run"]["info"]["experiment_id"]
    model = door("POST", "logged-models", experiment_id=experiment_id, name="clf")["model"]["info"]
    stored = door.client.put(
        f"/api/2.0/mlflow-artifacts/artifacts/{experiment_id}/models/{model['model_id']}/artifacts/MLmodel",
        content=b"flavors:",
    )
    assert stored.status_code == 200
    address = f"{AJAX}/logged-models/{model['model_id']}/artifacts/files"
    assert door.client.get(address, params={"artifact_file_path": "MLmodel"}).content == b"flavors:"
    assert door.client.get(address, params={"artifact_file_path": "../MLmodel"}).status_code == 400
    assert door.client.get(address).status_code == 400


@pytest.mark.parametrize(
    ("query", "content", "said"),
    [
        ({"path": "a"}, b"x", "run_uuid"),
        ({"run_uuid": "RUN"}, b"x", "path"),
        ({"run_uuid": "RUN", "path": "a"}, b"", "data"),
        ({"run_uuid": "RUN", "path": "../a"}, b"x", "path"),
        ({"run_uuid": "RUN", "path": "a"}, b"x" * (10 * 1024**2 + 1), "10MB"),
    ],
)
def test_uploads_that_are_refused(
    door: Door, run_id: str, query: dict[str, str], content: bytes, said: str
) -> None:
    filled = {key: run_id if value == "RUN" else value for key, value in query.items()}
    answer = door.client.post(f"{AJAX}/upload-artifact", params=filled, content=content)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert said in answer.json()["message"]


def test_datasets_in_use(door: Door) -> None:
    experiment_id = door("POST", "experiments/create", name="read")["experiment_id"]
    dataset = {"name": "purchases", "digest": "abc", "source_type": "local", "source": "{}"}
    for context in ("training", "training", "evaluation", None):
        run_id = door("POST", "runs/create", experiment_id=experiment_id)["run"]["info"]["run_id"]
        tags = [] if context is None else [{"key": "mlflow.data.context", "value": context}]
        door("POST", "runs/log-inputs", run_id=run_id, datasets=[{"dataset": dataset, "tags": tags}])
    answer = door("POST", "experiments/search-datasets", experiment_ids=[experiment_id, "99"])
    summaries = answer["dataset_summaries"]
    assert {summary.get("context") for summary in summaries} == {"training", "evaluation", None}
    assert {(s["experiment_id"], s["name"], s["digest"]) for s in summaries} == {
        (experiment_id, "purchases", "abc")
    }
    assert len(summaries) == 3
    assert door("POST", "experiments/search-datasets", experiment_ids=["99"]) == {}
    for ids in ([], [str(number) for number in range(21)]):
        assert (
            door.client.post(f"{AJAX}/experiments/search-datasets", json={"experiment_ids": ids}).status_code == 400
        )
