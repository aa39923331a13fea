"""Rollout: how a version takes over the traffic, and what sends it back."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from headrace.project.declaration import Declaration
from headrace.project.durations import parse_duration


class Guarded(Declaration, frozen=True, kw_only=True):
    """What every rollout is watched for, and how long it stays and waits.

    A version goes back as soon as one of its signals is shown to be worse than the champion's, or beyond its
    tolerance where there is no champion to compare with.
    """

    tolerance: float = 0.01
    alpha: float = 0.05
    minimum_time: str = "1m"
    cooling: str = "1h"
    invalid_tolerance: float | None = 0.01
    fallback_tolerance: float | None = 0.01
    slow_tolerance: float | None = 1.0
    slow_from_ms: float = 10.0
    ask_after: str = "1d"

    @property
    def minimum_time_duration(self) -> timedelta:
        """The shortest stay at each step."""
        return parse_duration(self.minimum_time, where=self.declared_at, field="minimum_time")

    @property
    def cooling_duration(self) -> timedelta:
        """How long the old version stays resident after the last step."""
        return parse_duration(self.cooling, where=self.declared_at, field="cooling")

    @property
    def ask_after_duration(self) -> timedelta:
        """How long a step may go without a verdict before a person is asked."""
        return parse_duration(self.ask_after, where=self.declared_at, field="ask_after")

    def _check_steps(self, field: str, *, last: int | None = None) -> None:
        steps = tuple(getattr(self, field))
        self._replace(field, steps)
        whole = all(type(step) is int and 1 <= step <= 100 for step in steps)
        rising = all(before < after for before, after in pairwise(steps))
        if not whole or not rising or (last is not None and steps[-1:] != (last,)):
            self._refuse(
                f"the {field} {list(steps)} do not increase" + ("" if last is None else f" to {last}"),
                fix="Use whole percents that grow: [5, 25]."
                if last is None
                else f"Use whole percents that grow and end at {last}: [5, 25, 50, 100].",
            )

    def _check(self) -> None:
        self._check_number("tolerance", above=0, below=1, fix="Use a fraction between 0 and 1: tolerance=0.01.")
        for field in ("invalid_tolerance", "fallback_tolerance"):
            if getattr(self, field) is not None:
                self._check_number(field, above=0, below=1, fix=f"Use a fraction, or None: {field}=0.01.")
        if self.slow_tolerance is not None:
            self._check_number(
                "slow_tolerance",
                above=0,
                at_most=10,
                fix="Use how much more often, or None: slow_tolerance=1.0 is twice as often.",
            )
        self._check_number("slow_from_ms", at_least=0, fix="Use milliseconds: slow_from_ms=10.")
        self._check_error_rate("alpha")
        parse_duration(self.minimum_time, where=self.declared_at, field="minimum_time")
        parse_duration(self.cooling, where=self.declared_at, field="cooling")
        parse_duration(self.ask_after, where=self.declared_at, field="ask_after")


class Canary(Guarded, frozen=True, tag="canary", tag_field="kind"):
    """Growing shares of the traffic, each judged by a sequential test.

    A version goes back as soon as one of its signals is shown to be worse than the champion's, or beyond its
    tolerance where there is no champion to compare with. It goes on when all of them are shown to be within theirs.

    Args:
        steps: percent of the traffic at each step, increasing, the last one 100.
        tolerance: the share of units that may see the version fail; fraction.
        alpha: the chance of a wrong verdict over the whole rollout, by any signal, however often it is looked at.
        minimum_time: the shortest stay at each step, wall time.
        cooling: how long the old version stays resident after the last step, wall time.
        invalid_tolerance: the share of units that may see an answer that is not finite or of the wrong shape; None
            judges them among the failures only.
        fallback_tolerance: the share of units that something else may answer in the version's place; None does not
            judge it.
        slow_tolerance: how much more often than the champion's the version's answers may take longer than what was
            the champion's 95th percentile when the step began: 1.0 is twice as often. None does not judge it.
        slow_from_ms: what is faster than this is never slow, whatever the champion's was: nobody waits for it.
        ask_after: a step without a verdict for so long asks a person, wall time.
    """

    steps: Sequence[int] = (5, 25, 50, 100)

    def _check(self) -> None:
        self._check_steps("steps", last=100)
        super()._check()
