"""The command line without a platform: help, and errors that say what to do."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.text import Text

from headrace.cli.main import app

COMMANDS = (
    "up", "demo", "apply", "train", "release", "approve", "rollback", "status", "runs", "models", "features",
    "audit", "access", "policy", "approvals", "evidence", "clock", "alerts", "sync", "gc", "lineage",
)  # fmt: skip


def headrace(*arguments: str, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments], capture_output=True, text=True, timeout=60, cwd=folder
    )


def test_help_names_every_command() -> None:
    shown = headrace("--help")
    assert shown.returncode == 0
    for command in COMMANDS:
        assert f" {command} " in shown.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    assert headrace(command, "--help").returncode == 0


def test_the_version_is_said() -> None:
    assert headrace("--version").stdout == f"headrace {version('headrace')}\n"


def test_no_help_text_is_taken_for_markup() -> None:
    for path, command in commands(typer.main.get_command(app)):
        texts = [command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)]
        for text in texts:
            assert Text.from_markup(text).plain == text.replace("\\[", "["), path


def commands(group: Any, path: str = "headrace") -> Iterator[tuple[str, Any]]:
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, f"{path} {name}")


def test_a_folder_that_is_not_there_is_no_empty_spool(tmp_path: Path) -> None:
    refused = headrace("sync", "nowhere", folder=tmp_path)
    assert refused.returncode == 1
    assert "nowhere: there is no such folder" in refused.stderr


def test_without_a_platform_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    refused = headrace("status", folder=tmp_path)
    assert refused.returncode == 1
    assert "no platform runs here" in refused.stderr
    assert "headrace up" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_help_is_light() -> None:
    heavy = ("numpy", "pyarrow", "duckdb", "sqlalchemy", "litestar", "sklearn")
    script = f"import sys, headrace.cli.main; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_environment_variable_that_cannot_be_meant_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_PORT", "eighty")
    refused = headrace("status", folder=tmp_path)
    assert refused.returncode == 1
    assert "HEADRACE_PORT" in refused.stderr


def test_sync_of_an_empty_spool(tmp_path: Path) -> None:
    done = headrace("sync", folder=tmp_path)
    assert done.returncode == 0
    assert "nothing waits" in done.stdout
