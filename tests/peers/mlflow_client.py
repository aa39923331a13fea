"""What a user of MLflow does, with nothing of ours in it: runs in an environment that has mlflow, old or new.

    python mlflow_client.py TRACKING_URI

Prints one JSON object with what it saw; every step that does not hold raises.
"""

import json
import math
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lightgbm
import mlflow  # type: ignore[import-not-found]
import mlflow.lightgbm  # type: ignore[import-not-found]
import mlflow.sklearn  # type: ignore[import-not-found]
import mlflow.xgboost  # type: ignore[import-not-found]
import numpy as np
import xgboost
from mlflow.entities import Metric, Param, RunTag, ViewType  # type: ignore[import-not-found]
from mlflow.exceptions import MlflowException  # type: ignore[import-not-found]
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

THREE = int(mlflow.__version__.split(".")[0]) >= 3
NAME = f"client {mlflow.__version__}"
MODEL = f"iris-{mlflow.__version__}"


def refused(code: str, call: Any, *args: Any, **options: Any) -> str:
    """The message that a call is refused with."""
    seen: MlflowException | None = None
    try:
        call(*args, **options)
    except MlflowException as error:
        seen = error
    assert seen is not None, f"{call} was not refused"
    assert seen.error_code == code, (seen.error_code, str(seen))
    return str(seen)


def autologging(client: Any, rows: Any, labels: Any) -> Any:
    """scikit-learn, XGBoost and LightGBM log by themselves."""
    mlflow.sklearn.autolog()
    with mlflow.start_run() as run:
        fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(rows, labels)
    mlflow.sklearn.autolog(disable=True)
    automatic = client.get_run(run.info.run_id)
    assert automatic.info.status == "FINISHED"
    assert automatic.data.params["logisticregression__max_iter"] == "300"
    assert automatic.data.metrics["training_accuracy_score"] > 0.9
    assert automatic.inputs.dataset_inputs[0].tags[0].value == "train"

    mlflow.xgboost.autolog()
    with mlflow.start_run() as boosted:
        matrix = xgboost.DMatrix(rows.to_numpy(), labels.to_numpy())
        booster = xgboost.train(
            {"objective": "multi:softprob", "num_class": 3, "eval_metric": "mlogloss"},
            matrix,
            num_boost_round=12,
            evals=[(matrix, "train")],
            verbose_eval=False,
        )
    mlflow.xgboost.autolog(disable=True)
    history = client.get_metric_history(boosted.info.run_id, "train-mlogloss")
    assert [point.step for point in history] == list(range(12))
    assert history[-1].value < history[0].value
    address = f"runs:/{boosted.info.run_id}/model"
    assert np.allclose(mlflow.xgboost.load_model(address).predict(matrix), booster.predict(matrix))

    mlflow.lightgbm.autolog()
    with mlflow.start_run() as light:
        data = lightgbm.Dataset(rows.to_numpy(), labels.to_numpy())
        lightgbm.train(
            {"objective": "multiclass", "num_class": 3, "verbosity": -1}, data, num_boost_round=5, valid_sets=[data]
        )
    mlflow.lightgbm.autolog(disable=True)
    assert client.get_run(light.info.run_id).data.params["objective"] == "multiclass"
    assert client.get_metric_history(light.info.run_id, "training-multi_logloss")[-1].step == 4
    return run, fitted


def logging_by_hand(client: Any, rows: Any, fitted: Any) -> tuple[Any, Any]:
    """Params, metrics, tags, inputs, texts and a model."""
    with mlflow.start_run(run_name="by hand", description="what it is for") as run:
        mlflow.log_params({"kind": "line", "depth": 3})
        for step in range(3):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"nan": math.nan, "infinity": math.inf})
        mlflow.set_tags({"team": "growth", "größe": "ä"})
        mlflow.log_text("hello", "notes/hello world.txt")
        mlflow.log_dict({"a": [1, 2]}, "notes/deep/er.json")
        mlflow.log_input(mlflow.data.from_pandas(rows, name="iris"), context="training")
        if THREE:
            logged = mlflow.sklearn.log_model(fitted, name="clf", registered_model_name=MODEL)
            assert str(logged.registered_model_version) == "1"
        else:
            logged = mlflow.sklearn.log_model(fitted, "clf", registered_model_name=MODEL)
        with mlflow.start_run(nested=True, run_name="child") as child:
            mlflow.log_metric("loss", 0.1)
    assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == run.info.run_id
    found = client.get_run(run.info.run_id)
    assert found.info.run_name == "by hand"
    assert found.data.tags["mlflow.note.content"] == "what it is for"
    assert found.data.tags["größe"] == "ä"
    assert math.isnan(found.data.metrics["nan"])
    assert found.data.metrics["infinity"] > 1e308
    assert found.inputs.dataset_inputs[0].dataset.name == "iris"
    assert [point.value for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 0.5, 1 / 3]
    if not THREE:
        assert "mlflow.log-model.history" in found.data.tags
    return found, logged


