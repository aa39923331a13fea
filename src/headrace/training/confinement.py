"""What a training subprocess does to itself before it touches users' code.

It does so from the inside, because a function between fork and exec is not safe in a process with threads.
"""

import ctypes
import os
import resource
import signal
import sys
from typing import BinaryIO

_PR_SET_PDEATHSIG = 1


def confine(parent: int) -> None:
    """Ties this process to its parent and forbids core dumps, which would hold the training data.

    Args:
        parent: the process id of who started it. When that has died already, this process ends.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)


def take_standard_output() -> BinaryIO:
    """Keeps standard output for messages and sends what users' code prints to standard error, the log."""
    sys.stdout.flush()
    messages = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return messages
