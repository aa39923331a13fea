"""From the address of a model to its files: registered, by number, stage and alias, or logged by a run."""

from pathlib import Path

import httpx
import pytest
from tests.serving import models

import headrace as hr
from headrace.errors import InvalidInput, NotFound
from headrace.sdk.connect import connect
from headrace.sdk.model_uris import fetch_model
from headrace.sdk.platform import Platform
from headrace.serving.loading import load
from headrace.serving.model_files import ModelFiles
from headrace.testing.platform import TemporaryPlatform


def never() -> Platform:
    raise AssertionError("no platform is needed")


def test_a_directory_stays_where_it_is(tmp_path: Path) -> None:
    directory = models.write_model(tmp_path / "churn", models.binary_model())
    found = fetch_model(str(directory), tmp_path / "unused", never)
    assert (found.directory, found.digests, found.name, found.number) == (directory, None, "churn", 1)


@pytest.mark.parametrize("address", ["", "models:/", "models:/churn", "runs:/abc", "s3://bucket/model", "churn"])
def test_what_is_no_address_says_what_is(address: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        fetch_model(address, tmp_path, never)
    assert "models:/NAME/NUMBER" in str(refused.value.fix)


def test_what_is_registered_is_found_by_number_stage_and_alias(running: TemporaryPlatform, tmp_path: Path) -> None:
    platform = connect(running.url)
    directory = models.write_model(tmp_path / "model", models.binary_model())
    with hr.run("serving", url=running.url) as run:
        for path in directory.iterdir():
            run.log_artifact(path, "model")
    run_id = run.id
    mlflow = f"{running.url}/api/2.0/mlflow"
    httpx.post(f"{mlflow}/registered-models/create", json={"name": "addressed"}).raise_for_status()
    source = {"name": "addressed", "source": f"runs:/{run_id}/model", "run_id": run_id}
    httpx.post(f"{mlflow}/model-versions/create", json=source).raise_for_status()
    alias = {"name": "addressed", "alias": "champion", "version": "1"}
    httpx.post(f"{mlflow}/registered-models/alias", json=alias).raise_for_status()
    for place, address in enumerate(
        ("models:/addressed/1", "models:/addressed/latest", "models:/addressed@champion", "addressed@1")
    ):
        found = fetch_model(address, tmp_path / str(place), lambda: platform)
        assert (found.name, found.number) == ("addressed", 1)
        assert load(ModelFiles(found.directory, found.digests)).signature.names == models.NAMES
    logged = fetch_model(f"runs:/{run_id}/model", tmp_path / "run", lambda: platform)
    assert load(ModelFiles(logged.directory, logged.digests)).signature.names == models.NAMES
    for address in ("models:/addressed/Production", "addressed@none", "models:/addressed/7", "runs:/none/model"):
        with pytest.raises(NotFound):
            fetch_model(address, tmp_path / "none", lambda: platform)
    platform.close()
