"""Experiments and runs over MLflow's protocol, as its clients call it."""

from typing import Any

import pytest

pytestmark = pytest.mark.both_databases

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from

NOW = 1_795_387_295_439


def metric(key: str, value: object, step: int = 0, **more: object) -> dict[str, object]:
    return {"key": key, "value": value, "timestamp": NOW, "step": step, **more}


def test_set_experiment(door: Door) -> None:
    code, message = door.fault("GET", "experiments/get-by-name", 404, experiment_name="peer")
    assert (code, message) == ("RESOURCE_DOES_NOT_EXIST", "Could not find experiment with name 'peer'")
    assert door("POST", "experiments/create", name="peer") == {"experiment_id": "1"}
    assert door.fault("POST", "experiments/create", 400, name="peer")[0] == "RESOURCE_ALREADY_EXISTS"
    experiment = door("GET", "experiments/get", experiment_id="1")["experiment"]
    assert experiment["artifact_location"] == "mlflow-artifacts:/1"
    assert experiment["lifecycle_stage"] == "active"
    assert type(experiment["creation_time"]) is int
    assert "tags" not in experiment
    door("POST", "experiments/set-experiment-tag", experiment_id="1", key="a", value="b")
    first = door("POST", "experiments/search", view_type="ALL", max_results=1)
    assert [each["name"] for each in first["experiments"]] == ["Default"]  # as old as the other, and of a lower id
    found = door("POST", "experiments/search", view_type="ALL", max_results=1, page_token=first["next_page_token"])
    assert found["experiments"][0]["tags"] == [{"key": "a", "value": "b"}]
    assert "next_page_token" not in found
    assert door("POST", "experiments/search", filter="name = 'peer'") == found
    assert door("POST", "experiments/search", filter="name = 'peer'", view_type="DELETED_ONLY") == {}


def test_a_run_as_a_client_makes_it(door: Door) -> None:
    tags = [{"key": "mlflow.user", "value": "ana"}, {"key": "mlflow.runName", "value": "first"}]
    run = door("POST", "runs/create", experiment_id="0", user_id="ana", start_time=NOW, tags=tags)["run"]
    info = run["info"]
    assert info["run_id"] == info["run_uuid"]
    assert (info["run_name"], info["user_id"], info["status"], info["start_time"]) == (
        "first",
        "ana",
        "RUNNING",
        NOW,
    )
    assert info["artifact_uri"] == f"mlflow-artifacts:/0/{info['run_id']}/artifacts"
    assert "end_time" not in info
    assert {"key": "mlflow.runName", "value": "first"} in run["data"]["tags"]
    ended = door("POST", "runs/update", run_id=info["run_id"], status="FINISHED", end_time=NOW + 5)["run_info"]
    assert (ended["status"], ended["end_time"]) == ("FINISHED", NOW + 5)
    assert door("GET", "runs/get", run_uuid=info["run_id"])["run"]["info"] == ended


def test_two_different_names_are_refused(door: Door) -> None:
    tags = [{"key": "mlflow.runName", "value": "a"}]
    assert "run_name='b'" in door.fault("POST", "runs/create", 400, run_name="b", tags=tags)[1]


def test_the_run_name_tag_renames(door: Door) -> None:
    run_id = door.run(run_name="a")
    door("POST", "runs/set-tag", run_id=run_id, key="mlflow.runName", value="b")
    run = door("GET", "runs/get", run_id=run_id)["run"]
    assert run["info"]["run_name"] == "b"
    assert run["data"]["tags"] == [{"key": "mlflow.runName", "value": "b"}]


