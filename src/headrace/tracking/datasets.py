"""Datasets: which of them the runs of an experiment read, and what for."""

from collections.abc import Sequence

import msgspec

from headrace.kernel.database import Tx
from headrace.tracking import experiments, tables_experiments, tables_runs

LIMIT = 1_000


class DatasetUse(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset that runs of an experiment read; `context` is empty where nothing was said of it."""

    experiment_id: str
    name: str
    digest: str
    context: str


def in_use(tx: Tx, experiment_ids: Sequence[str], *, limit: int = LIMIT) -> list[DatasetUse]:
    """The datasets of some experiments, one line for each context; ids that are no experiments have none.

    Raises:
        InvalidInput: an id is no number.
    """
    wanted = sorted({experiments.number_of(each) for each in experiment_ids})
    numbers = tables_experiments.known_numbers(tx, wanted)
    return [
        DatasetUse(experiment_id=str(experiment), name=name, digest=digest, context=context or "")
        for experiment, name, digest, context in tables_runs.dataset_uses(tx, numbers, limit)
    ]
