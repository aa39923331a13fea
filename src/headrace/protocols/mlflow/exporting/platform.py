"""Reading this platform for an export, page by page, through the API that everybody has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from headrace.client.transport import Transport
from headrace.registry.imported import ModelHere, ModelName
from headrace.registry.nouns import Model
from headrace.tracking.imported import ImportFile
from headrace.tracking.nouns import (
    Experiment,
    ExperimentQuery,
    LoggedModel,
    LoggedModelOrder,
    LoggedModelQuery,
    MetricPage,
    MetricPoint,
    Run,
    RunPage,
    RunQuery,
)

T = TypeVar("T")

RUNS_AT_ONCE = 100
MODELS_AT_ONCE = 100


class ExperimentPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of experiments."""

    experiments: tuple[Experiment, ...]
    next_cursor: str = ""


class LoggedModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of logged models."""

    logged_models: tuple[LoggedModel, ...]
    next_cursor: str = ""


class PlatformReader:
    """Everything of a platform that an export carries.

    Args:
        transport: to the platform.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def experiments(self) -> Iterator[Experiment]:
        """Every experiment, deleted ones too."""
        cursor = ""
        while True:
            query = ExperimentQuery(deleted=None, order_by=("creation_time",), cursor=cursor)
            page = self._ask("experiments/search", query, ExperimentPage)
            yield from page.experiments
            cursor = page.next_cursor
            if not cursor:
                return

    def runs(self, experiment: Experiment) -> Iterator[Run]:
        """The runs of an experiment, deleted ones too."""
        cursor = ""
        while True:
            query = RunQuery(experiment_ids=(experiment.id,), deleted=None, limit=RUNS_AT_ONCE, cursor=cursor)
            page = self._ask("runs/search", query, RunPage)
            yield from page.runs
            cursor = page.next_cursor
            if not cursor:
                return

    def history(self, run: Run, key: str) -> Iterator[MetricPoint]:
        """The points of a metric."""
        cursor = ""
        while True:
            path = f"/api/v1/runs/{run.id}/metrics/{quote(key)}"
            page = self._transport.call("GET", path, returns=MetricPage, query={"cursor": cursor})
            yield from page.points
            cursor = page.next_cursor
            if not cursor:
                return

    def logged_models(self, experiment: Experiment) -> Iterator[LoggedModel]:
        """The live logged models of an experiment."""
        cursor = ""
        while True:
            query = LoggedModelQuery(
                experiment_ids=(experiment.id,),
                order_by=(LoggedModelOrder(key="creation_timestamp"),),
                limit=MODELS_AT_ONCE,
                cursor=cursor,
            )
            page = self._ask("logged-models/search", query, LoggedModelPage)
            yield from page.logged_models
            cursor = page.next_cursor
            if not cursor:
                return

    def models(self) -> Iterator[ModelHere]:
        """The registered models with all of their versions and aliases."""
        after = ""
        while page := self._transport.call(
            "GET", "/api/v1/models", returns=tuple[Model, ...], query={"after": after}
        ):
            for model in page:
                yield self._ask("import/models/look", ModelName(name=model.name), ModelHere)
            after = page[-1].name

    def files(self, owner: str) -> tuple[ImportFile, ...]:
        """The files of a run or a logged model."""
        query = {"owner": owner}
        return self._transport.call("GET", "/api/v1/export/files", returns=tuple[ImportFile, ...], query=query)

    def fetch(self, digest: str, to: Path) -> None:
        """Copy a blob into a new file, in constant memory."""
        with self._transport.download(f"/api/v1/blobs/{digest}") as chunks, to.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)

    def _ask(self, what: str, body: Any, returns: type[T]) -> T:
        return self._transport.call("POST", f"/api/v1/{what}", body, returns=returns, repeatable=True)
