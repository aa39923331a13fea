"""When outcomes are known: a label may be used only once its whole window has passed on the business clock."""

from datetime import datetime

from headrace.errors import LabelsNotMature
from headrace.project.label import Label


def mature_as_of(label: Label, business_now: datetime) -> datetime:
    """The latest moment of prediction whose outcome is final at business now."""
    return business_now - label.maturity


def require_mature(label: Label, as_of: datetime, business_now: datetime) -> None:
    """Refuse outcomes that are not final yet.

    Args:
        label: the outcome.
        as_of: the latest moment of prediction that is asked about.
        business_now: what the business clock says.

    Raises:
        LabelsNotMature: says when they will be, and which moment is already.
    """
    final_at = as_of + label.maturity
    if final_at > business_now:
        raise LabelsNotMature(
            f"outcomes as of {as_of:%Y-%m-%d %H:%M} are final on {final_at:%Y-%m-%d %H:%M}, "
            f"and business time is {business_now:%Y-%m-%d %H:%M}",
            where=f"label/{label.name}",
            fix=f"Wait, or go back to {mature_as_of(label, business_now):%Y-%m-%d %H:%M} or earlier.",
        )


def require_ingested(label: Label, as_of: datetime, ingested_through: datetime | None) -> None:
    """Refuse outcomes whose window is not in the lake yet: an event that was not read would look like none.

    Raises:
        LabelsNotMature: the source has been read only up to an earlier moment.
    """
    needed = as_of + label.value.window_duration
    if ingested_through is None or ingested_through < needed:
        reached = "not at all" if ingested_through is None else f"through {ingested_through:%Y-%m-%d %H:%M}"
        raise LabelsNotMature(
            f"source {label.source.name} is ingested {reached}, the outcomes need {needed:%Y-%m-%d %H:%M}",
            where=f"label/{label.name}",
            fix="Wait for the ingest of the source, or look at why it failed: headrace features.",
        )
