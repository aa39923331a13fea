"""Counts what was handed in to the prediction log and what it has written, in memory that outlives a kill.

A process that is killed takes along what its log had not written yet. The two counts lie in a mapped file, which
the kernel keeps; so the next process of the gateway knows how many predictions are missing, and says so.
"""

import mmap
import os
from contextlib import suppress
from pathlib import Path

_HANDED_IN, _SETTLED, _LOST = range(3)
_SIZE_BYTES = 3 * 8


class Tally:
    """The counts of one gateway.

    Args:
        path: of the file; nobody else writes to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts: memoryview | list[int] = [0, 0, 0]

    def restore(self) -> int:
        """Begin anew; returns how many predictions the former process has lost. Without a disk nothing is known."""
        with suppress(OSError, ValueError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.ftruncate(descriptor, _SIZE_BYTES)
                self._counts = memoryview(mmap.mmap(descriptor, _SIZE_BYTES)).cast("Q")
            finally:
                os.close(descriptor)
        counts = self._counts
        lost = max(0, counts[_HANDED_IN] - counts[_SETTLED])
        counts[_LOST] += lost
        counts[_HANDED_IN] = counts[_SETTLED] = 0
        return lost

    def hand_in(self, rows: int) -> None:
        """These will be written; called by the event loop."""
        self._counts[_HANDED_IN] += rows

    def settle(self, rows: int) -> None:
        """These are written, or counted as dropped; called by the writer."""
        self._counts[_SETTLED] += rows

    @property
    def lost(self) -> int:
        """Predictions that processes of this gateway ever lost by being killed."""
        return self._counts[_LOST]
