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


def test_brackets_in_names_are_shown_as_they_are(running: TemporaryPlatform, elsewhere: Path) -> None:
    script = (
        "import headrace as hr\n"
        "with hr.run('odd [/names]', name='lr[cosine] [/x] \\x1b[2J', capture=False) as run:\n"
        "    run.log_metric('auc', 0.5)\n"
    )
    logged = subprocess.run(
        [sys.executable, "-c", script],
        cwd=elsewhere,
        env=os.environ | {"HEADRACE_URL": running.url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "run lr[cosine] [/x] " in logged.stderr
    shown = headrace("runs", "--experiment", "odd [/names]", folder=elsewhere, url=running.url)
    assert "lr[cosine] [/x] " in shown.stdout, shown.stderr
    assert "\x1b" not in shown.stdout
    none = headrace("runs", "metrics.x > 1", "--experiment", "odd [/names]", folder=elsewhere, url=running.url)
    assert none.stdout == "no run of odd [/names] meets the filter\n"


def test_nobody_who_reads_what_a_training_says_is_no_end_of_it(running: TemporaryPlatform, elsewhere: Path) -> None:
    script = (
        "import headrace as hr\n"
        "with hr.run('said to nobody', capture=False) as run:\n"
        "    run.log_metric('auc', 0.5)\n"
        "print('went on')\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=elsewhere,
        env=os.environ | {"HEADRACE_URL": running.url},
        stdout=subprocess.PIPE,
        stderr=writing,
        text=True,
    )
    os.close(writing)
    assert done.stdout == "went on\n"
    assert len(running.local.runs.search(experiment="said to nobody")) == 1
