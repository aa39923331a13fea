"""Runs as they are read: searched, compared, their histories and files fetched."""

import builtins
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload
from urllib.parse import quote

from headrace.client.transport import Transport
from headrace.errors import InvalidInput, MissingExtra
from headrace.tracking.nouns import Entry, MetricPage, MetricPoint, Run, RunPage, RunQuery, Selection

if TYPE_CHECKING:
    import pyarrow as pa

PAGE = 1_000
TIMES = {"started_at", "ended_at"}


class Runs:
    """The runs of one platform."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def search(
        self,
        filter: str = "",  # noqa: A002 - the word of the trade
        *,
        experiment: str | Sequence[str] | None = None,
        order_by: str | Sequence[str] = (),
        params: Sequence[str] | None = None,
        metrics: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        deleted: bool | None = False,
        limit: int | None = None,
    ) -> "FoundRuns":
        """Find runs.

        Args:
            filter: what a run must be, such as `metrics.auc > 0.8 AND NOT params.model = 'tree'`.
            experiment: name of an experiment, or several; None for all.
            order_by: what they are sorted by, such as `max(metrics.auc) DESC`; newest first when it is not given.
            params: keys of the params that come back; None for all of them, likewise `metrics` and `tags`.
            metrics: keys.
            tags: keys.
            deleted: False for live runs, True for deleted ones, None for both.
            limit: how many at most; None for all.

        Raises:
            NotFound: there is no such experiment.
            InvalidInput: the filter or the order cannot be read.
        """
        names = [experiment] if isinstance(experiment, str) else experiment
        ids = None if names is None else tuple(self._experiment_id(name) for name in names)
        found: builtins.list[Run] = []
        cursor = ""
        while limit is None or len(found) < limit:
            query = RunQuery(
                experiment_ids=ids,
                filter=filter,
                order_by=(order_by,) if isinstance(order_by, str) else tuple(order_by),
                select=Selection(params=_keys(params), metrics=_keys(metrics), tags=_keys(tags)),
                deleted=deleted,
                limit=PAGE if limit is None else min(PAGE, limit - len(found)),
                cursor=cursor,
            )
            page = self._transport.call("POST", "/api/v1/runs/search", query, returns=RunPage, repeatable=True)
            found += page.runs
            cursor = page.next_cursor
            if not cursor:
                break
        return FoundRuns(found)

    def get(self, run_id: str) -> Run:
        """One run with its params, tags, metrics, inputs and outputs.

        Raises:
            NotFound: there is none of this id.
        """
        return self._transport.call("GET", f"/api/v1/runs/{quote(run_id, safe='')}", returns=Run)

    def history(self, run_id: str, metric: str) -> builtins.list[MetricPoint]:
        """Every point of a metric, by step, time and value."""
        path = f"/api/v1/runs/{quote(run_id, safe='')}/metrics/{quote(metric, safe='/')}"
        points: builtins.list[MetricPoint] = []
        cursor = ""
        while True:
            page = self._transport.call("GET", path, returns=MetricPage, query={"cursor": cursor or None})
            points += page.points
            cursor = page.next_cursor
            if not cursor:
                return points

    def artifacts(self, run_id: str, folder: str = "") -> builtins.list[Entry]:
        """The files and folders of a run, or of one of its folders."""
        path = f"/api/v1/runs/{quote(run_id, safe='')}/artifacts"
        return self._transport.call("GET", path, returns=builtins.list[Entry], query={"folder": folder or None})

    def download(self, run_id: str, path: str, to: Path) -> Path:
        """Fetch a file of a run, or a folder with all that is in it, into the folder `to`; returns where it is.

        Raises:
            NotFound: the run has no such file.
            InvalidInput: a name in it would leave `to`.
        """
        entries = self.artifacts(run_id, path)
        target = _below(to, path)
        if not entries:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(target.name + ".part")
            address = f"/api/v1/runs/{quote(run_id, safe='')}/artifacts/{quote(path, safe='/')}"
            with self._transport.download(address) as chunks, draft.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            draft.replace(target)
            return target
        target.mkdir(parents=True, exist_ok=True)
        for entry in entries:
            self.download(run_id, entry.path, to)
        return target

    def _experiment_id(self, name: str) -> str:
        answer = self._transport.call("GET", "/api/v1/experiments", returns=dict[str, Any], query={"name": name})
        return str(answer["experiments"][0]["id"])


class FoundRuns(Sequence[Run]):
    """Runs in the order in which they were asked for; a table on request."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = tuple(runs)

    def __len__(self) -> int:
        return len(self._runs)

    @overload
    def __getitem__(self, place: int) -> Run: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Run, ...]: ...
    def __getitem__(self, place: int | slice) -> Run | tuple[Run, ...]:
        return self._runs[place]

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __repr__(self) -> str:
        return f"<{len(self)} runs>"

    def to_arrow(self) -> "pa.Table":
        """A row for each run: its own columns, then `params.…`, `metrics.…` (the last value) and `tags.…`."""
        import pyarrow as pa

        columns: dict[str, builtins.list[Any]] = {
            "run_id": [run.id for run in self],
            "experiment_id": [run.experiment_id for run in self],
            "name": [run.name for run in self],
            "status": [run.status.value for run in self],
            "started_at": [run.started_at for run in self],
            "ended_at": [run.ended_at for run in self],
        }
        for key in sorted({key for run in self for key in run.params}):
            columns[f"params.{key}"] = [run.params.get(key) for run in self]
        for key in sorted({key for run in self for key in run.metrics}):
            found = [run.metrics.get(key) for run in self]
            columns[f"metrics.{key}"] = [None if metric is None else metric.number for metric in found]
        for key in sorted({key for run in self for key in run.tags}):
            columns[f"tags.{key}"] = [run.tags.get(key) for run in self]
        moment, texts, numbers = pa.timestamp("us", "UTC"), pa.string(), pa.float64()
        kinds = {
            name: moment
            if name in {"started_at", "ended_at"}
            else numbers
            if name.startswith("metrics.")
            else texts
            for name in columns
        }
        return pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})

    def to_pandas(self) -> Any:
        """The same as a `pandas.DataFrame`.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            return self.to_arrow().to_pandas()
        except ImportError as error:
            raise MissingExtra(
                "pandas is not installed", fix="Run `pip install pandas`, or use to_arrow()."
            ) from error


def _keys(keys: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if keys is None else tuple(keys)


def _below(folder: Path, path: str) -> Path:
    target = (folder / path).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise InvalidInput("the path of an artifact leaves the folder", where=path, fix="Fetch it by another way.")
    return target
