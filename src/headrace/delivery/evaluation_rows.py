"""The rows that versions are judged on, and how each version scores them: one set of rows, to each its features.

Work-side. A version reads the views that it was trained with; when candidate and production differ in them, the
rows are joined by the entity's key, so that both still answer about the same entities at the same moment.
"""

import hashlib
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.errors import InvalidInput, LabelsNotMature, Unavailable
from headrace.kernel.work import WorkContext
from headrace.project.declaration import definition
from headrace.project.feature_view import FeatureView
from headrace.project.model import ModelDeclaration
from headrace.serving.loading.loader import open_loader
from headrace.serving.nouns import ServedVersion
from headrace.training.nouns import TrainingSetManifest, TrainingSetRequest
from headrace.training.training_sets import HOLDOUT, build_training_set, content_digest

Floats = npt.NDArray[np.float64]


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Labelled rows with the features of one version.

    Attributes:
        keys: the entities' keys, shape (rows,).
        labels: 0 or 1, shape (rows,).
        features: float64, NaN for null, shape (rows, columns).
        names: of the columns.
        as_of: the moment of the features, business time.
        training_set_id: what they were read from.
        unlabelled: rows that were left out because nobody knows their label.
    """

    keys: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    features: Floats
    names: tuple[str, ...]
    as_of: datetime
    training_set_id: str
    unlabelled: int = 0


def read(ctx: WorkContext, manifest: TrainingSetManifest, *, holdout_only: bool) -> Rows:
    """The rows of a training set, or of its hold-out, in the order in which they are stored."""
    table = pq.read_table(pa.BufferReader(ctx.blobs.read(manifest.data_digest)))
    if holdout_only:
        table = table.filter(pc.field(HOLDOUT))
    unlabelled = table[manifest.label].null_count
    if unlabelled:
        table = table.filter(pc.field(manifest.label).is_valid())
    return Rows(
        keys=table[manifest.entity_key].to_numpy(zero_copy_only=False),
        labels=table[manifest.label].to_numpy(zero_copy_only=False).astype(np.int64),
        features=matrix(table, manifest.features),
        names=manifest.features,
        as_of=manifest.as_of,
        training_set_id=manifest.id,
        unlabelled=unlabelled,
    )


def matrix(table: pa.Table, names: tuple[str, ...]) -> Floats:
    """Columns as a float64 array of shape (rows, columns), null as NaN."""
    columns = [
        table[name].cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False) for name in names
    ]
    return np.column_stack(columns) if columns else np.empty((table.num_rows, 0))


def manifest_of(ctx: WorkContext, training_set_id: str) -> TrainingSetManifest:
    """A registered training set."""
    return ctx.control.call("GET", f"/api/v1/training-sets/{training_set_id}", returns=TrainingSetManifest)


def build(ctx: WorkContext, request: TrainingSetRequest) -> TrainingSetManifest:
    """Build a training set; data that are still on their way into the lake are worth another attempt.

    Raises:
        LabelsNotMature: the labels are not known at the business clock.
        Unavailable: they are, and the lake does not hold them yet.
    """
    try:
        return build_training_set(ctx, request)
    except LabelsNotMature as problem:
        if ctx.business_now < request.as_of + request.declaration.label.maturity:
            raise
        raise Unavailable(problem.message, where=problem.where, fix=problem.fix) from problem


def of_cohort(ctx: WorkContext, declaration: ModelDeclaration, version: ServedVersion, as_of: datetime) -> Rows:
    """All entities known at a moment, with the features of a version's own views and their labels."""
    own = msgspec.structs.replace(declaration, features=views_of(version))
    request = TrainingSetRequest(declaration=own, as_of=as_of, holdout_fraction=0.0, purpose="verdict")
    manifest = build(ctx, request)
    return read(ctx, manifest, holdout_only=False)


def for_other(ctx: WorkContext, declaration: ModelDeclaration, rows: Rows, version: ServedVersion) -> Rows:
    """The same entities at the same moment, with the features of another version.

    Raises:
        InvalidInput: an entity is unknown to the other version's views at that moment.
    """
    other = of_cohort(ctx, declaration, version, rows.as_of)
    position = {key: index for index, key in enumerate(other.keys.tolist())}
    missing = [key for key in rows.keys.tolist() if key not in position]
    if missing:
        raise InvalidInput(
            f"{len(missing)} of {len(rows.keys)} entities are unknown to version {version.number}",
            where=f"version/{version.model}/{version.number}",
        )
    order = np.array([position[key] for key in rows.keys.tolist()], dtype=np.intp)
    return msgspec.structs.replace(other, keys=rows.keys, labels=rows.labels, features=other.features[order])


def views_of(version: ServedVersion) -> tuple[FeatureView, ...]:
    """The feature views that a version was trained with.

    Raises:
        InvalidInput: it was trained outside of a project, so nobody knows what its columns mean.
    """
    if not version.views:
        raise InvalidInput(
            "the version names no feature views, so its rows cannot be built",
            where=f"version/{version.model}/{version.number}",
            fix="Train it with `headrace train`, or release it under a policy without gates and staging.",
        )
    return tuple(msgspec.convert(view.spec, FeatureView) for view in version.views)


def same_views(first: ServedVersion, second: ServedVersion) -> bool:
    """Whether two versions read the same features."""
    return [definition(view) for view in views_of(first)] == [definition(view) for view in views_of(second)]


def score(ctx: WorkContext, version: ServedVersion, rows: Rows) -> Floats:
    """A version's answers, shape (rows,), computed by a model host of its own process."""
    with open_loader(ctx.settings.home, ctx.blobs).host(version) as host:
        answers: Floats = host.score(rows.features, rows.names)
    return answers


def digest(rows: Rows) -> str:
    """Names the rows that a verdict is made on: whose, with what outcome, as of when; not by which model."""
    who = content_digest(pa.table({"key": pa.array(rows.keys), "label": pa.array(rows.labels)}))
    return f"sha256:{hashlib.sha256(f'{who} {rows.as_of.isoformat()}'.encode()).hexdigest()}"
