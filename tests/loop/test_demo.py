"""The demo is the product's promise, so it is a test: every fact that it states is read back, or it fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.kernel.settings import inherited_environment

pytestmark = pytest.mark.loop


def test_the_demo_confirms_every_step(tmp_path: Path) -> None:
    """With its own kill -9 of the worker in a training and of control in a canary."""
    played = subprocess.run(
        [sys.executable, "-m", "headrace", "demo", "--home", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        timeout=480,
        env=inherited_environment() | {"COLUMNS": "200"},
    )
    assert played.returncode == 0, played.stdout[-3000:] + played.stderr[-3000:]
    assert played.stdout.count("✓") >= 45
    assert "kill -9 of the worker" in played.stdout
    assert "kill -9 of control" in played.stdout
    assert "read back through the public API" in played.stdout
    assert "Traceback" not in played.stdout + played.stderr
