"""What a training subprocess does to itself before it touches users' code.

It does so from the inside, because a function between fork and exec is not safe in a process with threads.
"""

import os
import resource
import sys
from typing import BinaryIO

from headrace.kernel.lifelines import die_with_parent


def confine(parent: int) -> None:
    """Ties this process to its parent and forbids core dumps, which would hold the training data.

    Args:
        parent: the process id of who started it. When that has died already, this process ends.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    die_with_parent(parent)


def take_standard_output() -> BinaryIO:
    """Keeps standard output for messages and sends what users' code prints to standard error, the log."""
    sys.stdout.flush()
    messages = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return messages
