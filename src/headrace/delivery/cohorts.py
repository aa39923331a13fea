"""Which business times a training and its verdict look at: pure rules on month starts and label maturity.

A label of moment T is known at T + maturity. A verdict cohort V is later than every label of the training set
(V >= T + maturity), so that the candidate has seen nothing of what it is judged on.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from headrace.errors import InvalidInput, LabelsNotMature


class Moments(msgspec.Struct, frozen=True, kw_only=True):
    """When a training looks, all business time, UTC.

    Attributes:
        as_of: T, the moment of the features.
        cohort: V, the moment of the verdict's rows; None judges on the training set's own hold-out.
        ready_at: when every label that is needed is known.
    """

    as_of: datetime
    cohort: datetime | None
    ready_at: datetime


def month_start(moment: datetime) -> datetime:
    """The first instant of the moment's month, UTC."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(moment: datetime) -> datetime:
    """The first instant of the month after the moment's."""
    return month_start(month_start(moment) + timedelta(days=32))


def month_start_from(moment: datetime) -> datetime:
    """The first month start at or after a moment."""
    start = month_start(moment)
    return start if start == moment else next_month(moment)


def newest_mature(now: datetime, maturity: timedelta) -> datetime:
    """The newest month start whose labels are known now."""
    return month_start(now - maturity)


def for_training(now: datetime, maturity: timedelta, as_of: datetime | None) -> Moments:
    """The moments of a training that somebody asks for.

    Args:
        now: business time.
        maturity: how long after the moment of prediction a label is final.
        as_of: the moment of the features; None takes the newest month start whose labels are known.

    Raises:
        InvalidInput: `as_of` has no time zone.
        LabelsNotMature: the labels of `as_of` are not known yet.
    """
    if as_of is None:
        as_of = newest_mature(now, maturity)
    if as_of.tzinfo is None:
        raise InvalidInput("a business time needs a time zone", where="as_of", fix="Write 1997-05-01T00:00:00Z.")
    require_mature(now, maturity, as_of)
    newest = newest_mature(now, maturity)
    cohort = newest if newest >= as_of + maturity else None
    return Moments(as_of=as_of, cohort=cohort, ready_at=as_of + maturity if cohort is None else cohort + maturity)


def for_retraining(window_end: datetime, maturity: timedelta) -> Moments:
    """The moments of a retraining that an alarm asks for.

    The training set ends with the window that showed the change; the verdict cohort is the first month start
    that no label of the training set reaches into.
    """
    as_of = month_start(window_end)
    cohort = month_start_from(as_of + maturity)
    return Moments(as_of=as_of, cohort=cohort, ready_at=cohort + maturity)


def require_mature(now: datetime, maturity: timedelta, as_of: datetime) -> None:
    """Refuse a moment whose labels are not known yet.

    Raises:
        LabelsNotMature: says from when on they are.
    """
    mature_at = as_of + maturity
    if now < mature_at:
        raise LabelsNotMature(
            f"labels as of {as_of:%Y-%m-%d} are mature from {mature_at:%Y-%m-%d} on; it is {now:%Y-%m-%d}",
            where="as_of",
            fix=f"Train as of {newest_mature(now, maturity):%Y-%m-%d} or earlier, or wait.",
        )


def require_unseen(cohort: datetime, as_of: datetime, maturity: timedelta) -> None:
    """Refuse to judge a version on a moment that its training set reaches into.

    Raises:
        InvalidInput: says from when on it has seen nothing of the rows.
    """
    unseen_from = as_of + maturity
    if cohort < unseen_from:
        raise InvalidInput(
            f"the version was trained as of {as_of:%Y-%m-%d} with labels that reach to {unseen_from:%Y-%m-%d}: it"
            f" has seen some of what a cohort of {cohort:%Y-%m-%d} would judge it on",
            where="cohort",
            fix=f"Name a cohort from {unseen_from:%Y-%m-%d} on, or none: then it is judged on what it did not see.",
        )
