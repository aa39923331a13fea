"""The records of what is decided about loading a version: what is allowed, what was made ready, what is faster."""

from datetime import datetime
from typing import Any

import msgspec

from headrace.registry.nouns import ModelFile
from headrace.serving.nouns import ServedVersion

NATIVE = "native"
"""The name of the model as it was registered, among the forms that it could be served in."""


class Allow(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody allows for one version, on exactly its bytes."""

    reason: str
    code: bool = False
    """It may run code of its author's when it is loaded, as pickles and Python models do."""
    types: tuple[str, ...] = ()
    """Full names of types that its skops file may build."""


class Forbid(msgspec.Struct, frozen=True, kw_only=True):
    """Takes back what was allowed for a version."""

    reason: str


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What was allowed for a version; it holds for the bytes of `digest` and no others."""

    model: str
    number: int
    digest: str
    code: bool
    types: tuple[str, ...]
    reason: str
    allowed_by: str
    allowed_at: datetime


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far two forms of a model agree on some rows."""

    rows: int
    largest: float | None = None
    """Largest absolute difference; None where labels are compared."""
    beyond: int = 0
    """Rows whose difference is beyond the bound."""
    flips: int = 0
    """Rows with another label."""
    ties: int = 0
    """Rows with another label where two classes are exactly as likely: those are not among the flips."""

    @property
    def holds(self) -> bool:
        """Whether the two are the same model on these rows."""
        return self.beyond == 0 and self.flips == 0


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One faster form that was tried."""

    name: str
    passed: bool
    why: str = ""
    """Why it did not pass; empty when it did."""
    size_bytes: int
    agreements: dict[str, Agreement] = {}
    """By kind of rows; `last bit` is reported and does not count."""
    one_row_us: float | None = None
    hundred_rows_us: float | None = None


class OptimizationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was tried to make a version faster, complete enough to be judged by somebody else."""

    digest: str
    chosen: str
    """`native`, or the name of the candidate that serves."""
    runtime: str
    """What serves the model as it was registered."""
    one_row_us: float | None = None
    hundred_rows_us: float | None = None
    candidates: tuple[Candidate, ...] = ()
    not_made: dict[str, str] = {}
    """Forms that could not be made, and why."""
    rows_from: dict[str, int] = {}
    """Where the real rows came from, and how many."""
    absolute_bound: float
    relative_bound: float
    libraries: dict[str, str] = {}
    note: str = ""
    """Why nothing was tried, when nothing was."""


class PrepareRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Make a version ready to be served, before anybody asks it."""

    version: ServedVersion
    training_set_id: str | None = None


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker found and made."""

    refused: str = ""
    """Why it cannot be served; empty when it can."""
    fix: str = ""
    environment: str | None = None
    """Key of the environment that was built for it; None when the gateways' own will do."""
    packages: tuple[str, ...] = ()
    report: OptimizationReport | None = None
    report_digest: str | None = None
    """Blob of the report."""
    converted: ModelFile | None = None
    known: dict[str, Any] = {}


class Preparation(msgspec.Struct, frozen=True, kw_only=True):
    """The newest preparation of a version; it holds for the bytes of `digest` and no others."""

    model: str
    number: int
    digest: str
    job_id: str
    """The newest job that prepares it."""
    prepared: Prepared | None = None
    """What the last job found that ended; None before that."""
    at: datetime | None = None


class VersionLoading(msgspec.Struct, frozen=True, kw_only=True):
    """All that is decided about loading a version."""

    model: str
    number: int
    allowance: Allowance | None = None
    preparation: Preparation | None = None
    job_state: str | None = None
    """Of the newest job that prepares it."""
