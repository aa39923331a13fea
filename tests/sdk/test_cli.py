"""`headrace sync` and `headrace runs` as a person calls them."""

import os
import subprocess
import sys
from pathlib import Path

import headrace as hr
from headrace.testing.platform import TemporaryPlatform


def headrace(
    *arguments: str, folder: Path, url: str, token: str | None = None
) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"HEADRACE_URL": url, "COLUMNS": "200", "NO_COLOR": "1"}
    if token is not None:
        environment["HEADRACE_TOKEN"] = token
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments], capture_output=True, text=True, cwd=folder, env=environment
    )


def test_sync_sends_what_waits_and_runs_shows_it(running: TemporaryPlatform, elsewhere: Path) -> None:
    with hr.run("synced", name="left behind", capture=False, system_metrics_every_s=None, quiet=True) as run:
        run.log_metric("auc", 0.875)
        run.log_param("depth", 1)
        run.log_param("depth", 2)
    with hr.run("synced", name="second", capture=False, system_metrics_every_s=None, quiet=True) as second:
        second.log_metric("auc", 0.5)
    away = headrace("sync", folder=elsewhere, url="http://127.0.0.1:9")
    assert away.returncode == 1
    assert away.stdout.count("does not answer") == 2
    done = headrace("sync", folder=elsewhere, url=running.url)
    assert done.returncode == 0, done.stderr
    assert "left behind" in done.stdout
    assert "1 line refused" in done.stdout
    shown = headrace("runs", "metrics.auc > 0.8", "--experiment", "synced", folder=elsewhere, url=running.url)
    assert run.id in shown.stdout
    assert "0.875" in shown.stdout
    again = headrace("sync", folder=elsewhere, url=running.url)
    assert "nothing waits" in again.stdout
    none = headrace("runs", "metrics.auc > 0.9", "--experiment", "synced", folder=elsewhere, url=running.url)
    assert run.id not in none.stdout
    wrong = headrace("runs", "metrics.auc >", folder=elsewhere, url=running.url)
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr


def test_whoever_lacks_a_role_is_told_which_and_who_can_give_it(
    running: TemporaryPlatform, elsewhere: Path
) -> None:
    running.local.access.add("vera", ["viewer"])
    token = running.local.access.issue_token("vera").secret
    for command, role in ((("release", "churn@1"), "developer"), (("rollback", "churn", "--to", "1"), "operator")):
        refused = headrace(*command, folder=elsewhere, url=running.url, token=token)
        assert refused.returncode == 1
        assert f"this needs the role {role}, and vera has viewer" in refused.stderr
        assert f"An admin can give it: headrace access grant vera {role}" in refused.stderr
