"""Features: one number for each entity and moment, computed from the events of a source.

Every feature looks back from the moment T that it is asked for: a window w covers the events in (T - w, T].
The same words are computed offline for training and online for serving.
"""

from datetime import timedelta
from typing import Literal

from headrace.project.declaration import Declaration
from headrace.project.durations import parse_window

FeatureKind = Literal["count", "sum", "mean", "minimum", "maximum", "age_of_last", "age_of_first"]

OF_A_COLUMN = frozenset({"sum", "mean", "minimum", "maximum"})
OF_THE_TIME = frozenset({"age_of_last", "age_of_first"})


class Feature(Declaration, frozen=True):
    """One feature of a feature view; made by `count`, `sum`, `mean`, `minimum`, `maximum` and the ages.

    An entity without an event in the window has a count and a sum of 0 and no mean, minimum or maximum
    (null). Values are float64.
    """

    kind: FeatureKind
    column: str | None = None
    window: str | None = None

    @property
    def window_duration(self) -> timedelta | None:
        """The window; None for the ages, which look back to the last and to the very first event."""
        return None if self.window is None else parse_window(self.window, where=self.declared_at)

    def _check(self) -> None:
        if self.kind in OF_A_COLUMN and (not isinstance(self.column, str) or not self.column):
            self._refuse(
                f"{self.kind} needs a column", fix=f'Name one: hr.{self.kind}("dollar_value", window="90d").'
            )
        if self.kind in OF_THE_TIME:
            return
        if self.window is None:
            self._refuse(f"{self.kind} needs a window", fix='Say how far it looks back: window="90d".')
        parse_window(self.window, where=self.declared_at)


def count(*, window: str) -> Feature:
    """The number of events in the window, such as "90d"."""
    return Feature("count", None, window)


def sum(column: str, *, window: str) -> Feature:  # noqa: A001 - the word of the trade; used as hr.sum
    """The sum of a column over the events in the window; 0 without events."""
    return Feature("sum", column, window)


def mean(column: str, *, window: str) -> Feature:
    """The mean of a column over the events in the window; null without events."""
    return Feature("mean", column, window)


def minimum(column: str, *, window: str) -> Feature:
    """The smallest value of a column in the window; null without events."""
    return Feature("minimum", column, window)


def maximum(column: str, *, window: str) -> Feature:
    """The largest value of a column in the window; null without events."""
    return Feature("maximum", column, window)


def age_of_last() -> Feature:
    """Days, with fractions, since the entity's last event; null without events."""
    return Feature("age_of_last")


def age_of_first() -> Feature:
    """Days, with fractions, since the entity's first event; null without events."""
    return Feature("age_of_first")
