"""The registry's records: what a model, a version, an approval and a piece of evidence are.

Everything here is frozen and light, since the SDK, the gateways and the workers import it too.
"""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from headrace.errors import ProjectError
from headrace.project.binding import Judge


class Stage(StrEnum):
    """Where a version stands on its way to production; the words are MLflow's."""

    NONE = "None"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"


class Verdict(StrEnum):
    """What a gate says of a candidate; only PASS and BETTER let a release go on."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    BETTER = "BETTER"
    WORSE = "WORSE"
    INCONCLUSIVE = "INCONCLUSIVE"

    @property
    def passes(self) -> bool:
        """Whether a release may go on after this verdict."""
        return self in {Verdict.PASS, Verdict.BETTER}


class ApprovalStatus(StrEnum):
    """The life of a request for approval; all but the first two are final."""

    REQUESTED = "requested"
    """Too few have granted it yet."""
    GRANTED = "granted"
    """Enough have granted it, and what it allows has not been done yet."""
    USED = "used"
    """What it allowed was done; it allows nothing more."""
    REFUSED = "refused"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    VOID = "void"
    """What was asked about is no longer what is there."""

    @property
    def waits(self) -> bool:
        """Whether something can still come of it."""
        return self in {ApprovalStatus.REQUESTED, ApprovalStatus.GRANTED}


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a model directory."""

    path: str
    """Relative to the model directory, with forward slashes."""
    digest: str
    """`sha256:<hex>` of the content, which is its address in the blob store."""
    size_bytes: int


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of a version, with its confidence interval where one is known."""

    value: float
    low: float | None = None
    high: float | None = None


class FeatureUse(msgspec.Struct, frozen=True, kw_only=True):
    """One feature view that a version reads, so that serving looks up what training saw."""

    view: str
    version: int
    columns: tuple[str, ...]


class DataUse(msgspec.Struct, frozen=True, kw_only=True):
    """Data that a version was made from: which, in which state, and their content.

    Attributes:
        subject: its name in the graph of lineage, such as `training-set/ts_1` or `dataset/purchases@9f2c`.
        digest: of the content.
        tables: versions of lake tables that it was made from, such as `sources/purchases@3`.
        context: what for, such as `training` or `evaluation`; empty when nothing says it.
    """

    subject: str
    digest: str
    tables: tuple[str, ...] = ()
    context: str = ""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A name under which versions are registered."""

    name: str
    description: str = ""
    declaration: dict[str, Any] | None = None
    """The project's declaration as JSON; None when the model was created through another door."""
    tags: dict[str, str] = {}
    latest_number: int = 0
    archived: bool = False
    created_by: str
    created_at: datetime
    updated_at: datetime


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable model directory with its origin; only stage, description, tags and owner change.

    What its run tells later, or lies in files that have to be read, is filled in afterwards, once.
    """

    model: str
    number: int
    digest: str
    """Digest of the canonical file listing: equal digests mean equal bytes."""
    files: tuple[ModelFile, ...]
    stage: Stage = Stage.NONE
    run_id: str | None = None
    artifact_prefix: str = ""
    source: str | None = None
    """Where another door took the files from, verbatim."""
    signature: dict[str, Any] | None = None
    profile: str | None = None
    """Blob digest of the reference profile."""
    training_set_id: str | None = None
    data: tuple[DataUse, ...] = ()
    bundle_digest: str | None = None
    """The code itself, exactly, where a project's pipeline made the version."""
    environment_digest: str | None = None
    """The packages that it needs; `/api/v1/environments/{digest}` names them."""
    code_commit: str | None = None
    code_dirty: bool | None = None
    """Whether the code differed from the commit; None when nothing says it."""
    code_diff: str | None = None
    """Blob digest of those differences, as `git apply` takes them."""
    entity_key: str | None = None
    feature_views: tuple[FeatureUse, ...] = ()
    params: dict[str, Any] = {}
    metrics: dict[str, Estimate] = {}
    tags: dict[str, str] = {}
    description: str = ""
    owner: str = ""
    """Who is asked about it: a person or a team. The author, until somebody says otherwise."""
    author: str
    """Who answers for its making: four eyes never counts this principal twice."""
    created_by: str
    created_at: datetime
    updated_at: datetime


class RegisterVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to register a version. Give `run_id` (with `artifact_prefix`) or `source`.

    What is not given and the run knows is taken from the run.

    Attributes:
        made_from: what else the files are of: `logged-model/<id>`, or for a copy `version/<model>/<number>`.
    """

    model: str
    files: tuple[ModelFile, ...]
    run_id: str | None = None
    artifact_prefix: str = ""
    source: str | None = None
    signature: dict[str, Any] | None = None
    profile: str | None = None
    training_set_id: str | None = None
    data: tuple[DataUse, ...] = ()
    bundle_digest: str | None = None
    environment_digest: str | None = None
    code_commit: str | None = None
    code_dirty: bool | None = None
    code_diff: str | None = None
    entity_key: str | None = None
    feature_views: tuple[FeatureUse, ...] = ()
    params: dict[str, Any] = {}
    metrics: dict[str, Estimate] = {}
    tags: dict[str, str] = {}
    description: str = ""
    owner: str = ""
    made_from: str | None = None

    def origin(self) -> str:
        """What makes a second registration the same one."""
        return f"run/{self.run_id}/{self.artifact_prefix}" if self.run_id else f"source/{self.source}"


class RegistryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A search for registered models or for versions.

    Attributes:
        filter: what is looked for, such as `name LIKE 'churn%' AND tags.team = 'growth'`; versions have also
            `version_number`, `run_id`, `source_path`, `owner`, `stage` and `alias`.
        order_by: what it is sorted by, such as `last_updated_timestamp DESC`.
        cursor: where the page before ended, as that page said; empty for the first page.
    """

    filter: str = ""
    order_by: tuple[str, ...] = ()
    limit: int = 100
    cursor: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version stands, and who is asked about it."""

    model: str
    number: int
    stage: Stage
    owner: str
    registered_at: datetime


class StageChange(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a model's stage history."""

    model: str
    number: int
    before: Stage
    after: Stage
    reason: str
    grounds: str = ""
    """What allowed it: `approval <id>`, `release <id>`, `rollback`; empty where no policy governs it."""
    actor: str
    at: datetime
    event_seq: int


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A free name for one version of a model."""

    model: str
    alias: str
    number: int


class ModelDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A model with its versions, newest first."""

    model: Model
    versions: tuple[Version, ...]
    aliases: tuple[Alias, ...]
    production: int | None
    """The number of the version in production."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate or a check found, complete enough that anyone can compute it again."""

    id: str = ""
    """Given when it is recorded."""
    model: str
    number: int
    release_id: str | None = None
    attempt: int = 0
    kind: str
    """`gate`, `check` or `staging`."""
    name: str
    """The declaration in short, for people, like `roc_auc at least 0.7`."""
    gate: str = ""
    """The kind of the declaration, like `not_worse_than_production`; with the metric, what policies ask for."""
    declaration: dict[str, Any] = {}
    """What it was judged by, as the project declared it; the bounds of policies are asked of this."""
    verdict: Verdict
    metric: str | None = None
    value: float | None = None
    """The estimate: the metric, or its difference to production."""
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    """Coverage of the two-sided interval from low to high."""
    margin: float | None = None
    """The threshold, or the non-inferiority margin."""
    sample_size: int | None = None
    smallest_detectable_effect: float | None = None
    production_number: int | None = None
    cohort: datetime | None = None
    """Business time as of which the rows were scored; None for the version's own hold-out."""
    scores: str | None = None
    """Blob digest of the parquet file with every row's label and scores."""
    summary: str = ""
    details: dict[str, Any] = {}
    recorded_at: datetime | None = None

    @property
    def judged_by(self) -> Judge | None:
        """The declaration; None when there is none that can be read."""
        try:
            return msgspec.convert(self.declaration, Judge)
        except (msgspec.ValidationError, ProjectError):
            return None


def directory_digest(files: tuple[ModelFile, ...]) -> str:
    """The digest of a model directory: SHA-256 over its sorted listing of path, digest and size."""
    listing = sorted((file.path, file.digest, file.size_bytes) for file in files)
    return "sha256:" + hashlib.sha256(msgspec.json.encode(listing)).hexdigest()
