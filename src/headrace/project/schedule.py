"""Cron lines in business time, checked where they are written."""

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from headrace.errors import ProjectError

FIELDS = 5
ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
"""Cron lines are checked against a start; which one makes no difference to whether the line is valid."""


def require_cron(expression: object, *, where: str = "") -> None:
    """Refuses a line that cron would not take.

    Raises:
        ProjectError: the expression is not five fields that some moment satisfies.
    """
    if not isinstance(expression, str) or not _is_cron(expression):
        raise ProjectError(
            f"{expression!r} is not a cron line",
            where=where or None,
            fix='Write five fields, minute hour day month weekday: "0 0 1 * *" is the first of each month.',
        )


def _is_cron(expression: str) -> bool:
    if len(expression.split()) != FIELDS:
        return False
    try:
        CronSim(expression, ANY_MOMENT)
    except CronSimError:
        return False
    return True
