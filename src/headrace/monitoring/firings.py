"""The firings of a monitor's schedule, which are the borders of its windows."""

from datetime import datetime

from cronsim import CronSim, CronSimError

from headrace.errors import InvalidInput


def previous_firing(cron: str, at: datetime) -> datetime:
    """The last firing strictly before a moment: the start of the window that ends there.

    Raises:
        InvalidInput: the expression is not cron's.
    """
    try:
        return next(CronSim(cron, at, reverse=True))
    except (CronSimError, StopIteration) as error:
        raise InvalidInput(
            f"{cron!r} is not a cron expression that ever fires",
            where="cron",
            fix="Five fields: minute hour day month weekday, for example '0 0 1 * *'.",
        ) from error
