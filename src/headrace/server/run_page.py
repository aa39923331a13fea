"""The page at `/runs/ID`: one run, its curves, what it was given and what it left."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response

from headrace.errors import PolicyRefused, Unavailable
from headrace.kernel.access import Role
from headrace.kernel.database import Tx
from headrace.server.html import page
from headrace.tracking import artifacts, experiments, history, runs
from headrace.tracking.files import Files
from headrace.tracking.nouns import Dataset, Entry, MetricSummary, Run

SYSTEM = "system/"
PLACES = ("uri", "url", "path")
"""What MLflow's kinds of sources call where they are."""

CURVES = 24
CURVE_POINTS = 10_000
WIDTH, HEIGHT = 400, 48
COLUMNS = 200


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A metric with its curve, as the points of an SVG polyline; empty when it has fewer than two numbers."""

    key: str
    summary: MetricSummary
    points: str


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows; `machine` holds the system metrics, `files_problem` why its files are not listed."""

    run: Run
    experiment: str
    curves: tuple[Curve, ...]
    machine: tuple[Curve, ...]
    files: tuple[Entry, ...]
    files_problem: str

    def place_of(self, dataset: Dataset) -> str:
        """Where data were read from; nothing for what was made in the program."""
        try:
            described = msgspec.json.decode(dataset.source, type=dict[str, Any])
        except msgspec.MsgspecError:
            return dataset.source
        places = [str(described[key]) for key in PLACES if described.get(key)]
        return places[0] if places else "" if set(described) <= {"tags"} else dataset.source


@get("/runs/{run_id:str}", include_in_schema=False)
async def run_page(run_id: FromPath[str], files: NamedDependency[Files]) -> Response[str]:
    """One run."""
    try:
        listed, problem = await files.listing(artifacts.run_owner(run_id)), ""
    except (PolicyRefused, Unavailable) as error:  # its files are elsewhere, and all the rest can be shown
        listed, problem = (), error.message
    view = await files.transactions.read(lambda tx: read_view(tx, run_id, listed, problem))
    return page("run.html", view=view)


def read_view(tx: Tx, run_id: str, files: tuple[Entry, ...], files_problem: str = "") -> RunView:
    """Read it on one snapshot.

    Raises:
        NotFound: there is no such run.
    """
    run = runs.get(tx, run_id)
    own = sorted(key for key in run.metrics if not key.startswith(SYSTEM))
    machine = sorted(key for key in run.metrics if key.startswith(SYSTEM))
    return RunView(
        run=run,
        experiment=experiments.get(tx, run.experiment_id).name,
        curves=_curves(tx, run, own),
        machine=_curves(tx, run, machine),
        files=files,
        files_problem=files_problem,
    )


def _curves(tx: Tx, run: Run, keys: Sequence[str]) -> tuple[Curve, ...]:
    """Metrics with their curves, as many as a page can draw."""
    curves: list[Curve] = []
    for place, key in enumerate(keys):
        points = history.read(tx, run.id, key, limit=CURVE_POINTS) if place < CURVES else None
        drawn = "" if points is None else polyline(points.steps, points.values)
        curves.append(Curve(key=key, summary=run.metrics[key], points=drawn))
    return tuple(curves)


def polyline(steps: Sequence[int], values: Sequence[float]) -> str:
    """A curve as points of an SVG polyline; of each column of pixels the lowest and the highest value are kept."""
    finite = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = min(value for _, value in finite), max(value for _, value in finite)
    first, last = finite[0][0], finite[-1][0]
    columns: dict[int, list[float]] = {}
    for place, (step, value) in enumerate(finite):
        share = (step - first) / (last - first) if last > first else place / (len(finite) - 1)
        columns.setdefault(round(share * COLUMNS), []).append(value)
    spread = high / 2 - low / 2  # halves, since the whole may be more than a float holds
    drawn: list[str] = []
    for column, found in sorted(columns.items()):
        for value in dict.fromkeys((found[0], min(found), max(found), found[-1])):
            height = (value / 2 - low / 2) / spread if spread else 0.5
            drawn.append(f"{column * WIDTH / COLUMNS:g},{(1 - height) * (HEIGHT - 4) + 2:.1f}")
    return " ".join(drawn)


HANDLERS = [run_page]
AUTHORIZATION = {"GET /runs/{run_id}": Role.VIEWER}
