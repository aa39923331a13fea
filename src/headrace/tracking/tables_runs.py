"""Statements on runs: their rows, params, tags, and what they read and made."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.kernel.prepared import Dialect, InsertMany, Prepared
from headrace.kernel.schema import from_microseconds, to_microseconds
from headrace.tracking import tables
from headrace.tracking.nouns import (
    Dataset,
    ModelOutput,
    Run,
    RunStatus,
    Selection,
)
from headrace.tracking.stored_runs import DATASET_COLUMNS, METRIC_COLUMNS, RUN_COLUMNS, PairedRun, StoredRun
from headrace.tracking.tables_matching import member

ALL = Selection()
_NEW_RUN = ("workspace", "id", "experiment", "name", "user", "status", "started_at", "artifact_uri")
_CHUNK = 500  # rows named in one IN list


class RunRow(NamedTuple):
    """What verbs need to know of a run before they touch what hangs on it."""

    number: int
    id: str
    experiment: int
    name: str
    status: RunStatus
    ended_at: datetime | None
    deleted: bool
    artifact_uri: str


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The values in parts that fit into one IN list."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


_ADD_RUN = Prepared(
    lambda dialect: (
        dialect.insert(tables.runs)
        .values({name: sa.bindparam(name) for name in _NEW_RUN})
        .on_conflict_do_nothing(index_elements=["id"])
        .returning(tables.runs.c.number)
    )
)
_FIND_RUN = Prepared(
    lambda _: sa.select(
        tables.runs.c.number,
        tables.runs.c.id,
        tables.runs.c.experiment,
        tables.runs.c.name,
        tables.runs.c.status,
        tables.runs.c.ended_at,
        tables.runs.c.deleted_at,
        tables.runs.c.artifact_uri,
    ).where(tables.runs.c.id == sa.bindparam("id"), tables.runs.c.workspace == sa.bindparam("workspace"))
)
_FIND_PARAMS = Prepared(
    lambda dialect: sa.select(tables.params.c.key, tables.params.c.value).where(
        tables.params.c.run == sa.bindparam("run"), dialect.among(tables.params.c.key, "keys")
    )
)
_ADD_PARAMS = InsertMany(tables.params, ("run", "key", "value", "workspace", "experiment"))
_ADD_TAGS = InsertMany(tables.tags, ("run", "key", "value", "workspace", "experiment"), replaced=("value",))


def add_run(
    tx: Tx,
    *,
    id: str,  # noqa: A002
    experiment: int,
    name: str,
    user: str,
    started_at: datetime,
    artifact_uri: str,
) -> int | None:
    """Insert a run that is running; returns its number, or None when the id is taken."""
    found = _ADD_RUN.rows(
        tx,
        workspace=tx.workspace,
        id=id,
        experiment=experiment,
        name=name,
        user=user,
        status=RunStatus.RUNNING.value,
        started_at=to_microseconds(started_at),
        artifact_uri=artifact_uri or None,
    )
    return found[0][0] if found else None


def find_run(tx: Tx, run_id: str) -> RunRow | None:
    """What verbs need of a run."""
    found = _FIND_RUN.rows(tx, id=run_id, workspace=tx.workspace)
    if not found:
        return None
    number, run_id, experiment, name, status, ended_at, deleted_at, uri = found[0]
    ended = None if ended_at is None else from_microseconds(ended_at)
    return RunRow(number, run_id, experiment, name, RunStatus(status), ended, deleted_at is not None, uri or "")


def change_run(tx: Tx, number: int, **values: Any) -> None:
    """Set columns of a run."""
    tx.execute(sa.update(tables.runs).where(tables.runs.c.number == number).values(**values))


_READ_RUN = Prepared(
    lambda _: sa.select(*(tables.runs.c[name] for name in RUN_COLUMNS)).where(
        tables.runs.c.number == sa.bindparam("number")
    )
)


def read_run(tx: Tx, number: int) -> Run:
    """A run with everything that was logged."""
    return read_stored(tx, number).record()


def read_stored(tx: Tx, number: int) -> StoredRun:
    """A run with everything that was logged, as it is stored."""
    return assemble(tx, _READ_RUN.rows(tx, number=number))[0]


def read_params(tx: Tx, run: int, keys: Sequence[str]) -> dict[str, str]:
    """The values of those of the keys that are set."""
    return dict(_FIND_PARAMS.rows(tx, run=run, keys=list(keys)))


_FIND_TAGS = Prepared(
    lambda dialect: sa.select(tables.tags.c.key, tables.tags.c.value).where(
        tables.tags.c.run == sa.bindparam("run"), dialect.among(tables.tags.c.key, "keys")
    )
)


def read_tags(tx: Tx, run: int, keys: Sequence[str]) -> dict[str, str]:
    """The values of those of the tags that are set."""
    return dict(_FIND_TAGS.rows(tx, run=run, keys=list(keys)))


def delete_all(tx: Tx, experiment: int) -> int:
    """Mark the live runs of an experiment as deleted; returns how many those were."""
    live = sa.and_(tables.runs.c.experiment == experiment, tables.runs.c.deleted_at.is_(None))
    return tx.execute(sa.update(tables.runs).where(live).values(deleted_at=tx.now)).rowcount


def restore_all(tx: Tx, experiment: int, deleted_at: datetime) -> int:
    """Bring back the runs of an experiment that were deleted at a moment; returns how many those were."""
    then = sa.and_(tables.runs.c.experiment == experiment, tables.runs.c.deleted_at == deleted_at)
    return tx.execute(sa.update(tables.runs).where(then).values(deleted_at=None)).rowcount


def add_params(tx: Tx, run: int, experiment: int, values: Mapping[str, str]) -> None:
    """Insert params that are not set yet."""
    _ADD_PARAMS.run(tx, [(run, key, value, tx.workspace, experiment) for key, value in values.items()])


def put_tags(tx: Tx, run: int, experiment: int, values: Mapping[str, str]) -> None:
    """Set tags, over what they were."""
    _ADD_TAGS.run(tx, [(run, key, value, tx.workspace, experiment) for key, value in values.items()])


def running_with_tag(tx: Tx, key: str, value: str) -> tuple[str, ...]:
    """The ids of the live runs that carry a tag and still run."""
    query = (
        sa.select(tables.runs.c.id)
        .join(tables.tags, tables.tags.c.run == tables.runs.c.number)
        .where(
            tables.runs.c.workspace == tx.workspace,
            tables.runs.c.status == RunStatus.RUNNING.value,
            tables.runs.c.deleted_at.is_(None),
            tables.tags.c.key == key,
            tables.tags.c.value == value,
        )
    )
    return tuple(tx.execute(query).scalars())


def drop_tag(tx: Tx, run: int, key: str) -> bool:
    """Remove a tag; False when there was none."""
    return (
        tx.execute(sa.delete(tables.tags).where(tables.tags.c.run == run, tables.tags.c.key == key)).rowcount == 1
    )


_PARAMS_OF = Prepared(lambda dialect: _texts(dialect, tables.params))
_TAGS_OF = Prepared(lambda dialect: _texts(dialect, tables.tags))
_SOME_PARAMS_OF = Prepared(lambda dialect: _some(dialect, _texts(dialect, tables.params), tables.params))
_SOME_TAGS_OF = Prepared(lambda dialect: _some(dialect, _texts(dialect, tables.tags), tables.tags))
_SOME_METRICS_OF = Prepared(lambda dialect: _some(dialect, _metrics(dialect), tables.series))
_DATASETS_OF = Prepared(
    lambda dialect: (
        sa.select(
            tables.dataset_inputs.c.run,
            tables.dataset_inputs.c.tags,
            *(tables.datasets.c[name] for name in DATASET_COLUMNS),
        )
        .join(tables.datasets, tables.datasets.c.number == tables.dataset_inputs.c.dataset)
        .where(dialect.among(tables.dataset_inputs.c.run, "runs"))
        .order_by(tables.dataset_inputs.c.run, tables.datasets.c.number)
    )
)
_LINKS_OF = Prepared(
    lambda dialect: (
        sa.select(
            tables.model_links.c.run,
            tables.model_links.c.direction,
            tables.model_links.c.model_id,
            tables.model_links.c.step,
        )
        .where(dialect.among(tables.model_links.c.run, "runs"))
        .order_by(tables.model_links.c.run, tables.model_links.c.model_id)
    )
)


def _texts(dialect: Dialect, table: sa.Table) -> sa.Select[Any]:
    columns = (table.c.run, table.c.key, table.c.value)
    return sa.select(*columns).where(dialect.among(table.c.run, "runs")).order_by(table.c.run, table.c.key)


def _metrics(dialect: Dialect) -> sa.Select[Any]:
    series = tables.series
    columns = (series.c[name] for name in ("run", "key", *METRIC_COLUMNS))
    return sa.select(*columns).where(dialect.among(series.c.run, "runs")).order_by(series.c.run, series.c.key)


_METRICS_OF = Prepared(_metrics)


def _some(dialect: Dialect, query: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    return query.where(dialect.among(table.c.key, "keys"))


def assemble(tx: Tx, rows: Sequence[Any], selection: Selection = ALL) -> list[StoredRun]:
    """Rows of RUN_COLUMNS with what hangs on them, in a fixed number of statements."""
    numbers = [row[0] for row in rows]
    params = _hanging(tx, numbers, selection.params, _PARAMS_OF, _SOME_PARAMS_OF)
    tags = _hanging(tx, numbers, selection.tags, _TAGS_OF, _SOME_TAGS_OF)
    metrics = _hanging(tx, numbers, selection.metrics, _METRICS_OF, _SOME_METRICS_OF)
    read = _by_run(_DATASETS_OF.rows(tx, runs=numbers))
    links = _by_run(_LINKS_OF.rows(tx, runs=numbers))
    none: list[Any] = []
    return [
        StoredRun._make(
            (
                *row,
                params.get(row[0], none),
                tags.get(row[0], none),
                metrics.get(row[0], none),
                read.get(row[0], none),
                links.get(row[0], none),
            )
        )
        for row in rows
    ]


_PARAM_PAIRS = Prepared(lambda dialect: _pairs(dialect, tables.params))
_TAG_PAIRS = Prepared(lambda dialect: _pairs(dialect, tables.tags))
_LATEST_OF = Prepared(
    lambda dialect: (
        sa.select(*(tables.series.c[name] for name in ("run", "key", *METRIC_COLUMNS[:3])))
        .where(dialect.among(tables.series.c.run, "runs"))
        .order_by(tables.series.c.run, tables.series.c.key)
    )
)


def _pairs(dialect: Dialect, table: sa.Table) -> sa.Select[Any]:
    """Keys and values of runs as JSON, one text a run: made in the database, it takes half the time."""
    if dialect.name == "postgresql":
        pair = sa.func.json_build_object("key", table.c.key, "value", table.c.value)
        listed: Any = sa.cast(sa.func.json_agg(pair).aggregate_order_by(table.c.key), sa.Text)
    else:  # grouped along the primary key, so by key too
        listed = sa.func.json_group_array(sa.func.json_object("key", table.c.key, "value", table.c.value))
    return sa.select(table.c.run, listed).where(dialect.among(table.c.run, "runs")).group_by(table.c.run)


def assemble_pairs(tx: Tx, rows: Sequence[Any]) -> list[PairedRun]:
    """Rows of RUN_COLUMNS with what hangs on them, in a fixed number of statements."""
    numbers = [row[0] for row in rows]
    params: dict[int, str] = dict(_PARAM_PAIRS.rows(tx, runs=numbers))
    tags: dict[int, str] = dict(_TAG_PAIRS.rows(tx, runs=numbers))
    metrics = _by_run(_LATEST_OF.rows(tx, runs=numbers))
    read, links = _by_run(_DATASETS_OF.rows(tx, runs=numbers)), _by_run(_LINKS_OF.rows(tx, runs=numbers))
    none: list[Any] = []
    return [
        PairedRun._make(
            (
                *row,
                params.get(row[0], ""),
                tags.get(row[0], ""),
                metrics.get(row[0], none),
                read.get(row[0], none),
                links.get(row[0], none),
            )
        )
        for row in rows
    ]


def _hanging(
    tx: Tx, numbers: list[int], keys: tuple[str, ...] | None, everything: Prepared, some: Prepared
) -> dict[int, list[Any]]:
    if keys is None:
        return _by_run(everything.rows(tx, runs=numbers))
    return _by_run(some.rows(tx, runs=numbers, keys=list(keys))) if keys else {}


def _by_run(rows: Sequence[Any]) -> dict[int, list[Any]]:
    """Rows by their first column, the number of the run, by which they are sorted."""
    return {number: list(group) for number, group in groupby(rows, itemgetter(0))}


def put_dataset(tx: Tx, experiment: int, dataset: Dataset) -> int:
    """The number of a dataset of an experiment, inserted when it is new."""
    key = {"experiment": experiment, "name": dataset.name, "digest": dataset.digest}
    statement = insert(tx, tables.datasets).values(
        workspace=tx.workspace,
        source_type=dataset.source_type,
        source=dataset.source,
        schema=dataset.schema,
        profile=dataset.profile,
        **key,
    )
    tx.execute(statement.on_conflict_do_nothing(index_elements=list(key)))
    return int(tx.execute(sa.select(tables.datasets.c.number).filter_by(**key)).scalar_one())


def dataset_uses(tx: Tx, experiments: Sequence[int], limit: int) -> Sequence[Any]:
    """(experiment, name, digest, context) of the datasets that runs read; the context is a tag of the input."""
    table, inputs = tables.datasets, tables.dataset_inputs
    context = member(inputs.c.tags, "mlflow.data.context", tx.dialect).label("context")
    query = (
        sa.select(table.c.experiment, table.c.name, table.c.digest, context)
        .join(inputs, inputs.c.dataset == table.c.number)
        .where(table.c.experiment.in_(experiments))
        .distinct()
        .order_by(table.c.experiment, table.c.name, table.c.digest, context)
        .limit(limit)
    )
    return tx.execute(query).all()


def put_dataset_input(tx: Tx, run: int, dataset: int, input_tags: dict[str, str]) -> None:
    """Record that a run read a dataset; the first tags stay."""
    statement = insert(tx, tables.dataset_inputs).values(
        run=run, dataset=dataset, workspace=tx.workspace, tags=input_tags
    )
    tx.execute(statement.on_conflict_do_nothing())


def put_model_links(tx: Tx, run: int, direction: str, links: Sequence[ModelOutput]) -> None:
    """Record the models that a run read ("input") or made ("output")."""
    rows = [
        {
            "run": run,
            "direction": direction,
            "model_id": link.model_id,
            "workspace": tx.workspace,
            "step": link.step,
        }
        for link in links
    ]
    if rows:
        tx.execute(insert(tx, tables.model_links).on_conflict_do_nothing(), rows)
