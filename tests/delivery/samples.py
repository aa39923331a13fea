"""Samples of rows with scores, as a worker makes them, for tests of what is found in them."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.delivery.findings import Sample, Timings

Array = npt.NDArray[Any]
ROWS = 2_000


def sample(seed: int = 0, *, rows: int = ROWS, loss: float = 0.0, gap: float = 0.0) -> Sample:
    """Calibrated scores of production, and of a candidate that is alike or worse by `loss`.

    Rows are grouped by region (n, s) and age; the candidate's scores of region s are lower by `gap`.
    """
    generator = np.random.default_rng(seed)
    odds = generator.normal(size=rows)
    labels = (generator.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    region = np.array(["n", "s"], dtype="U8")[generator.integers(2, size=rows)]
    age = np.array(["young", "old", "older"], dtype="U8")[generator.integers(3, size=rows)]
    noise = generator.normal(scale=0.1 + 3.0 * loss, size=rows)
    return Sample(
        keys=np.arange(rows),
        labels=labels,
        candidate=1 / (1 + np.exp(-odds - noise + gap * (region == "s"))),
        production=1 / (1 + np.exp(-odds - generator.normal(scale=0.1, size=rows))),
        groups={"region": region, "age": age},
        size_bytes=5_000,
    )


def changed(one: Sample, **changes: Any) -> Sample:
    return msgspec.structs.replace(one, **changes)


def timings(times: float = 1.0, *, rounds: int = 30, calls: int = 40) -> Timings:
    """Calls in turns on a machine whose rounds differ; the candidate takes so many times as long as production."""
    generator = np.random.default_rng(1)
    load = generator.uniform(1.0, 1.5, size=rounds)
    seconds = np.concatenate([0.001 * load[:, None] * generator.gamma(20.0, 0.05 * factor, size=(rounds, calls))
                              for factor in (times, 1.0)])  # fmt: skip
    return Timings(
        rounds=np.tile(np.repeat(np.arange(rounds), calls), 2),
        versions=np.repeat(["candidate", "production"], rounds * calls),
        seconds=seconds.ravel(),
    )
