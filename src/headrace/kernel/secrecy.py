"""What a process knows stays its own: its memory and its environment, with the tokens and keys in it.

A model host runs other people's code as the platform's user, to whom Linux shows the environment of all processes
that it started.
"""

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def keep_secrets() -> None:
    """Hide this process's memory and environment from other processes of its user, and write no core dumps.

    Only Linux does, and root sees everything.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
