"""What the test's own process has started and still runs."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil


def children(named: str) -> list[psutil.Process]:
    """Children whose command line holds this, and not what other tests have not let go of yet."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it ended while it was looked at
            if named in " ".join(child.cmdline()):
                found.append(child)
    return found


def runs(pid: int) -> bool:
    """Whether there is such a process, other than one that has ended and nobody has asked after."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def eventually(condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
    """Wait until it holds."""
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)
