"""Retraining: which alarms start one, on which data, and how soon again."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

from headrace.project.declaration import Declaration
from headrace.project.durations import parse_duration

Trigger = Literal["drift", "performance", "quality"]
TRIGGERS = ("drift", "performance", "quality")


class Retrain(Declaration, frozen=True):
    """Starts a training when a monitor's alarm opens, as soon as new labels are mature.

    Args:
        on: the monitors whose alarm starts a retraining.
        cohorts: "month": moments of prediction are the first of a month. The newest cohort whose labels are
            mature is kept for the verdict; training is as of the newest cohort whose label window ends before it.
        cooldown: the shortest time between two retrainings, business time.
    """

    on: Sequence[Trigger] = ("drift", "performance")
    cohorts: Literal["month"] = "month"
    cooldown: str = "1d"

    @property
    def cooldown_duration(self) -> timedelta:
        """The shortest time between two retrainings."""
        return parse_duration(self.cooldown, where=self.declared_at, field="cooldown")

    def _check(self) -> None:
        if isinstance(self.on, str):
            self._refuse("on must be a list of monitors", fix=f'Write on=("{self.on}",).')
        self._replace("on", tuple(self.on))
        unknown = [trigger for trigger in self.on if trigger not in TRIGGERS]
        if unknown or not self.on:
            self._refuse(
                f"a retraining cannot start on {unknown or 'nothing'}",
                fix=f"Use one or more of: {', '.join(TRIGGERS)}.",
            )
        if self.cohorts != "month":
            self._refuse(f"cohorts of a {self.cohorts!r} are not known", fix='Use cohorts="month".')
        parse_duration(self.cooldown, where=self.declared_at, field="cooldown")
