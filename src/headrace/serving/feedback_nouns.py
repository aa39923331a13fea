"""Feedback: what became of a prediction, as callers send it, as control keeps it, and as it is read again.

Light and frozen: gateways, control and workers share these records, and their JSON is the wire.
"""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from headrace.kernel.clocks import Moment
from headrace.serving.nouns import Arm, Purpose

ITEMS_LIMIT = 10_000
METADATA_LIMIT_BYTES = 4_096
LABEL = "label"
"""The name of feedback that names none: the outcome that the model predicts."""

Value = bool | int | float | str
PredictionId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,100}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_. -]{1,100}\Z")]


class Feedback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller says of one prediction.

    Two that are equal in all fields are the same one, however often they are sent. Of several with one name, the
    one with the latest `at` counts, among equals the one that came last.
    """

    prediction_id: PredictionId
    value: Value
    """The outcome: a number, a truth value or a text."""
    name: Name = LABEL
    """What is told: `label` for what the model predicts, any other name for what else became of it."""
    at: Moment | None = None
    """Business time at which it was so; None takes that of its arrival."""
    metadata: dict[str, str | int | float | bool | None] = {}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all that was said."""
        at = None if self.at is None else self.at.astimezone(UTC)
        said = [self.prediction_id, self.name, self.value, at, self.metadata]
        return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()

    @property
    def number(self) -> float | None:
        """The value as a number; None for a text."""
        return None if isinstance(self.value, str) else float(self.value)


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """Feedback as a gateway took it down."""

    feedback: Feedback
    business_at: datetime
    """Business time of its arrival."""
    received_at: datetime
    """Wall time of it."""
    by: str
    """Who sent it."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of feedback that was sent."""

    accepted: int
    """All of it is kept, and will be joined with its predictions."""
    new: int | None = None
    """Items that were not known before; None from a gateway, which keeps them all until control has them."""
    corrections: int | None = None
    """New ones that take the place of an earlier one."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """Feedback as control keeps it, with the prediction that it belongs to once that is found."""

    sequence: int
    """Its place in the order of arrival."""
    prediction_id: str
    name: str
    value: Any
    at: datetime
    received_at: datetime
    by: str
    metadata: dict[str, Any]
    effective: bool
    """Whether none with a later `at` took its place."""
    joined_at: datetime | None = None
    """Wall time at which its prediction was found; None while it waits for it."""
    model: str | None = None
    version: int | None = None


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What a prediction's log says that feedback needs."""

    model: str
    version: int
    arm: Arm
    propensity: float
    release_id: str | None
    step: int | None
    purpose: Purpose
    business_at: datetime
    output: float | None = None
    """None when the model faulted, or answers with no single number."""


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Look for the predictions of one batch of waiting feedback."""

    batch: int


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of feedback and its prediction."""

    sequence: int
    prediction: Prediction


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What a join found; the rest of its batch waits on."""

    batch: int
    found: tuple[Found, ...] = ()


class Reward(msgspec.Struct, frozen=True, kw_only=True):
    """The effective feedback on one live prediction, as a number."""

    sequence: int
    prediction_id: str
    version: int
    arm: Arm
    propensity: float
    release_id: str | None
    step: int | None
    value: float
    at: datetime
    joined_at: datetime


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Effective numeric feedback of one name on one version's live predictions, added up."""

    version: int
    name: str
    count: int
    total: float
    squares: float
    """Sum of the squared values."""
    compared: int
    """Labels that can be what was predicted: 0 or 1 where a probability was, a class where a class was.

    None of other feedback (a rating, a revenue), and none where the model foretells a number.
    """
    agreeing: int
    """Those whose label is what was predicted: the same number, or 0 or 1 as the probability's nearer end."""

    @property
    def accuracy(self) -> float | None:
        """Share of the compared ones that agree; None when there are none."""
        return self.agreeing / self.compared if self.compared else None


class FeedbackState(msgspec.Struct, frozen=True, kw_only=True):
    """How much feedback there is."""

    joined: int
    waiting: int
    """Its predictions were not found yet: the log is brought in within seconds, or the id is wrong."""
    oldest_waiting: datetime | None = None
    """Wall time of its arrival."""
