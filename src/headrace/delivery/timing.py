"""How long a candidate and production take for one row, on this machine, in turns.

Work-side. Milliseconds are those of this machine at this time. So both models answer the same rows in rounds, first
the one and then the other, the next round the other way round: what else the machine does falls on both.
"""

from contextlib import ExitStack

import numpy as np

from headrace.delivery.evaluation_rows import Rows
from headrace.delivery.findings import Timings
from headrace.kernel.work import WorkContext
from headrace.serving.loading.loader import open_loader
from headrace.serving.nouns import ServedVersion

ROUNDS = 30
CALLS = 100
"""Calls of each model in each round, fewer where they would take longer than the budget."""
LEAST_CALLS = 5
BUDGET_S = 60.0
WARM_UP_CALLS = 20


def time_in_turns(
    ctx: WorkContext, candidate: tuple[ServedVersion, Rows], production: tuple[ServedVersion, Rows] | None
) -> Timings:
    """Time both versions on the same entities, each with its own features.

    Args:
        ctx: of the job.
        candidate: the version and its rows.
        production: the other version and its rows, in the same order; None for a first version.

    Raises:
        ModelFault: a model raised or died.
    """
    models = {"candidate": candidate} | ({} if production is None else {"production": production})
    loader = open_loader(ctx.settings.home, ctx.blobs)
    rounds: list[int] = []
    versions: list[str] = []
    seconds: list[float] = []
    with ExitStack() as stack:
        hosts = {name: stack.enter_context(loader.host(version)) for name, (version, _) in models.items()}
        warm = [
            float(np.median(hosts[name].time_rows(_some(rows, 0, WARM_UP_CALLS), rows.names)))
            for name, (_, rows) in models.items()
        ]
        calls = int(np.clip(BUDGET_S / (ROUNDS * max(sum(warm), 1e-9)), LEAST_CALLS, CALLS))
        for turn in range(ROUNDS):
            for name in sorted(models, reverse=bool(turn % 2)):
                _, rows = models[name]
                taken = hosts[name].time_rows(_some(rows, turn * calls, calls), rows.names)
                rounds += [turn] * len(taken)
                versions += [name] * len(taken)
                seconds += taken.tolist()
            ctx.progress(0.6 + 0.2 * turn / ROUNDS, f"times {calls} calls, round {turn + 1} of {ROUNDS}")
    return Timings(
        rounds=np.array(rounds, dtype=np.int64),
        versions=np.array(versions, dtype=np.str_),
        seconds=np.array(seconds, dtype=np.float64),
    )


def _some(rows: Rows, start: int, number: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """So many rows from a place on, over and over when there are fewer."""
    return np.asarray(rows.features[np.arange(start, start + number) % len(rows.labels)])
