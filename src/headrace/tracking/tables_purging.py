"""Statements that remove for good what was deleted long enough ago, unless somebody holds it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from headrace.kernel import tables as kernel
from headrace.kernel.database import Tx
from headrace.tracking import tables
from headrace.tracking.tables_runs import chunks


class Sizes(NamedTuple):
    """What would be removed; `bytes` are those of the files."""

    experiments: int
    runs: int
    logged_models: int
    points: int
    files: int
    bytes: int


def _kept(tx: Tx, table: sa.Table, kind: str, before: datetime) -> Any:
    """What stays: not deleted, deleted lately, or held."""
    lately = sa.or_(table.c.deleted_at.is_(None), table.c.deleted_at > before)
    return sa.or_(lately, _held(tx, kind, table.c.id))


def _held(tx: Tx, kind: str, identity: Any) -> Any:
    pins = kernel.pins
    return sa.exists().where(pins.c.workspace == tx.workspace, pins.c.resource == sa.literal(f"{kind}/") + identity)


def _deleted(tx: Tx, table: sa.Table, before: datetime) -> list[Any]:
    return [table.c.workspace == tx.workspace, table.c.deleted_at.is_not(None), table.c.deleted_at <= before]


def runs(tx: Tx, before: datetime, *, held: bool, limit: int, only: str | None = None) -> list[str]:
    """The ids of runs that were deleted before a time: those that somebody holds, or the others."""
    return _found(tx, tables.runs, "run", before, held=held, limit=limit, only=only)


def models(tx: Tx, before: datetime, *, held: bool, limit: int, only: str | None = None) -> list[str]:
    """The ids of logged models, likewise."""
    return _found(tx, tables.logged_models, "logged-model", before, held=held, limit=limit, only=only)


def _found(
    tx: Tx, table: sa.Table, kind: str, before: datetime, *, held: bool, limit: int, only: str | None
) -> list[str]:
    pinned = _held(tx, kind, table.c.id)
    query = sa.select(table.c.id).where(*_deleted(tx, table, before), pinned if held else sa.not_(pinned))
    if only is not None:
        query = query.where(table.c.id == only)
    return list(tx.execute(query.order_by(table.c.deleted_at, table.c.id).limit(limit)).scalars())


def empty_experiments(tx: Tx, before: datetime, limit: int) -> list[int]:
    """The numbers of experiments that were deleted before a time and have neither runs nor logged models."""
    table = tables.experiments
    without = [
        ~sa.exists().where(inner.c.experiment == table.c.number) for inner in (tables.runs, tables.logged_models)
    ]
    query = sa.select(table.c.number).where(*_deleted(tx, table, before), *without, table.c.number != 0)
    return [int(number) for number in tx.execute(query.order_by(table.c.number).limit(limit)).scalars()]


def sizes(tx: Tx, before: datetime) -> Sizes:
    """What would be removed: experiments, runs, logged models, points, files and their bytes."""
    run, model, artifact = tables.runs, tables.logged_models, tables.artifacts
    going = sa.select(run.c.number).where(*_deleted(tx, run, before), ~_held(tx, "run", run.c.id))
    models_going = sa.select(model.c.id).where(*_deleted(tx, model, before), ~_held(tx, "logged-model", model.c.id))
    series = sa.select(tables.series.c.number).where(tables.series.c.run.in_(going))
    owners = sa.union_all(
        sa.select((sa.literal("run/") + run.c.id).label("owner")).where(run.c.number.in_(going)),
        sa.select((sa.literal("logged-model/") + model.c.id).label("owner")).where(model.c.id.in_(models_going)),
    ).subquery()
    files = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(artifact.c.size_bytes), 0)).where(
        artifact.c.workspace == tx.workspace, artifact.c.owner.in_(sa.select(owners.c.owner))
    )
    found: Any = tx.execute(files).one()
    left = [
        ~sa.exists().where(table.c.experiment == tables.experiments.c.number, _kept(tx, table, kind, before))
        for table, kind in ((run, "run"), (model, "logged-model"))
    ]
    emptied = sa.select(tables.experiments.c.number).where(
        *_deleted(tx, tables.experiments, before), *left, tables.experiments.c.number != 0
    )
    return Sizes(
        experiments=_count(tx, emptied),
        runs=_count(tx, going),
        logged_models=_count(tx, models_going),
        points=_count(tx, sa.select(tables.points.c.series).where(tables.points.c.series.in_(series))),
        files=int(found[0]),
        bytes=int(found[1]),
    )


def _count(tx: Tx, query: sa.Select[Any]) -> int:
    return int(tx.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())


def drop_run(tx: Tx, run: int) -> int:
    """Remove a run with all that it logged, its files apart; returns how many points those were."""
    series = sa.select(tables.series.c.number).where(tables.series.c.run == run)
    points = tx.execute(sa.delete(tables.points).where(tables.points.c.series.in_(series))).rowcount
    inputs = tables.dataset_inputs
    read = tx.execute(sa.select(inputs.c.dataset).where(inputs.c.run == run)).scalars().all()
    for table in (
        tables.series,
        tables.params,
        tables.tags,
        tables.dataset_inputs,
        tables.model_links,
        tables.model_metrics,
    ):
        tx.execute(sa.delete(table).where(table.c.run == run))
    unread = ~sa.exists().where(inputs.c.dataset == tables.datasets.c.number)
    for some in chunks(read):  # a description may hold as much as what was logged
        tx.execute(sa.delete(tables.datasets).where(tables.datasets.c.number.in_(some), unread))
    tx.execute(sa.delete(tables.runs).where(tables.runs.c.number == run))
    return points


def drop_model(tx: Tx, model_id: str) -> None:
    """Remove a logged model with its metrics and links, its files apart."""
    for table in (tables.model_metrics, tables.model_links):
        tx.execute(sa.delete(table).where(table.c.model_id == model_id))
    tx.execute(sa.delete(tables.logged_models).where(tables.logged_models.c.id == model_id))


def drop_experiment(tx: Tx, number: int) -> None:
    """Remove an experiment that has no runs and no logged models, with its datasets."""
    tx.execute(sa.delete(tables.datasets).where(tables.datasets.c.experiment == number))
    tx.execute(sa.delete(tables.experiments).where(tables.experiments.c.number == number))


def drop_files(tx: Tx, owner: str) -> tuple[int, int]:
    """Forget the files of an owner; returns how many, and their bytes. Blobs stay until they are collected."""
    table = tables.artifacts
    mine = (table.c.workspace == tx.workspace, table.c.owner == owner)
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(table.c.size_bytes), 0)).where(*mine)
    found: Any = tx.execute(query).one()
    tx.execute(sa.delete(table).where(*mine))
    return int(found[0]), int(found[1])


def needed(tx: Tx, digests: Sequence[str]) -> set[str]:
    """Those blobs that a file or a pin of any workspace names."""
    files = sa.select(tables.artifacts.c.digest).where(tables.artifacts.c.digest.in_(digests))
    held = sa.select(kernel.pins.c.resource).where(
        kernel.pins.c.resource.in_([f"blob/{digest}" for digest in digests])
    )
    found = {str(digest) for digest in tx.execute(files).scalars()}
    return found | {str(resource).removeprefix("blob/") for resource in tx.execute(held).scalars()}
