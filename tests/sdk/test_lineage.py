"""Registering from Python, lineage and history, on a platform of real processes and from the terminal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import InvalidInput, NotFound
from headrace.project.environment import capture_environment
from headrace.sdk.platform import Platform
from headrace.testing.platform import TemporaryPlatform


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Dana", "-c", "user.email=dana@shop.example", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


TRAINING = """
import sys
import headrace as hr

with hr.run("lineage", params={"depth": 8}, url=sys.argv[1], system_metrics_every_s=None, quiet=True) as run:
    run.log_metric("auc", 0.8)
    run.log_input("purchases.csv")
    run.log_text("weights", "model/weights.txt")
    run.log_text("numpy<3", "model/nested/requirements.txt")
    print(run.id)
"""


@pytest.fixture(scope="module")
def trained(running: TemporaryPlatform, tmp_path_factory: pytest.TempPathFactory) -> tuple[Platform, str, str]:
    """A platform, a run whose code differs from its commit, and the commit."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "train.py").write_text(TRAINING)
    (folder / "purchases.csv").write_text("a\n1\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "A training")
    (folder / "train.py").write_text(TRAINING + "\n# tried something\n")
    done = subprocess.run(
        [sys.executable, "train.py", running.url], cwd=folder, capture_output=True, text=True, check=True
    )
    return running.local, done.stdout.strip(), git(folder, "rev-parse", "HEAD")


def headrace(platform: Platform, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"HEADRACE_URL": platform.url, "COLUMNS": "160", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "headrace", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_from_a_run_to_its_lineage(trained: tuple[Platform, str, str]) -> None:
    platform, run_id, commit = trained
    version = platform.register("traced", run_id, metrics={"auc": (0.8, 0.7, 0.9)}, owner="team growth")
    assert sorted(file.path for file in version.files) == ["nested/requirements.txt", "weights.txt"]
    assert platform.register("traced", run_id).number == version.number
    assert (version.owner, version.code_commit, version.code_dirty) == ("team growth", commit, True)
    assert version.code_diff is not None
    assert (version.metrics["auc"].low, version.params) == (0.7, {"depth": "8"})
    read = platform.wait_for(
        lambda: platform.version("traced", version.number),
        lambda now: now.environment_digest is not None,
        "the packages to be read",
    )
    packages = platform.environment(read.environment_digest or "").packages
    assert packages == capture_environment().packages

    found = platform.lineage.of(f"traced@{version.number}")
    kinds = {node.kind for node in found.nodes}
    assert {"version", "run", "dataset", "commit", "environment"} <= kinds
    using = platform.lineage.versions_using(commit=commit[:8])
    assert [(use.model, use.number) for use in using] == [("traced", version.number)]
    numpy = platform.lineage.versions_using(package=f"numpy=={packages['numpy']}", limit=5)
    assert ("traced", version.number) in {(use.model, use.number) for use in numpy}
    assert platform.lineage.versions_using(package="numpy<1") == []
    assert [use.model for use in platform.lineage.versions_using(table="purchases.csv")] == ["traced"]
    with pytest.raises(InvalidInput, match="no files there"):
        platform.register("traced", run_id, "nothing")
    with pytest.raises(NotFound):
        platform.lineage.of("traced@99")


def test_the_terminal(trained: tuple[Platform, str, str]) -> None:
    platform, run_id, commit = trained
    number = platform.register("shown", run_id, owner="dana").number
    tree = headrace(platform, "lineage", f"shown@{number}")
    assert tree.returncode == 0, tree.stderr
    assert f"shown@{number}  None  owner dana" in tree.stdout
    assert f"commit {commit[:12]}  with changes" in tree.stdout
    assert "dataset purchases.csv" in tree.stdout
    up = headrace(platform, "lineage", f"shown@{number}", "--up")
    assert "led to" not in up.stdout
    as_json = json.loads(headrace(platform, "lineage", f"shown@{number}", "--json", "--down").stdout)
    assert as_json["subject"] == f"version/shown/{number}"
    listed = headrace(platform, "lineage", "--table", "purchases.csv", "--limit", "1")
    assert "the newest 1 versions" in listed.stdout
    assert "There are more: --limit" in listed.stdout
    from_run = headrace(platform, "lineage", f"run/{run_id}", "--versions", "--json")
    assert f"version/shown/{number}" in {use["subject"] for use in json.loads(from_run.stdout)}
    for arguments in (("lineage",), ("lineage", "shown"), ("lineage", "--table", "x", "--commit", "abcd")):
        refused = headrace(platform, *arguments)
        assert refused.returncode == 1
        assert "error" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_the_terminals_history(trained: tuple[Platform, str, str]) -> None:
    platform, run_id, _ = trained
    number = platform.register("moved", run_id).number
    assert "nothing is in production" in headrace(platform, "models", "history", "moved").stdout
    body = {"name": "moved", "version": str(number), "stage": "Production"}
    path = "/api/2.0/mlflow/model-versions/transition-stage"
    platform.transport.call("POST", path, body, returns=dict)
    history = platform.history("moved")
    assert (history.production, history.changes[0].after) == (number, "Production")
    assert platform.history("moved", at=history.changes[0].at).production == number
    assert platform.history("moved", at="2001-01-01").production is None
    shown = headrace(platform, "models", "history", "moved")
    assert f"moved@{number} is in production" in shown.stdout
    assert "None → Production" in shown.stdout
    then = headrace(platform, "models", "history", "moved", "--at", "2001-01-01")
    assert "nothing was in production at 2001-01-01 23:59:59 UTC" in then.stdout
    described = headrace(platform, "models", "describe", f"moved@{number}", "--owner", "bo", "--tag", "a=b")
    assert "owner bo" in described.stdout
    version = platform.version("moved", number)
    assert (version.owner, version.tags) == ("bo", {"a": "b"})
    headrace(platform, "models", "describe", f"moved@{number}", "--tag", "a=")
    assert platform.version("moved", number).tags == {}
    for arguments in ((), ("moved",), ("show", "moved")):
        assert "moved" in headrace(platform, "models", *arguments).stdout
    assert headrace(platform, "models", "history", "nothing").returncode == 1
    assert headrace(platform, "models", "history", "moved", "--at", "soon").returncode == 1
