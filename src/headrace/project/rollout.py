"""Rollout: how a version takes over the traffic, and what sends it back."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from headrace.project.declaration import Declaration
from headrace.project.durations import parse_duration


class Canary(Declaration, frozen=True):
    """Growing shares of the traffic, each judged by a sequential test.

    Args:
        steps: percent of the traffic at each step, increasing, the last one 100.
        tolerance: the error rate, and the loss against production, that is still accepted; fraction.
        alpha: the chance of a wrong verdict, valid however often it is looked at.
        minimum_time: the shortest stay at each step, wall time.
        cooling: how long the old version stays resident after the last step, wall time.
    """

    steps: Sequence[int] = (5, 25, 50, 100)
    tolerance: float = 0.01
    alpha: float = 0.05
    minimum_time: str = "1m"
    cooling: str = "1h"

    @property
    def minimum_time_duration(self) -> timedelta:
        """The shortest stay at each step."""
        return parse_duration(self.minimum_time, where=self.declared_at, field="minimum_time")

    @property
    def cooling_duration(self) -> timedelta:
        """How long the old version stays resident after the last step."""
        return parse_duration(self.cooling, where=self.declared_at, field="cooling")

    def _check(self) -> None:
        steps = tuple(self.steps)
        self._replace("steps", steps)
        whole = all(type(step) is int and 1 <= step <= 100 for step in steps)
        rising = all(before < after for before, after in pairwise(steps))
        if not steps or not whole or not rising or steps[-1] != 100:
            self._refuse(
                f"the steps {list(steps)} do not increase to 100",
                fix="Use whole percents that grow and end at 100: [5, 25, 50, 100].",
            )
        self._check_number("tolerance", above=0, below=1, fix="Use a fraction between 0 and 1: tolerance=0.01.")
        self._check_error_rate("alpha")
        parse_duration(self.minimum_time, where=self.declared_at, field="minimum_time")
        parse_duration(self.cooling, where=self.declared_at, field="cooling")
