"""Headers that mean the same at every door."""

import math

from headrace.errors import InvalidInput, TooLarge
from headrace.serving.gateway.doors import Headers
from headrace.serving.nouns import Purpose

UNIT_LENGTH = 1_000
LONGEST_TIMEOUT_S = 3_600.0
FALLBACK = "x-headrace-fallback"
"""In an answer: what answered in the place of the version that should have."""


def unit_of(headers: Headers) -> str | None:
    """What the caller wants to stick to a version.

    Raises:
        TooLarge: it is too long.
    """
    unit = headers.get("x-unit") or None
    if unit is not None and len(unit) > UNIT_LENGTH:
        raise TooLarge(f"a unit has at most {UNIT_LENGTH} characters", where="X-Unit")
    return unit


def purpose_of(headers: Headers, *, pinned: bool) -> Purpose:
    """What the prediction is asked for.

    Raises:
        InvalidInput: there is no such purpose, or one that is not live names no version.
    """
    given = headers.get("x-headrace-purpose")
    if given is None:
        return Purpose.LIVE
    try:
        purpose = Purpose(given)
    except ValueError:
        raise InvalidInput(
            "there is no such purpose", where="X-Headrace-Purpose", fix=f"Use one of {', '.join(Purpose)}."
        ) from None
    if purpose is not Purpose.LIVE and not pinned:
        raise InvalidInput(
            f"a {purpose} request names its version, or it would count for the rollout",
            where="X-Headrace-Purpose",
            fix="Send it to /models/<name>/versions/<number>/invocations.",
        )
    return purpose


def timeout_of(headers: Headers) -> float | None:
    """How many seconds the request has; None leaves it to the gateway.

    Raises:
        InvalidInput: it is no number of seconds.
    """
    given = headers.get("x-request-timeout")
    if given is None:
        return None
    try:
        timeout_s = float(given)
    except ValueError:
        timeout_s = math.nan
    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise InvalidInput(
            f"a request has between 0 and {LONGEST_TIMEOUT_S:.0f} seconds",
            where="X-Request-Timeout",
            fix="Send seconds, such as 0.5.",
        )
    return timeout_s
