"""A version that an MLflow client registers carries what its run knows; a copy carries what the version does."""

from typing import Any

import msgspec
import pytest

from headrace.kernel import jobs, lineage_walks, pins
from headrace.kernel.database import Database
from headrace.registry import versions
from headrace.registry.jobs import READ_FILES, ReadFiles
from headrace.registry.nouns import Estimate, Version

pytestmark = pytest.mark.both_databases

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from

COMMIT = "3ac41f" + "0" * 34
FILES = {"MLmodel": b"flavors: {}", "requirements.txt": b"numpy==2.1.0", "model.pkl": b"weights"}


@pytest.fixture
def run_id(door: Door) -> str:
    """A run that read data, ran a commit and logged a model as MLflow's clients do."""
    run = door.run(tags=[{"key": "mlflow.source.git.commit", "value": COMMIT}])
    dataset = {"name": "purchases", "digest": "1f", "source_type": "local", "source": "{}"}
    read = {"dataset": dataset, "tags": [{"key": "mlflow.data.context", "value": "training"}]}
    door("POST", "runs/log-inputs", run_id=run, datasets=[read])
    metrics = [{"key": key, "value": 0.8, "timestamp": 1, "step": 0} for key in ("auc", "system/cpu")]
    door("POST", "runs/log-batch", run_id=run, metrics=metrics, params=[{"key": "depth", "value": "3"}])
    return str(run)


def registered(door: Door, database: Database, name: str, **fields: Any) -> Version:
    door("POST", "registered-models/create", name=name)
    door("POST", "model-versions/create", name=name, **fields)
    return database.read(lambda tx: versions.get(tx, name, 1))


def test_from_a_logged_model(door: Door, database: Database, run_id: str) -> None:
    model_id = door.model(run_id, FILES)
    found = registered(door, database, "iris", source=f"models:/{model_id}", model_id=model_id)
    assert (found.params, found.metrics) == ({"depth": "3"}, {"auc": Estimate(value=0.8)})
    assert (found.code_commit, found.owner) == (COMMIT, "ana")
    (use,) = found.data
    assert (use.subject, use.digest, use.context) == ("dataset/purchases@1f", "1f", "training")
    above = database.read(lambda tx: lineage_walks.above(tx, "version/iris/1"))
    expected = {f"logged-model/{model_id}", f"run/{run_id}", "dataset/purchases@1f", f"commit/{COMMIT}"}
    assert above == {"version/iris/1", *expected}
    (job,) = [each for each in database.read(jobs.recent) if each.kind == READ_FILES.name]
    asked = msgspec.json.decode(job.payload, type=ReadFiles)
    assert set(asked.environment) == {"requirements.txt"}
    assert [pin.holder for pin in database.read(lambda tx: pins.pins_on(tx, f"logged-model/{model_id}"))] == [
        "version/iris/1"
    ]


def test_from_a_runs_folder(door: Door, database: Database, run_id: str) -> None:
    for path, content in FILES.items():
        assert door.put(f"0/{run_id}/artifacts/model/{path}", content) == 200
    found = registered(door, database, "iris", source=f"runs:/{run_id}/model", run_id=run_id)
    assert (found.code_commit, found.params) == (COMMIT, {"depth": "3"})
    assert database.read(lambda tx: lineage_walks.above(tx, "version/iris/1")) >= {f"run/{run_id}"}


def test_a_copy(door: Door, database: Database, run_id: str) -> None:
    model_id = door.model(run_id, FILES)
    found = registered(door, database, "iris", source=f"models:/{model_id}", model_id=model_id)
    copy = registered(door, database, "copy", source="models:/iris/1")
    for field in ("digest", "params", "metrics", "data", "code_commit", "run_id", "signature"):
        assert getattr(copy, field) == getattr(found, field), field
    above = database.read(lambda tx: lineage_walks.above(tx, "version/copy/1"))
    assert {"version/iris/1", f"logged-model/{model_id}", "dataset/purchases@1f"} <= above
    door("POST", "registered-models/rename", name="iris", new_name="flowers")
    assert "version/flowers/1" in database.read(lambda tx: lineage_walks.above(tx, "version/copy/1"))
