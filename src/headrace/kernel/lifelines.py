"""Child processes that do not outlive their parent: an orphan would hold a port, a lease or training data."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, *, by: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to end this process when its parent dies; elsewhere the parent must do it.

    Args:
        parent: process id of who started this process; when it has died already, this process ends at once.
        by: the signal that ends it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        os._exit(1)
