"""Each call that changes something, sent twice, as clients do when an answer was lost: nothing is there twice."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.kernel.database import Database
from headrace.protocols.mlflow import routes

pytestmark = pytest.mark.both_databases

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from
Given = dict[str, str]
Body = Callable[[Given], dict[str, Any]]

PAIR = {"key": "k", "value": "v"}
POINT = {"key": "m", "value": 1.5, "timestamp": 7, "step": 3}
DATASET = {"name": "d", "digest": "1", "source_type": "s", "source": "x"}
MLMODEL = '{"artifact_path": "m", "flavors": {}, "utc_time_created": "x", "run_id": "%s"}'
PROXY = "mlflow-artifacts/artifacts/{path}"


def nothing(_given: Given) -> dict[str, Any]:
    return {}


def of_run(**fields: Any) -> Body:
    return lambda given: {"run_id": given["run"], **fields}


def of_experiment(**fields: Any) -> Body:
    return lambda given: {"experiment_id": given["experiment"], **fields}


def always(**fields: Any) -> Body:
    return lambda _given: dict(fields)


# endpoint: its body, and the status and code of the second answer; the first one is 200
REPEATED: dict[str, tuple[Body, int, str]] = {
    "POST mlflow/experiments/create": (always(name="new", tags=[PAIR]), 400, "RESOURCE_ALREADY_EXISTS"),
    "POST mlflow/experiments/set-experiment-tag": (of_experiment(key="a", value="b"), 200, ""),
    "POST mlflow/experiments/delete-experiment-tag": (of_experiment(key="k"), 404, "RESOURCE_DOES_NOT_EXIST"),
    "POST mlflow/experiments/update": (of_experiment(new_name="renamed"), 200, ""),
    "POST mlflow/experiments/delete": (of_experiment(), 404, "RESOURCE_DOES_NOT_EXIST"),
    "POST mlflow/experiments/restore": (
        lambda given: {"experiment_id": given["deleted experiment"]},
        400,
        "INVALID_PARAMETER_VALUE",
    ),
    "POST mlflow/runs/update": (of_run(status="FINISHED", end_time=9, run_name="renamed"), 200, ""),
    "POST mlflow/runs/log-metric": (of_run(**POINT), 200, ""),
    "POST mlflow/runs/log-parameter": (of_run(key="a", value="b"), 200, ""),
    "POST mlflow/runs/set-tag": (of_run(key="a", value="b"), 200, ""),
    "POST mlflow/runs/delete-tag": (of_run(key="k"), 404, "RESOURCE_DOES_NOT_EXIST"),
    "POST mlflow/runs/log-batch": (of_run(metrics=[POINT, POINT], params=[PAIR], tags=[PAIR]), 200, ""),
    "POST mlflow/runs/log-inputs": (of_run(datasets=[{"dataset": DATASET, "tags": [PAIR]}]), 200, ""),
    "POST mlflow/runs/outputs": (lambda given: of_run(models=[{"model_id": given["model"]}])(given), 200, ""),
    "POST mlflow/runs/log-model": (lambda given: of_run(model_json=MLMODEL % given["run"])(given), 200, ""),
    "POST mlflow/runs/delete": (of_run(), 200, ""),
    "POST mlflow/runs/restore": (lambda given: {"run_id": given["deleted run"]}, 200, ""),
    "PATCH mlflow/logged-models/{model_id}": (always(status="LOGGED_MODEL_READY"), 200, ""),
    "DELETE mlflow/logged-models/{model_id}": (nothing, 200, ""),
    "PATCH mlflow/logged-models/{model_id}/tags": (always(tags=[PAIR]), 200, ""),
    "DELETE mlflow/logged-models/{model_id}/tags/{tag_key}": (nothing, 404, "RESOURCE_DOES_NOT_EXIST"),
    "POST mlflow/logged-models/{model_id}/params": (always(params=[PAIR]), 200, ""),
    "POST mlflow/registered-models/create": (always(name="new", tags=[PAIR]), 400, "RESOURCE_ALREADY_EXISTS"),
    "POST mlflow/registered-models/rename": (
        always(name="iris", new_name="renamed"),
        404,
        "RESOURCE_DOES_NOT_EXIST",
    ),
    "PATCH mlflow/registered-models/update": (always(name="iris", description="about"), 200, ""),
    "DELETE mlflow/registered-models/delete": (always(name="iris"), 404, "RESOURCE_DOES_NOT_EXIST"),
    "POST mlflow/registered-models/set-tag": (always(name="iris", key="a", value="b"), 200, ""),
    "DELETE mlflow/registered-models/delete-tag": (always(name="iris", key="k"), 200, ""),
    "POST mlflow/registered-models/alias": (always(name="iris", alias="best", version="1"), 200, ""),
    "DELETE mlflow/registered-models/alias": (always(name="iris", alias="first"), 200, ""),
    "POST mlflow/model-versions/create": (
        lambda given: {"name": "iris", "source": f"runs:/{given['run']}/other", "run_id": given["run"]},
        200,
        "",
    ),
    "PATCH mlflow/model-versions/update": (always(name="iris", version="1", description="about"), 200, ""),
    "DELETE mlflow/model-versions/delete": (always(name="iris", version="1"), 404, "RESOURCE_DOES_NOT_EXIST"),
    "POST mlflow/model-versions/set-tag": (always(name="iris", version="1", key="a", value="b"), 200, ""),
    "DELETE mlflow/model-versions/delete-tag": (always(name="iris", version="1", key="k"), 200, ""),
    "POST mlflow/model-versions/transition-stage": (
        always(name="iris", version="1", stage="Production", archive_existing_versions=True),
        200,
        "",
    ),
    f"PUT {PROXY}": (nothing, 200, ""),
    f"DELETE {PROXY}": (nothing, 200, ""),
    "POST mlflow/upload-artifact": (nothing, 200, ""),
}
DOUBLED = {
    "POST mlflow/runs/create": "the protocol has no id that a client makes up: it is another run, as in MLflow",
    "POST mlflow/logged-models": "likewise",
}


ELSEWHERE = {
    "POST mlflow-artifacts/mpu/create",
    "POST mlflow-artifacts/mpu/create/{folder}",
    "PUT mlflow-artifacts/mpu/part/{number}",
    "POST mlflow-artifacts/mpu/complete/{folder}",
    "POST mlflow-artifacts/mpu/abort/{folder}",
    "POST mlflow/artifacts/presigned-upload-url",
    "POST mlflow/artifacts/presigned-download-url",
}
"""The steps of an upload in parts, which test_transfers repeats, and addresses, which change nothing."""


def writing() -> set[str]:
    """Every call of the protocol that changes something, as the table has them."""
    found = {
        f"{endpoint.method} {endpoint.path}".replace(":str}", "}")
        for endpoint in routes.ENDPOINTS
        if endpoint.writes
    }
    for handler in routes.HANDLERS:
        for path in handler.paths:
            name = path.replace(":str}", "}").replace(":path}", "}").replace(":int}", "}")
            for prefix in ("/api/2.0/", "/ajax-api/2.0/"):
                if name.startswith(prefix):
                    found |= {f"{method} {name.removeprefix(prefix)}" for method in handler.http_methods}
    return {call for call in found if not call.startswith(("GET", "HEAD"))}


def test_every_call_that_changes_something_is_here() -> None:
    assert writing() == REPEATED.keys() | DOUBLED.keys() | ELSEWHERE


@pytest.fixture
def given(door: Door) -> Given:
    """One of each: an experiment, a run, a logged model and a version, and deleted ones."""
    experiment = door("POST", "experiments/create", name="first", tags=[PAIR])["experiment_id"]
    run = door("POST", "runs/create", experiment_id="0", tags=[PAIR])["run"]["info"]["run_id"]
    for path in ("model/MLmodel", "other/MLmodel"):
        assert door.put(f"0/{run}/artifacts/{path}", b"flavors: {}") == 200
    other_run = door.run()
    assert door.put(f"0/{other_run}/artifacts/gone/a", b"other text") == 200
    model = door("POST", "logged-models", experiment_id="0", name="clf")["model"]["info"]["model_id"]
    door("PATCH", f"logged-models/{model}/tags", tags=[{"key": "k2", "value": "v"}])
    door("POST", "registered-models/create", name="iris", tags=[PAIR])
    made = {"name": "iris", "source": f"runs:/{run}/model", "run_id": run, "tags": [PAIR]}
    door("POST", "model-versions/create", **made)
    door("POST", "registered-models/alias", name="iris", alias="first", version="1")
    deleted = door("POST", "experiments/create", name="deleted")["experiment_id"]
    door("POST", "experiments/delete", experiment_id=deleted)
    deleted_run = door.run()
    door("POST", "runs/delete", run_id=deleted_run)
    return {
        "experiment": experiment,
        "run": run,
        "other run": other_run,
        "model": model,
        "deleted experiment": deleted,
        "deleted run": deleted_run,
    }


def everything(database: Database, tables: sa.MetaData) -> dict[str, list[Any]]:
    """All that is stored."""
    return database.read(
        lambda tx: {
            table.name: sorted(map(str, tx.execute(sa.select(table)).all())) for table in tables.sorted_tables
        }
    )


@pytest.mark.parametrize("call", REPEATED)
def test_the_second_time_changes_nothing(
    door: Door, database: Database, every_table: sa.MetaData, given: Given, call: str
) -> None:
    body, status, code = REPEATED[call]
    fields = body(given)
    method, endpoint = call.split()
    path = endpoint.format(model_id=given["model"], tag_key="k2", path=f"0/{given['other run']}/artifacts/gone/a")
    if endpoint == "mlflow/upload-artifact":
        address = f"/ajax-api/2.0/{path}?run_uuid={given['run']}&path=up/a"
    else:
        address = f"/api/2.0/{path}"

    def send() -> tuple[int, dict[str, Any]]:
        content = {"content": b"text"} if "artifact" in endpoint else {"json": fields}
        answer = door.client.request(method, address, **content)
        return answer.status_code, answer.json()

    before = everything(database, every_table)
    first = send()
    assert first[0] == 200, first
    after = everything(database, every_table)
    assert after != before  # it was a call that changes something
    second = send()
    assert (second[0], second[1].get("error_code", "")) == (status, code), second
    if status == 200:
        assert second[1] == first[1]
    assert everything(database, every_table) == after
