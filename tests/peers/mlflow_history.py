"""Run by a real MLflow of 2.9 or 3: makes a history of everything that is imported, and tells what it reads of it.

    mlflow_history.py seed URI PREFIX      makes the history, then reads it
    mlflow_history.py read URI PREFIX,…    reads it

What was read goes to standard output as JSON, by PREFIX, which is that of the names of experiments and models.
"""

import hashlib
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import mlflow  # type: ignore[import-not-found]
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType  # type: ignore[import-not-found]
from mlflow.tracking import MlflowClient  # type: ignore[import-not-found]

THREE = mlflow.__version__.startswith("3")
ODD = [1.0, float("nan"), float("inf"), float("-inf"), 1e-310, -0.5]


class Echo(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input


def seed(client: MlflowClient, prefix: str) -> None:
    experiment = client.create_experiment(
        f"{prefix}/churn", tags={"team": "growth", "mlflow.note.content": "# Büro"}
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "plots").mkdir()
        Path(folder, "plots", "roc curve.txt").write_text("hello")
        Path(folder, "empty").touch()
        with mlflow.start_run(experiment_id=experiment, run_name="first one", tags={"a b/c": "ü\nline"}) as run:
            run_id = run.info.run_id
            mlflow.log_params({"depth": 3, "nested/key": "x" * 400, "blank": ""})
            points = [Metric("val/loss", value, 1_700_000_000_000 + step, step) for step, value in enumerate(ODD)]
            points += [Metric("many", float(step % 7), 1_700_000_000_000 + step, step) for step in range(300)]
            points += [Metric("many", 2.5, 1_600_000_000_000, -4)]
            client.log_batch(run_id, metrics=points, params=[Param("späte", "π")], tags=[RunTag("late", "yes")])
            datasets = [("train", "abc", "training"), ("test", "def", "evaluation")]
            client.log_inputs(
                run_id,
                [
                    DatasetInput(
                        Dataset(
                            name, digest, "local", json.dumps({"uri": f"{name}.csv"}), schema="{}", profile=None
                        ),
                        [InputTag("mlflow.data.context", context)],
                    )
                    for name, digest, context in datasets
                ],
            )
            mlflow.log_artifacts(folder, "files")
            if THREE:
                info = mlflow.pyfunc.log_model(name="model", python_model=Echo(), pip_requirements=[])
                client.log_metric(run_id, "acc", 0.5, model_id=info.model_id, timestamp=1_700_000_000_000, step=0)
            else:
                info = mlflow.pyfunc.log_model("model", python_model=Echo(), pip_requirements=[])
    register(client, prefix, info.model_uri)
    failed = client.create_run(experiment, start_time=1_500_000_000_000, run_name="failed")
    client.set_terminated(failed.info.run_id, "FAILED", end_time=1_500_000_009_000)
    client.set_tag(client.create_run(experiment).info.run_id, "mlflow.parentRunId", run_id)
    client.delete_run(client.create_run(experiment, run_name="deleted").info.run_id)
    old = client.create_experiment(f"{prefix}/old")
    client.log_metric(client.create_run(old, run_name="went too").info.run_id, "m", 1.0)
    client.delete_experiment(old)


def register(client: MlflowClient, prefix: str, uri: str) -> None:
    name = f"{prefix} model"
    for _ in range(3):
        mlflow.register_model(uri, name, tags={"by": "ana"})
    client.delete_model_version(name, "2")
    client.set_registered_model_tag(name, "tier", "gold")
    client.update_registered_model(name, description="Who leaves")
    client.update_model_version(name, "1", description="The first")
    client.transition_model_version_stage(name, "1", "Production")
    client.transition_model_version_stage(name, "3", "Staging")
    client.set_registered_model_alias(name, "champion", "3")


def read(client: MlflowClient, prefix: str) -> dict[str, Any]:
    """Everything, by name or id, without what has to differ: addresses, and who registered when it is not told."""
    found: dict[str, Any] = {"experiments": {}, "runs": {}, "logged models": {}, "models": {}}
    for experiment in client.search_experiments(view_type=ViewType.ALL):
        if not experiment.name.startswith(f"{prefix}/"):
            continue
        tags = {key: value for key, value in experiment.tags.items() if not key.startswith("headrace.")}
        found["experiments"][experiment.name] = [
            tags, experiment.lifecycle_stage, experiment.creation_time, experiment.last_update_time,
        ]  # fmt: skip
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL):
            found["runs"][run.info.run_id] = read_run(client, experiment.name, run)
        if THREE:
            for model in client.search_logged_models(experiment_ids=[experiment.experiment_id]):
                found["logged models"][model.model_id] = read_logged_model(client, model)
    for model in client.search_registered_models():
        if model.name.startswith(f"{prefix} "):
            found["models"][model.name] = read_registered(client, model)
    return found


def read_run(client: MlflowClient, experiment: str, run: Any) -> dict[str, Any]:
    info = run.info
    return {
        "experiment": experiment,
        "info": [info.run_name, info.user_id, info.status, info.start_time, info.end_time, info.lifecycle_stage],
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": {
            key: sorted({(m.step, m.timestamp, repr(m.value)) for m in client.get_metric_history(info.run_id, key)})
            for key in run.data.metrics
        },
        "inputs": sorted(
            [
                *(str(value or "") for _, value in sorted(dict(each.dataset).items())),
                {tag.key: tag.value for tag in each.tags},
            ]
            for each in run.inputs.dataset_inputs
        ),
        "outputs": [each.model_id for each in run.outputs.model_outputs] if THREE and run.outputs else [],
        "files": contents(lambda: mlflow.artifacts.download_artifacts(run_id=info.run_id))
        if info.lifecycle_stage == "active" and client.list_artifacts(info.run_id)
        else [],
    }


def read_logged_model(client: MlflowClient, model: Any) -> dict[str, Any]:
    return {
        "info": [model.name, model.model_type or "", model.source_run_id, str(model.status)],
        "times": [model.creation_timestamp, model.last_updated_timestamp],
        "params": model.params,
        "tags": model.tags,
        "metrics": sorted([m.key, m.step, m.timestamp, repr(m.value), m.run_id] for m in model.metrics or ()),
        "files": contents(lambda: mlflow.artifacts.download_artifacts(f"models:/{model.model_id}")),
    }


def read_registered(client: MlflowClient, model: Any) -> dict[str, Any]:
    versions = {}
    for version in client.search_model_versions(f"name='{model.name}'"):
        uri = f"models:/{model.name}/{version.version}"
        versions[str(version.version)] = {
            "info": [version.current_stage, version.description or "", version.run_id, version.tags],
            "times": [version.creation_timestamp, version.last_updated_timestamp],
            "files": contents(lambda uri=uri: mlflow.artifacts.download_artifacts(uri)),
        }
    return {
        "info": [model.description, model.tags, {key: str(value) for key, value in model.aliases.items()}],
        "times": [model.creation_timestamp, model.last_updated_timestamp],
        "versions": versions,
    }


def contents(download: Any) -> list[list[str]]:
    """The digests of downloaded files by path."""
    folder = Path(download())
    return [
        [path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()]
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "registered_model_meta"  # a client writes it beside what it loads
    ]


def main() -> None:
    what, uri, prefixes = sys.argv[1:]
    warnings.simplefilter("ignore")
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    if what == "seed":
        seed(client, prefixes)
    sys.stdout.write(json.dumps({prefix: read(client, prefix) for prefix in prefixes.split(",")}))


main()
