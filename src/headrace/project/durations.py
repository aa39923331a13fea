"""Durations as people write them ("90d", "1h", "30s"), read strictly, and as they are told to them.

A window that silently means something else is the worst error a feature can have, so nothing is guessed: one
whole number, one unit, no spaces.
"""

import re
from datetime import timedelta

from headrace.errors import ProjectError

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
"""Seconds in each unit. Months and years are missing because their length varies."""

DURATION = re.compile(r"(0|[1-9][0-9]{0,8})([smhdw])")


def parse_duration(text: object, *, where: str | None = None, field: str = "duration") -> timedelta:
    """Reads a duration such as "90d".

    Args:
        text: a whole number followed by one of s, m, h, d, w.
        where: file and line to name in the error.
        field: the field to name in the error.

    Raises:
        ProjectError: the text is not a duration.
    """
    match = DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ProjectError(
            f"{field} {text!r} is not a duration",
            where=where or None,
            fix='Write a whole number and a unit: "30s", "15m", "6h", "90d" or "2w".',
        )
    try:
        return timedelta(seconds=int(match.group(1)) * UNITS_S[match.group(2)])
    except OverflowError as error:
        raise ProjectError(
            f"{field} {text!r} is longer than any calendar",
            where=where or None,
            fix='Write a shorter one, such as "90d".',
        ) from error


def parse_window(text: object, *, where: str | None = None, field: str = "window") -> timedelta:
    """Reads a duration that must be longer than zero.

    Raises:
        ProjectError: the text is not a duration, or is zero.
    """
    window = parse_duration(text, where=where, field=field)
    if not window:
        raise ProjectError(
            f"{field} {text!r} is empty", where=where or None, fix='Use a window longer than zero, such as "90d".'
        )
    return window


def lasting(seconds: float) -> str:
    """A duration for people, in the unit that fits."""
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:,.0f} s"
