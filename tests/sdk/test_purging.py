"""`headrace gc` against a real platform: what is deleted goes with its bytes, what a version needs stays."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import InvalidInput, NotFound, Pinned, StartError
from headrace.sdk.platform import Platform
from headrace.testing.platform import TemporaryPlatform, temporary_platform
from headrace.tracking.nouns import Run

NOW = timedelta(0)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TemporaryPlatform]:
    """A platform of its own: here, everything is thrown away."""
    monkeypatch.chdir(tmp_path)
    with temporary_platform(tmp_path / "home") as platform:
        yield platform


def logged(own: TemporaryPlatform, text: str) -> str:
    with hr.run("churn", url=own.url, capture=False, system_metrics_every_s=None, quiet=True) as run:
        run.log_metrics({"loss": 0.5})
        run.log_text(f"note: {text}", "model/MLmodel")
    return run.id


def delete(platform: Platform, run_id: str) -> None:
    platform.transport.call("POST", f"/api/v1/runs/{run_id}/delete", returns=Run)


def registered(platform: Platform, run_id: str) -> None:
    call = platform.transport.call
    call("POST", "/api/2.0/mlflow/registered-models/create", {"name": "churn"}, returns=dict)
    body = {"name": "churn", "source": f"runs:/{run_id}/model", "run_id": run_id}
    call("POST", "/api/2.0/mlflow/model-versions/create", body, returns=dict)


def headrace(*arguments: str, url: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"HEADRACE_URL": url, "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments], capture_output=True, text=True, env=environment
    )


def test_from_deletion_to_the_last_byte(own: TemporaryPlatform, tmp_path: Path) -> None:
    local = own.local
    going, kept, needed = (logged(own, text) for text in ("going", "kept", "needed"))
    registered(local, needed)
    for run_id in (going, needed):
        delete(local, run_id)
    stored = local.collect(NOW)
    assert (stored.blobs, stored.examined) == (0, 3)
    planned = local.purge(NOW)
    assert (planned.runs, planned.points, planned.files) == (1, 1, 1)
    assert [held.subject for held in planned.held] == [f"run/{needed}"]
    assert local.runs.get(going).deleted

    dry = headrace("gc", "--older-than", "0s", "--spare", "0s", "--dry-run", url=own.url)
    assert dry.returncode == 0, dry.stderr
    assert f"run/{needed}" in dry.stdout
    assert "version/churn/1" in dry.stdout
    assert local.runs.get(going).deleted
    done = headrace("gc", "--older-than", "0s", "--spare", "0s", "--yes", url=own.url)
    assert done.returncode == 0, done.stderr
    with pytest.raises(NotFound):
        local.runs.get(going)
    assert local.collect(NOW).examined == 2
    assert local.runs.get(kept).params == {}
    for run_id, text in ((kept, "kept"), (needed, "needed")):
        fetched = local.runs.download(run_id, "model/MLmodel", tmp_path / run_id)
        assert fetched.read_text() == f"note: {text}"
    assert not local.verify_audit().problems


def test_one_run_at_once(own: TemporaryPlatform) -> None:
    run_id = logged(own, "text")
    call = own.local.transport.call
    with pytest.raises(InvalidInput, match="not deleted"):
        call("POST", f"/api/v1/runs/{run_id}/purge", returns=dict)
    delete(own.local, run_id)
    call("POST", f"/api/v1/runs/{run_id}/restore", returns=Run)
    registered(own.local, run_id)
    delete(own.local, run_id)
    with pytest.raises(Pinned, match="version/churn/1"):
        call("POST", f"/api/v1/runs/{run_id}/purge", returns=dict)


def test_many_in_several_requests(own: TemporaryPlatform) -> None:
    call = own.local.transport.call
    for _ in range(25):
        run = call("POST", "/api/v1/runs", {"experiment": "many"}, returns=Run)
        delete(own.local, run.id)
    body = {"older_than_s": 0, "dry_run": False, "limit": 10}
    answers = [call("POST", "/api/v1/purge", body, returns=dict) for _ in range(3)]
    assert [(answer["runs"], answer["more"]) for answer in answers] == [(10, True), (10, True), (5, False)]


def test_young_bytes_are_spared(own: TemporaryPlatform) -> None:
    run_id = logged(own, "text")
    delete(own.local, run_id)
    own.local.purge(NOW, dry_run=False)
    spared = own.local.collect(dry_run=False)
    assert (spared.blobs, spared.young, spared.examined) == (0, 1, 1)
    assert own.local.collect(NOW, dry_run=False).blobs == 1


def test_a_platform_with_a_retention_does_it_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    with temporary_platform(home) as own:
        run_id = logged(own, "text")
        delete(own.local, run_id)
    with temporary_platform(home, {"HEADRACE_RETENTION": "0s"}) as own:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                own.local.runs.get(run_id)
            except NotFound:
                break
            time.sleep(0.1)
        with pytest.raises(NotFound):
            own.local.runs.get(run_id)


def test_a_retention_that_is_none_is_told_at_the_start(tmp_path: Path) -> None:
    with (
        pytest.raises(StartError, match="retention 'long' is not a duration"),
        temporary_platform(tmp_path / "home", {"HEADRACE_RETENTION": "long"}),
    ):
        pass
