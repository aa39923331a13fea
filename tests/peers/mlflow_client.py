"""What a user of MLflow does, with nothing of ours in it: runs in an environment that has mlflow and scikit-learn.

    python mlflow_client.py TRACKING_URI

Prints one JSON object with what it saw; every step that does not hold raises.
"""

import json
import math
import sys
import tempfile
import warnings
from pathlib import Path

import mlflow  # type: ignore[import-not-found]
import mlflow.sklearn  # type: ignore[import-not-found]
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

EXPERIMENT = "peer"
MODEL = "iris"


def main(tracking_uri: str) -> dict[str, object]:
    """Log, register, load back, compare."""
    warnings.simplefilter("ignore")
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(EXPERIMENT)
    rows, labels = load_iris(return_X_y=True, as_frame=True)
    client = mlflow.MlflowClient()

    mlflow.sklearn.autolog()
    with mlflow.start_run() as first:
        fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(rows, labels)
    mlflow.sklearn.autolog(disable=True)
    automatic = client.get_run(first.info.run_id)
    assert automatic.info.status == "FINISHED"
    assert automatic.data.params["logisticregression__max_iter"] == "300"
    assert automatic.data.metrics["training_accuracy_score"] > 0.9
    assert automatic.inputs.dataset_inputs[0].tags[0].value == "train"

    with mlflow.start_run(run_name="by hand") as second:
        mlflow.log_params({"kind": "line", "depth": 3})
        for step in range(3):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"nan": math.nan, "infinity": math.inf})
        mlflow.set_tag("team", "growth")
        mlflow.log_text("hello", "notes/hello world.txt")
        mlflow.log_input(mlflow.data.from_pandas(rows, name="iris"), context="training")
        logged = mlflow.sklearn.log_model(fitted, name="clf", registered_model_name=MODEL)
    assert str(logged.registered_model_version) == "1"

    run = client.get_run(second.info.run_id)
    assert run.info.run_name == "by hand"
    assert math.isnan(run.data.metrics["nan"])
    assert math.isinf(run.data.metrics["infinity"])
    assert [point.value for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 0.5, 1 / 3]
    assert [file.path for file in client.list_artifacts(run.info.run_id, "notes")] == ["notes/hello world.txt"]
    with tempfile.TemporaryDirectory() as folder:
        path = mlflow.artifacts.download_artifacts(
            f"runs:/{run.info.run_id}/notes/hello world.txt", dst_path=folder
        )
        assert Path(path).read_text() == "hello"

    second_version = mlflow.register_model(f"runs:/{first.info.run_id}/model", MODEL)
    assert second_version.version == "2"
    client.set_registered_model_alias(MODEL, "champion", "1")
    client.transition_model_version_stage(MODEL, "2", "Staging")

    expected = fitted.predict(rows)
    addresses = [f"models:/{MODEL}/{which}" for which in ("1", "2", "latest", "Staging")]
    addresses += [f"models:/{MODEL}@champion", f"runs:/{first.info.run_id}/model", logged.model_uri]
    for address in addresses:
        assert (mlflow.pyfunc.load_model(address).predict(rows) == expected).all(), address
    assert (mlflow.sklearn.load_model(addresses[0]).predict(rows) == expected).all()

    found = mlflow.search_runs(
        experiment_names=[EXPERIMENT], filter_string="params.kind = 'line'", order_by=["metrics.loss ASC"]
    )
    assert list(found["run_id"]) == [run.info.run_id]
    return {
        "client": mlflow.__version__,
        "autologged_run": first.info.run_id,
        "run": run.info.run_id,
        "loaded": addresses,
        "predictions": [int(label) for label in expected],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])) + "\n")
