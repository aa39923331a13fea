"""How long what was predicted is kept, by class of data, and what was removed."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import msgspec


class DataClass(StrEnum):
    """A class of data that leaves by its age."""

    PREDICTIONS = "predictions"
    """The prediction log: features, answers, entities. Its age is that of the prediction, by wall time."""
    FEEDBACK = "feedback"
    """What was said of predictions. Its age is that of its arrival, by wall time."""
    LABELS = "labels"
    """Outcomes that were computed from sources. Their age is business time: when they became final."""


ALL_MODELS = ""
HANDED_IN = timedelta(seconds=5)
"""So long after an answer its prediction is in a segment at the latest, which may be a new one."""


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """How long to keep, as people write it."""

    keep: Annotated[str, msgspec.Meta(max_length=20)]
    """Such as `90d`."""
    model: Annotated[str, msgspec.Meta(max_length=256)] = ALL_MODELS
    """Only of this model, in place of the rule for all."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """How long a class of data is kept."""

    data_class: DataClass
    model: str
    """Empty for the rule of all models that have none of their own."""
    keep: str
    set_by: str
    set_at: datetime


class Expiry(msgspec.Struct, frozen=True, kw_only=True):
    """What of a class goes."""

    data_class: DataClass
    model: str
    before: datetime


class RemoveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Remove what has been kept for long enough, or all that is known of one entity."""

    expiries: tuple[Expiry, ...] = ()
    entity: str | None = None
    """The entity as the log keeps it: JSON of its key and value."""
    asked_at: datetime | None = None
    """Wall time at which an entity was to be erased."""
    told: tuple[str, ...] = ()
    """Its predictions whose feedback the database has forgotten: these may go, or nobody would know of it later."""
    held: tuple[str, ...] = ()
    """What was told to hold up the erasure."""


class Erase(msgspec.Struct, frozen=True, kw_only=True):
    """Forget an entity."""

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    value: str | int


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows left one table, and the log of what was to come into it."""

    data_class: DataClass
    model: str
    rows: int
    segments: int = 0
    """Files of the log that the lake had refused, and that have gone as a whole."""


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What a removal removed."""

    gone: tuple[Gone, ...] = ()
    prediction_ids: tuple[str, ...] = ()
    """The predictions of an erased entity, whose feedback goes with them."""
    unfinished: bool = False
    """Whether predictions of the entity may be left: untold ones, or some in a log that is not in the lake yet."""
    held: tuple[str, ...] = ()
    """Files of the log that the lake refuses, and that name the entity or cannot be read; below `predictions/`."""
