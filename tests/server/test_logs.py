"""A log that cannot be written hinders nobody."""

import subprocess
import sys
from pathlib import Path

import pytest

LOGS = """
import logging, sys
import structlog
from headrace.server.logs import configure_logging
configure_logging("info", "control")
for number in range(2_000):
    structlog.get_logger().error("request failed", number=number)
    logging.getLogger("x").error("by the other library")
sys.stderr.write("went on")
"""


def test_a_full_disk_does_not_fail_who_logs() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is Linux's")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", LOGS], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.stderr.startswith("went on"), done.stderr[-2000:]


def test_a_line_is_json() -> None:
    done = subprocess.run([sys.executable, "-c", LOGS], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()[:2]
    assert first.startswith('{"number": 0, "event": "request failed", "process": "control"')
    assert second == "ERROR x by the other library"
