"""Records of the comparison by paired losses: what a worker is asked, what it adds up, and what is made of it."""

from datetime import datetime

import msgspec

from headrace.project.label import Label
from headrace.project.paired import PairedLoss


class PairedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Compare the two versions of a release on all requests that both answered and whose outcome is final."""

    release_id: str
    number: int
    """Of this comparison among those of the release."""
    model: str
    champion: int
    challenger: int
    step: int
    """The release's step in which the version was a shadow."""
    quality: PairedLoss
    label: Label
    """The model's, as it is declared now."""
    alpha: float


class PairedResult(msgspec.Struct, frozen=True, kw_only=True):
    """What both versions' losses on the same units add up to; each unit counts with its first request."""

    release_id: str
    number: int
    final_through: datetime | None = None
    """Outcomes of requests up to this business time are final; None while the label's source was not read."""
    pairs: int = 0
    """Requests' rows that both versions answered."""
    incomplete: int = 0
    """Rows that only one of them answered, or production with what has no such loss; they count for neither."""
    waiting: int = 0
    """Units whose outcome is not final."""
    next_at: datetime | None = None
    """Business time at which the first of those is."""
    ahead: int = 0
    """Those of them that were asked at a later business time than it is now: the clock was set back."""
    unlabelled: int = 0
    """Units whose outcome should be known and is not."""
    units: int = 0
    """Units with an outcome: those that are compared."""
    first_at: datetime | None = None
    """Business time of the first request that is compared."""
    last_at: datetime | None = None
    """Of the last one."""
    champion: float = 0.0
    """Sum of its losses."""
    challenger: float = 0.0
    squares: float = 0.0
    """Sum of the squared differences."""
    fourths: float = 0.0
    """Sum of their fourth powers."""
    not_worse: tuple[float, ...] = ()
    """Logarithm of the capital of each bet that the version is not worse."""
    worse: tuple[float, ...] = ()
    """The same that it is worse by more than the margin."""
    low: float | None = None
    """Of the mean difference."""
    high: float | None = None
    took_s: float = 0.0


class Comparing(msgspec.Struct, frozen=True, kw_only=True):
    """How far the comparisons of a release have come."""

    began_at: datetime
    """Wall time at which the first was asked for."""
    number: int
    """Of the comparison that was asked for last."""
    asked: bool
    """Whether that comparison is under way."""
    settled_at: datetime | None = None
    """Wall time at which a comparison was last handed in, or given up."""
    result: PairedResult | None = None
    problem: str = ""
    """Why the last comparison was given up; empty when it was not."""


class QualityEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the losses of both versions on the same units show, once it was final what became of them."""

    loss: str
    margin: float
    before: str
    """What may not begin until it is shown that the version is not worse: canary, full_traffic or nothing."""
    verdict: str
    """HOLD, ADVANCE (not worse by the margin) or ROLL_BACK (worse by more)."""
    reason: str
    matures_after_s: float
    """How long after a request its outcome is final, business time."""
    units: int = 0
    """Units with an outcome, each with its first request: those that are compared."""
    waiting: int = 0
    """Units whose outcome is not final."""
    next_at: datetime | None = None
    """Business time at which the first of those is."""
    unlabelled: int = 0
    """Units whose outcome should be known and is not."""
    incomplete: int = 0
    """Rows that only one of the two answered."""
    champion_loss: float | None = None
    """Mean over the units; None before the first."""
    challenger_loss: float | None = None
    difference: float | None = None
    """Mean of the challenger's loss less the champion's."""
    difference_low: float | None = None
    """Ends of an interval that holds at every time at once, with 1 - alpha of the release."""
    difference_high: float | None = None
    not_worse: float = 1.0
    """E-value against "worse by the margin or more"."""
    needed: float
    worse: float = 1.0
    """E-value against "worse by the margin at most"."""
    harm_needed: float
    to_go_on_units: int | None
    """Units, in nine of ten cases, until a version that is as good is shown not to be worse; None for never."""
    to_take_back_units: int | None
    """The same until one that is worse by twice the margin is taken back."""
    assumed: bool
    """Whether these two rest on an assumption, since no difference was seen."""
    first_at: datetime | None = None
    """Business time of the first request that is compared."""
    last_at: datetime | None = None
    """Of the last one."""
    final_through: datetime | None = None
    """Outcomes of requests up to this business time are final; None while the label's source was not read."""
    settled_at: datetime | None = None
    """Wall time of the last comparison."""
    problem: str = ""
    """Why the last comparison was given up; empty when it was not."""
