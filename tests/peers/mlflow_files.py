"""What a user of MLflow does with files, with nothing of ours in it: runs in an environment that has mlflow.

    python mlflow_files.py TRACKING_URI [ARTIFACT_LOCATION]

Prints one JSON object with where the files were said to be; every step that does not hold raises.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow  # type: ignore[import-not-found]
import mlflow.sklearn  # type: ignore[import-not-found]
import numpy as np
from sklearn.linear_model import LogisticRegression

LARGE_BYTES = 2_500_000
FILES = {"plain.txt": b"plain", "a/b c.txt": b"with a space", "a/дом.bin": b"\x00\xff", "empty": b""}


def files(client: Any, run_id: str, folder: Path) -> None:
    """Folders and a large file, up, listed and down again."""
    source = folder / "source"
    contents = {**FILES, "large.bin": os.urandom(LARGE_BYTES)}
    for name, content in contents.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    client.log_artifacts(run_id, str(source), "up")
    client.log_artifact(run_id, str(source / "large.bin"))
    listed = {file.path: (file.is_dir, file.file_size) for file in client.list_artifacts(run_id, "up")}
    assert listed["up/large.bin"] == (False, LARGE_BYTES), listed
    assert listed["up/a"][0], listed
    back = Path(client.download_artifacts(run_id, "up", str(folder)))
    found = {path.relative_to(back).as_posix(): path.read_bytes() for path in back.rglob("*") if path.is_file()}
    assert found == contents, sorted(found)
    whole = Path(client.download_artifacts(run_id, "large.bin", str(folder)))
    assert whole.read_bytes() == contents["large.bin"]


def models(name: str, run_id: str) -> list[str]:
    """A model that is logged, registered and loaded back in every way."""
    rows = np.array([[float(number)] for number in range(20)])
    labels = (rows[:, 0] > 9).astype(int)
    fitted = LogisticRegression().fit(rows, labels)
    mlflow.sklearn.log_model(fitted, "model", registered_model_name=name)
    mlflow.MlflowClient().set_registered_model_alias(name, "best", "1")
    loaded = [f"runs:/{run_id}/model", f"models:/{name}/1", f"models:/{name}@best"]
    for address in loaded:
        assert (mlflow.sklearn.load_model(address).predict(rows) == labels).all(), address
    return loaded


def main(tracking_uri: str, location: str | None = None) -> dict[str, Any]:
    """Everything, in a run of an experiment of its own, perhaps at a place of its own."""
    mlflow.set_tracking_uri(tracking_uri)
    name = f"files-{mlflow.__version__}{'-own' if location else ''}"
    client = mlflow.MlflowClient()
    experiment_id = client.create_experiment(name, artifact_location=location)
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run(experiment_id=experiment_id) as run:
        files(client, run.info.run_id, Path(folder))
        loaded = models(name, run.info.run_id)
    return {"run": run.info.run_id, "artifact_uri": run.info.artifact_uri, "loaded": loaded, "model": name}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])) + "\n")