def artifacts(client: Any, run_id: str) -> None:
    """Up and down, files and folders."""
    listed = {file.path: (file.is_dir, file.file_size) for file in client.list_artifacts(run_id, "notes")}
    assert listed == {"notes/deep": (True, None), "notes/hello world.txt": (False, 5)}, listed
    with tempfile.TemporaryDirectory() as folder:
        path = Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/notes", dst_path=folder))
        assert (path / "hello world.txt").read_text() == "hello"
        assert json.loads((path / "deep" / "er.json").read_text()) == {"a": [1, 2]}
        source = Path(folder) / "tree"
        (source / "leaf").mkdir(parents=True)
        content = bytes(range(256)) * 20_000
        (source / "leaf" / "large.bin").write_bytes(content)
        (source / "empty.txt").write_bytes(b"")
        client.log_artifacts(run_id, str(source), "up")
        back = Path(client.download_artifacts(run_id, "up", folder))
        assert (back / "leaf" / "large.bin").read_bytes() == content
        assert (back / "empty.txt").read_bytes() == b""


def batches(client: Any, experiment_id: str) -> None:
    """Batches, limits, and what may not change."""
    run = client.create_run(experiment_id, tags={"from": "client"}, run_name="batches")
    run_id = run.info.run_id
    now = int(time.time() * 1000)
    metrics = [Metric(f"m{number % 7}", float(number), now, number) for number in range(1000)]
    client.log_batch(run_id, metrics=metrics)
    client.log_batch(run_id, metrics=metrics)  # as after a lost answer
    assert len(client.get_metric_history(run_id, "m3")) == len(range(3, 1000, 7))
    client.log_batch(
        run_id,
        params=[Param(f"p{number}", "x" * 400) for number in range(100)],
        tags=[RunTag(f"t{number}", "y") for number in range(100)],
    )
    assert len(client.get_run(run_id).data.params) == 100
    client.log_param(run_id, "p1", "x" * 400)
    refused("INVALID_PARAMETER_VALUE", client.log_param, run_id, "p1", "other")
    client.delete_tag(run_id, "t3")
    refused("RESOURCE_DOES_NOT_EXIST", client.delete_tag, run_id, "t3")
    refused("RESOURCE_DOES_NOT_EXIST", client.get_run, "0" * 32)
    client.set_terminated(run_id, "FAILED")
    client.update_run(run_id, name="renamed")
    assert client.get_run(run_id).info.run_name == "renamed"
    assert client.get_run(run_id).info.status == "FAILED"
    client.delete_run(run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    refused("INVALID_PARAMETER_VALUE", client.log_metric, run_id, "m", 1.0)
    deleted = client.search_runs([experiment_id], run_view_type=ViewType.DELETED_ONLY)
    assert [each.info.run_id for each in deleted] == [run_id]
    client.restore_run(run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "active"


def experiments(client: Any) -> None:
    """Made, renamed, deleted, brought back."""
    name = f"{NAME} passing"
    experiment_id = client.create_experiment(name, tags={"a": "b"})
    refused("RESOURCE_ALREADY_EXISTS", client.create_experiment, name)
    client.set_experiment_tag(experiment_id, "c", "d")
    client.rename_experiment(experiment_id, f"{name}, renamed")
    found = client.get_experiment_by_name(f"{name}, renamed")
    assert (found.experiment_id, found.tags) == (experiment_id, {"a": "b", "c": "d"})
    assert client.get_experiment_by_name("there is none") is None
    run = client.create_run(experiment_id)
    client.delete_experiment(experiment_id)
    assert client.get_experiment(experiment_id).lifecycle_stage == "deleted"
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "deleted"
    refused("INVALID_PARAMETER_VALUE", client.create_run, experiment_id)
    client.restore_experiment(experiment_id)
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "active"
    like = client.search_experiments(filter_string=f"name LIKE '{name}%' AND tags.c = 'd'", order_by=["name DESC"])
    assert [each.experiment_id for each in like] == [experiment_id]


def searching(client: Any, experiment_id: str, by_hand: str) -> None:
    """To a frame, by MLflow's grammar and by what ours adds to it."""
    frame = mlflow.search_runs(
        experiment_names=[NAME], filter_string="params.kind = 'line'", order_by=["metrics.loss ASC"]
    )
    assert list(frame["run_id"]) == [by_hand]
    assert frame["metrics.loss"].iloc[0] == 1 / 3

    def names(text: str, **options: Any) -> list[str]:
        return sorted(run.info.run_name for run in client.search_runs([experiment_id], text, **options))

    assert names("metrics.loss < 0.5 and attributes.run_name LIKE '%d%'") == ["by hand", "child"]
    assert names("tags.mlflow.parentRunId = 'x' OR min(metrics.loss) <= 0.1") == ["child"]
    assert names("NOT (metrics.loss < 5) AND run_name = 'renamed'") == ["renamed"]
    assert names("dataset.name = 'iris' and dataset.context = 'training'") == ["by hand"]
    assert "Invalid" in refused("INVALID_PARAMETER_VALUE", names, "metrics.loss ~ 3")
    pages, token = [], None
    while True:
        page = client.search_runs([experiment_id], max_results=2, page_token=token, order_by=["metrics.loss DESC"])
        pages += [run.info.run_id for run in page]
        token = page.token
        if not token:
            break
    whole = client.search_runs([experiment_id], order_by=["metrics.loss DESC"])
    assert pages == [run.info.run_id for run in whole]


def registry(client: Any, first: Any, fitted: Any, rows: Any, logged: Any) -> list[str]:
    """Versions, stages, aliases, and loading back by each of them."""
    second = mlflow.register_model(f"runs:/{first.info.run_id}/model", MODEL)
    assert str(second.version) == "2"
    client.set_registered_model_alias(MODEL, "champion", "1")
    client.transition_model_version_stage(MODEL, "2", "Staging")
    client.update_registered_model(MODEL, "tells irises apart")
    client.update_model_version(MODEL, "1", "the first")
    client.set_registered_model_tag(MODEL, "team", "growth")
    client.set_model_version_tag(MODEL, "1", "checked", "yes")
    found = client.get_registered_model(MODEL)
    assert (found.description, found.tags["team"]) == ("tells irises apart", "growth")
    assert {key: str(value) for key, value in found.aliases.items()} == {"champion": "1"}
    assert client.get_model_version(MODEL, "1").description == "the first"
    assert [str(each.version) for each in client.get_latest_versions(MODEL, ["Staging"])] == ["2"]
    assert [each.name for each in client.search_registered_models(f"name ILIKE '{MODEL.upper()}'")] == [MODEL]
    assert {str(each.version) for each in client.search_model_versions(f"name = '{MODEL}'")} == {"1", "2"}
    expected = fitted.predict(rows)
    addresses = [f"models:/{MODEL}/{which}" for which in ("1", "2", "latest", "Staging")]
    addresses += [f"models:/{MODEL}@champion", f"runs:/{first.info.run_id}/model", logged.model_uri]
    for address in addresses:
        assert (mlflow.pyfunc.load_model(address).predict(rows) == expected).all(), address
    assert (mlflow.sklearn.load_model(addresses[0]).predict(rows) == expected).all()

    copy = client.copy_model_version(f"models:/{MODEL}/1", f"{MODEL}-copy")
    assert str(copy.version) == "1"
    assert (mlflow.pyfunc.load_model(f"models:/{MODEL}-copy/1").predict(rows) == expected).all()
    client.delete_model_version_tag(MODEL, "1", "checked")
    client.delete_registered_model_tag(MODEL, "team")
    assert client.get_registered_model(MODEL).tags == {}
    client.rename_registered_model(f"{MODEL}-copy", f"{MODEL}-passing")
    client.delete_model_version(f"{MODEL}-passing", "1")
    refused("RESOURCE_DOES_NOT_EXIST", client.get_model_version, f"{MODEL}-passing", "1")
    client.delete_registered_model(f"{MODEL}-passing")
    refused("RESOURCE_DOES_NOT_EXIST", client.get_registered_model, f"{MODEL}-passing")
    return addresses


def in_the_background(client: Any, experiment_id: str) -> None:
    """System metrics, and logging that does not wait."""
    mlflow.set_system_metrics_sampling_interval(0.3)
    mlflow.set_system_metrics_samples_before_logging(1)
    with mlflow.start_run(log_system_metrics=True, experiment_id=experiment_id, run_name="watched") as run:
        for step in range(20):
            mlflow.log_metric("busy", step, step=step, **({"synchronous": False} if THREE else {}))
        time.sleep(1.2)
    if THREE:
        mlflow.flush_async_logging()
    metrics = client.get_run(run.info.run_id).data.metrics
    assert any(key.startswith("system/cpu") for key in metrics), metrics
    assert metrics["busy"] == 19
    assert len(client.get_metric_history(run.info.run_id, "busy")) == 20


def main(tracking_uri: str) -> dict[str, object]:
    """Do it all."""
    warnings.simplefilter("ignore")
    mlflow.set_tracking_uri(tracking_uri)
    experiment_id = mlflow.set_experiment(NAME).experiment_id
    rows, labels = load_iris(return_X_y=True, as_frame=True)
    client = mlflow.MlflowClient()
    first, fitted = autologging(client, rows, labels)
    by_hand, logged = logging_by_hand(client, rows, fitted)
    artifacts(client, by_hand.info.run_id)
    batches(client, experiment_id)
    experiments(client)
    searching(client, experiment_id, by_hand.info.run_id)
    addresses = registry(client, first, fitted, rows, logged)
    in_the_background(client, experiment_id)
    return {
        "client": mlflow.__version__,
        "model": MODEL,
        "autologged_run": first.info.run_id,
        "run": by_hand.info.run_id,
        "loaded": addresses,
        "predictions": [int(label) for label in fitted.predict(rows)],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])) + "\n")
