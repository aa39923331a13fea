"""Statements on runs: their rows, params, tags, and what they read and made."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.kernel.prepared import InsertMany, Prepared
from headrace.kernel.schema import from_microseconds, to_microseconds
from headrace.tracking import tables
from headrace.tracking.nouns import (
    Dataset,
    DatasetInput,
    Inputs,
    MetricPoint,
    ModelOutput,
    Run,
    RunStatus,
    reading,
)

_RUN_COLUMNS = ("workspace", "id", "experiment", "name", "user", "status", "started_at")
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


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The values in parts that fit into one IN list."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


_ADD_RUN = Prepared(
    lambda dialect: (
        dialect.insert(tables.runs)
        .values({name: sa.bindparam(name) for name in _RUN_COLUMNS})
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
    ).where(tables.runs.c.id == sa.bindparam("id"), tables.runs.c.workspace == sa.bindparam("workspace"))
)
_FIND_PARAMS = Prepared(
    lambda dialect: sa.select(tables.params.c.key, tables.params.c.value).where(
        tables.params.c.run == sa.bindparam("run"), dialect.among(tables.params.c.key, "keys")
    )
)
_ADD_PARAMS = InsertMany(tables.params, ("run", "key", "value", "workspace"))
_ADD_TAGS = InsertMany(tables.tags, ("run", "key", "value", "workspace"), replaced=("value",))


def add_run(tx: Tx, *, id: str, experiment: int, name: str, user: str, started_at: datetime) -> int | None:  # noqa: A002
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
    )
    return found[0][0] if found else None


def find_run(tx: Tx, run_id: str) -> RunRow | None:
    """What verbs need of a run."""
    found = _FIND_RUN.rows(tx, id=run_id, workspace=tx.workspace)
    if not found:
        return None
    number, run_id, experiment, name, status, ended_at, deleted_at = found[0]
    ended = None if ended_at is None else from_microseconds(ended_at)
    return RunRow(number, run_id, experiment, name, RunStatus(status), ended, deleted_at is not None)


def change_run(tx: Tx, number: int, **values: Any) -> None:
    """Set columns of a run."""
    tx.execute(sa.update(tables.runs).where(tables.runs.c.number == number).values(**values))


def read_run(tx: Tx, number: int) -> Run:
    """A run with everything that was logged."""
    return assemble(tx, tx.execute(sa.select(tables.runs).where(tables.runs.c.number == number)).all())[0]


def read_params(tx: Tx, run: int, keys: Sequence[str]) -> dict[str, str]:
    """The values of those of the keys that are set."""
    return dict(_FIND_PARAMS.rows(tx, run=run, keys=list(keys)))


def add_params(tx: Tx, run: int, values: Mapping[str, str]) -> None:
    """Insert params that are not set yet."""
    _ADD_PARAMS.run(tx, [(run, key, value, tx.workspace) for key, value in values.items()])


def put_tags(tx: Tx, run: int, values: Mapping[str, str]) -> None:
    """Set tags, over what they were."""
    _ADD_TAGS.run(tx, [(run, key, value, tx.workspace) for key, value in values.items()])


def drop_tag(tx: Tx, run: int, key: str) -> bool:
    """Remove a tag; False when there was none."""
    return (
        tx.execute(sa.delete(tables.tags).where(tables.tags.c.run == run, tables.tags.c.key == key)).rowcount == 1
    )


def assemble(tx: Tx, rows: Sequence[Any]) -> list[Run]:
    """Rows of runs with what hangs on them, in a fixed number of statements for each chunk."""
    found: list[Run] = []
    for chunk in chunks(rows):
        numbers = [row.number for row in chunk]
        texts = {table: _texts(tx, table, numbers) for table in (tables.params, tables.tags)}
        latest = _latest(tx, numbers)
        read = _dataset_inputs(tx, numbers)
        models = _model_links(tx, numbers)
        found += [
            Run(
                id=row.id,
                experiment_id=str(row.experiment),
                name=row.name,
                user=row.user,
                status=RunStatus(row.status),
                started_at=row.started_at,
                ended_at=row.ended_at,
                deleted=row.deleted_at is not None,
                params=texts[tables.params][row.number],
                tags=texts[tables.tags][row.number],
                metrics=latest[row.number],
                inputs=Inputs(
                    datasets=tuple(read[row.number]),
                    models=tuple(link.model_id for link in models[row.number, "input"]),
                ),
                outputs=tuple(models[row.number, "output"]),
            )
            for row in chunk
        ]
    return found


def _texts(tx: Tx, table: sa.Table, numbers: Sequence[int]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = defaultdict(dict)
    query = sa.select(table.c.run, table.c.key, table.c.value).where(table.c.run.in_(numbers))
    for row in tx.execute(query.order_by(table.c.run, table.c.key)):
        found[row.run][row.key] = row.value
    return found


def _latest(tx: Tx, numbers: Sequence[int]) -> dict[int, dict[str, MetricPoint]]:
    found: dict[int, dict[str, MetricPoint]] = defaultdict(dict)
    query = (
        sa.select(tables.series)
        .where(tables.series.c.run.in_(numbers))
        .order_by(tables.series.c.run, tables.series.c.key)
    )
    for row in tx.execute(query):
        found[row.run][row.key] = MetricPoint(
            key=row.key, value=reading(row.last_value), step=row.last_step, at=row.last_at
        )
    return found


def _dataset_inputs(tx: Tx, numbers: Sequence[int]) -> dict[int, list[DatasetInput]]:
    found: dict[int, list[DatasetInput]] = defaultdict(list)
    query = (
        sa.select(tables.dataset_inputs.c.run, tables.dataset_inputs.c.tags.label("input_tags"), tables.datasets)
        .join(tables.datasets, tables.datasets.c.number == tables.dataset_inputs.c.dataset)
        .where(tables.dataset_inputs.c.run.in_(numbers))
        .order_by(tables.dataset_inputs.c.run, tables.datasets.c.number)
    )
    for row in tx.execute(query):
        dataset = Dataset(
            name=row.name,
            digest=row.digest,
            source_type=row.source_type,
            source=row.source,
            schema=row.schema,
            profile=row.profile,
        )
        found[row.run].append(DatasetInput(dataset=dataset, tags=row.input_tags))
    return found


def _model_links(tx: Tx, numbers: Sequence[int]) -> dict[tuple[int, str], list[ModelOutput]]:
    found: dict[tuple[int, str], list[ModelOutput]] = defaultdict(list)
    query = (
        sa.select(tables.model_links)
        .where(tables.model_links.c.run.in_(numbers))
        .order_by(tables.model_links.c.model_id)
    )
    for row in tx.execute(query):
        found[row.run, row.direction].append(ModelOutput(model_id=row.model_id, step=row.step))
    return found


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
