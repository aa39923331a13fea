"""Headers that mean the same at every door."""

from headrace.errors import InvalidInput, TooLarge
from headrace.serving.doors import Headers
from headrace.serving.nouns import Purpose

UNIT_LENGTH = 1_000


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
