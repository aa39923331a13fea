"""How long a version takes for so many rows, learnt from its calls: what a call costs, and each row on top of it.

Least squares of `seconds = call + row * rows` with weights that fade. What a row costs is taken two standard errors
lower than it seems: on a busy machine calls vary by more than their sizes do, and who believes by mistake that rows
are dear turns callers away, gets only small calls to learn from, and never finds out. Too low a guess is put right
by the larger calls that it lets happen.
"""

import math

FADES = 0.95
"""What a call still weighs after the next one; about the last twenty count."""
SPREAD = 1e-6
"""Below this share of their mean square, sizes are all alike."""
ERRORS = 2.0


class Effort:
    """Learns from calls; used from one thread."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._rows = 0.0
        self._seconds = 0.0
        self._rows_rows = 0.0
        self._rows_seconds = 0.0
        self._seconds_seconds = 0.0

    def learn(self, rows: int, took_s: float) -> None:
        """Take note of one call."""
        self._weight = self._weight * FADES + 1
        self._rows = self._rows * FADES + rows
        self._seconds = self._seconds * FADES + took_s
        self._rows_rows = self._rows_rows * FADES + rows * rows
        self._rows_seconds = self._rows_seconds * FADES + rows * took_s
        self._seconds_seconds = self._seconds_seconds * FADES + took_s * took_s

    def expected_s(self, rows: int, calls: int = 1) -> float:
        """Seconds that so many rows will take in so many calls; 0 while nothing is known."""
        if not self._weight:
            return 0.0
        row_s = self._row_s()
        call_s = (self._seconds - row_s * self._rows) / self._weight
        if call_s < 0:
            return rows * self._seconds / self._rows
        return calls * call_s + rows * row_s

    def _row_s(self) -> float:
        """What a row costs, at least."""
        weight = self._weight
        spread = weight * self._rows_rows - self._rows * self._rows
        if weight <= ERRORS or spread <= SPREAD * weight * self._rows_rows:
            return 0.0
        both = weight * self._rows_seconds - self._rows * self._seconds
        own = weight * self._seconds_seconds - self._seconds * self._seconds
        left = max(0.0, own - both * both / spread)
        return max(0.0, both / spread - ERRORS * math.sqrt(left / spread / (weight - 2)))
