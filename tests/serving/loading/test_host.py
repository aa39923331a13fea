"""The model host: scores in another process, and says clearly when that process is gone."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from sklearn.neighbors import KNeighborsClassifier
from tests.processes import children
from tests.serving import models

from headrace.errors import InternalError, InvalidInput, ModelFault, PolicyRefused
from headrace.kernel.blobs import open_blob_store
from headrace.serving.loading.loader import open_loader
from headrace.serving.loading.model_files import ModelCache


def test_scores_like_the_model_itself_also_with_columns_in_another_order(tmp_path: Path) -> None:
    estimator = models.binary_model()
    rows = models.features(1_000)
    with models.host(models.write_model(tmp_path, estimator)) as host:
        assert host.names == models.NAMES
        expected = estimator.predict_proba(rows)[:, 1]
        np.testing.assert_array_equal(host.score(rows, models.NAMES), expected)
        np.testing.assert_array_equal(host.score(rows[:, ::-1], models.NAMES[::-1]), expected)
        assert host.score(rows[:0]).shape == (0,)


def test_a_model_does_not_see_the_platforms_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "HEADRACE_SYSTEM_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
        "UV_INDEX_OURS_PASSWORD",
        "SMTP_LOGIN",
    }
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    with models.host(models.write_model(tmp_path, models.binary_model())):
        environment = host_process().environ()
    assert "PATH" in environment
    assert not secrets & environment.keys()


def test_what_was_registered_is_verified_on_the_bytes_that_are_loaded(tmp_path: Path) -> None:
    blobs = open_blob_store(tmp_path / "home")
    directory = models.write_model(tmp_path / "model", models.binary_model())
    version = models.store_version(blobs, directory, 1)
    loader = open_loader(tmp_path, blobs)
    host = loader.host(version)
    models.write_model(ModelCache(tmp_path / "cache" / "models", blobs).obtain(version).directory, models.forest())
    with pytest.raises(InternalError, match="not the one that was registered"), host:
        pass


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    directory = models.write_model(tmp_path, models.binary_model())
    with models.host(directory) as host, pytest.raises(InvalidInput, match="spend"):
        host.score(models.features(2), ("purchases", "other"))


def test_a_model_that_raises_is_a_fault_and_the_host_goes_on(tmp_path: Path) -> None:
    with models.host(models.write_model(tmp_path, models.raising_model())) as host:
        with pytest.raises(ModelFault, match="raised ValueError"):
            host.score(np.array([[5.0, 5.0]]))
        assert host.score(np.array([[0.0, 1.0]])).shape == (1,)


def test_a_model_that_is_refused_says_why(tmp_path: Path) -> None:
    models.write_model(tmp_path, KNeighborsClassifier(algorithm="kd_tree").fit(models.features(), [0, 1] * 100))
    with pytest.raises(PolicyRefused, match="KDTree"), models.host(tmp_path):
        pass


def host_process() -> psutil.Process:
    (child,) = children("runtimes/start.py")
    return child


def test_a_host_that_dies_is_a_fault(tmp_path: Path) -> None:
    with models.host(models.write_model(tmp_path, models.binary_model())) as host:
        os.kill(host_process().pid, signal.SIGKILL)
        with pytest.raises(ModelFault, match="SIGKILL"):
            host.score(models.features(2))


def test_a_host_that_does_not_answer_in_time_is_ended(tmp_path: Path) -> None:
    with models.host(models.write_model(tmp_path, models.binary_model()), timeout_s=0.2) as host:
        process = host_process()
        process.suspend()
        with pytest.raises(ModelFault, match="in time"):
            host.score(models.features(2))
        with pytest.raises(ModelFault, match="not running"):
            host.score(models.features(2))
        assert not process.is_running()


def test_a_host_ends_with_the_context(tmp_path: Path) -> None:
    with models.host(models.write_model(tmp_path, models.binary_model())):
        process = host_process()
    give_up_s = time.monotonic() + 10
    while process.is_running() and time.monotonic() < give_up_s:
        time.sleep(0.01)
    assert not process.is_running()


def test_rows_are_timed_one_by_one_and_a_model_that_raises_is_a_fault(tmp_path: Path) -> None:
    with models.host(models.write_model(tmp_path / "good", models.binary_model())) as host:
        seconds = host.time_rows(models.features(7), models.NAMES)
        assert seconds.shape == (7,)
        assert (seconds > 0).all()
        assert host.score(models.features(2), models.NAMES).shape == (2,)
    with (
        models.host(models.write_model(tmp_path / "bad", models.raising_model())) as host,
        pytest.raises(ModelFault, match="raised ValueError"),
    ):
        host.time_rows(np.array([[5.0, 5.0]]))