def test_a_batch_and_its_history(door: Door) -> None:
    run_id = door.run()
    metrics = [metric("loss", 1, 0), metric("loss", "NaN", 1), metric("loss", "-Infinity", 2), metric("auc", "0.5")]
    batch = {"run_id": run_id, "metrics": metrics, "params": [{"key": "a", "value": "1"}]}
    for _ in range(2):  # clients repeat what timed out
        assert door("POST", "runs/log-batch", **batch, tags=[{"key": "t", "value": "v"}]) == {}
    data = door("GET", "runs/get", run_id=run_id)["run"]["data"]
    assert {found["key"]: found["value"] for found in data["metrics"]} == {"auc": 0.5, "loss": "-Infinity"}
    history = door("GET", "metrics/get-history", run_id=run_id, metric_key="loss", max_results=2)
    assert [found["value"] for found in history["metrics"]] == [1.0, "NaN"]
    assert history["metrics"][0] == metric("loss", 1.0)
    token = history["next_page_token"]
    rest = door("GET", "metrics/get-history", run_id=run_id, metric_key="loss", max_results=2, page_token=token)
    assert [found["value"] for found in rest["metrics"]] == ["-Infinity"]
    assert "next_page_token" not in rest
    assert door("GET", "metrics/get-history", run_id=run_id, metric_key="none") == {}


def test_single_writes(door: Door) -> None:
    run_id = door.run()
    door("POST", "runs/log-metric", run_uuid=run_id, **metric("loss", "Infinity"))
    door("POST", "runs/log-parameter", run_id=run_id, key="a", value="1")
    door("POST", "runs/set-tag", run_id=run_id, key="t", value="v")
    door("POST", "runs/delete-tag", run_id=run_id, key="t")
    data = door("GET", "runs/get", run_id=run_id)["run"]["data"]
    assert data["metrics"] == [metric("loss", "Infinity")]
    assert data["params"] == [{"key": "a", "value": "1"}]
    assert [tag["key"] for tag in data["tags"]] == ["mlflow.runName"]
    assert door.fault("POST", "runs/delete-tag", 404, run_id=run_id, key="t")[0] == "RESOURCE_DOES_NOT_EXIST"


def test_a_batch_is_atomic(door: Door) -> None:
    run_id = door.run()
    door("POST", "runs/log-parameter", run_id=run_id, key="a", value="1")
    params = [{"key": "b", "value": "1"}, {"key": "a", "value": "2"}]
    tags = [{"key": "t", "value": "v"}]
    code, message = door.fault(
        "POST", "runs/log-batch", 400, run_id=run_id, metrics=[metric("loss", 1)], params=params, tags=tags
    )
    assert code == "INVALID_PARAMETER_VALUE"
    assert message.startswith("Changing param values is not allowed.")
    data = door("GET", "runs/get", run_id=run_id)["run"]["data"]
    assert data["params"] == [{"key": "a", "value": "1"}]
    assert "metrics" not in data


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metrics": [metric(str(number), 1) for number in range(1001)]}, "at most 1000 metrics. Got 1001 metrics"),
        ({"params": [{"key": str(number), "value": ""} for number in range(101)]}, "at most 100 params"),
        ({"tags": [{"key": str(number), "value": ""} for number in range(101)]}, "at most 100 tags"),
        ({"params": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]}, "Duplicate parameter keys"),
        ({"metrics": [{"key": "a", "timestamp": 1}]}, "'metrics[0].value'"),
        ({"metrics": [metric("a", "high")]}, "'metrics[0].value'"),
        ({"metrics": [metric("a", 1) | {"timestamp": 10**18}]}, "'metrics[0].timestamp'"),
        ({"metrics": [metric("a", 1, 2**63)]}, "'metrics[0].step'"),
        ({"metrics": "no list"}, "'metrics'"),
        ({"metrics": [metric("../a", 1)]}, "key"),
        ({"metrics": [metric("a", 1, model_id="m-none")]}, "m-none"),
    ],
)
def test_bad_batches(door: Door, fields: dict[str, object], message: str) -> None:
    run_id = door.run()
    answer = door.client.post("/api/2.0/mlflow/runs/log-batch", json={"run_id": run_id, **fields})
    assert answer.status_code in {400, 404}
    assert message in answer.json()["message"]
    assert "metrics" not in door("GET", "runs/get", run_id=run_id)["run"]["data"]


def test_inputs_and_outputs(door: Door) -> None:
    run_id = door.run()
    dataset = {"name": "iris", "digest": "5a5c68bf", "source_type": "code", "source": "{}", "schema": "{}"}
    tags = [{"key": "mlflow.data.context", "value": "train"}]
    door("POST", "runs/log-inputs", run_id=run_id, datasets=[{"tags": tags, "dataset": dataset}])
    model_id = door.model(run_id, {})
    door("POST", "runs/outputs", run_id=run_id, models=[{"model_id": model_id, "step": 0}])
    run = door("GET", "runs/get", run_id=run_id)["run"]
    assert run["inputs"] == {"dataset_inputs": [{"tags": tags, "dataset": dataset}]}
    assert run["outputs"] == {"model_outputs": [{"model_id": model_id, "step": 0}]}


def test_search(door: Door) -> None:
    for number, auc in enumerate((0.7, 0.9, 0.8)):
        run_id = door.run(run_name=str(number), start_time=NOW + number)
        door("POST", "runs/log-metric", run_id=run_id, **metric("auc", auc))

    def names(**query: object) -> list[str]:
        found = door("POST", "runs/search", experiment_ids=["0"], **query)
        return [run["info"]["run_name"] for run in found.get("runs", [])]

    assert names() == ["2", "1", "0"]
    assert names(order_by=["metrics.auc DESC"]) == ["1", "2", "0"]
    assert names(filter="metrics.auc > 0.75 and attributes.status = 'RUNNING'") == ["2", "1"]
    assert names(run_view_type="DELETED_ONLY") == []
    page = door("POST", "runs/search", experiment_ids=["0"], max_results=2)
    assert names(max_results=2, page_token=page["next_page_token"]) == ["0"]
    assert names(filter="run_name = '0' OR NOT metrics.auc < 0.85") == ["1", "0"]
    assert door.fault("POST", "runs/search", 400, experiment_ids=["0"], filter="nothing = 'b'")[0] == (
        "INVALID_PARAMETER_VALUE"
    )


def test_what_is_missing_is_told_in_mlflows_words(door: Door) -> None:
    code, message = door.fault("GET", "runs/get", 400)
    assert code == "INVALID_PARAMETER_VALUE"
    assert message.startswith("Missing value for required parameter 'run_id'. See the API docs")
    assert door.fault("GET", "experiments/get", 400)[1].startswith(
        "Missing value for required parameter 'experiment_id'."
    )
    assert door.fault("GET", "runs/get", 404, run_id="aaa") == (
        "RESOURCE_DOES_NOT_EXIST",
        "Run with id=aaa not found",
    )


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'"x"'])
def test_bodies_that_are_no_objects(door: Door, body: bytes) -> None:
    answer = door.client.post("/api/2.0/mlflow/runs/create", content=body)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_both_prefixes_answer(door: Door) -> None:
    run_id = door.run()
    one, other = (
        door.client.get(f"{prefix}/2.0/mlflow/runs/get", params={"run_id": run_id})
        for prefix in ("/api", "/ajax-api")
    )
    assert one.json() == other.json()


def test_texts_of_every_kind_come_back_from_a_search(door: Door) -> None:
    texts = {
        "quotes": "'\"\\",
        "lines": "a\r\n\tb",
        "other": "模型 é 😀 \u2028",
        "control": "\x01\x1f",
        "empty": "",
    }
    name = 'a "name"\\ é'
    run_id = door("POST", "runs/create", experiment_id="0", run_name=name)["run"]["info"]["run_id"]
    pairs = [{"key": key, "value": value} for key, value in texts.items()]
    door("POST", "runs/log-batch", run_id=run_id, params=pairs, tags=pairs)
    one = door("GET", "runs/get", run_id=run_id)["run"]
    (found,) = door("POST", "runs/search", experiment_ids=["0"])["runs"]
    for kind in ("params", "tags"):
        assert sorted(found["data"][kind], key=str) == sorted(one["data"][kind], key=str)
    assert found["info"] == one["info"]
    read = {pair["key"]: pair["value"] for pair in found["data"]["tags"]}
    assert read == {**texts, "mlflow.runName": name}
