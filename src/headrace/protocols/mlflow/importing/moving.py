"""An import: everything that a source has, written through control's API, and counted on both sides.

What is here already is looked for page by page; what both sides have alike is skipped, so that an import that was
cut off goes on where it stopped, and one that is repeated changes nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import islice
from typing import Any, TypeVar

import msgspec

from headrace.client.transport import Transport
from headrace.errors import HeadraceError, TooLarge
from headrace.protocols.mlflow.importing import report as counting
from headrace.protocols.mlflow.importing.registered import RegisteredModels
from headrace.protocols.mlflow.importing.report import (
    BYTES,
    FILES,
    KINDS,
    LOGGED_MODELS,
    PLACES,
    POINTS,
    RUNS,
    Report,
)
from headrace.protocols.mlflow.importing.source import FoundLoggedModel, FoundRun, Holder, Source, holder_of
from headrace.protocols.mlflow.importing.uploads import send
from headrace.tracking.imported import (
    SOURCE_ID_TAG,
    Held,
    Here,
    ImportedExperiment,
    ImportExperiment,
    ImportFiles,
    ImportLoggedModel,
    ImportModelMetrics,
    ImportPoints,
    ImportRun,
    Kept,
    LoggedModelHere,
    Look,
    Refusal,
    RunHere,
)
from headrace.tracking.nouns import Experiment, ExperimentQuery

T = TypeVar("T")
R = TypeVar("R", ImportRun, ImportLoggedModel)

AT_ONCE = 100
"""How many runs or logged models are looked for, and written, in one request."""

POINTS_AT_ONCE = 20_000
FILES_AT_ONCE = 5_000
METRICS_AT_ONCE = 10_000

WRITTEN_AT_ONCE_BYTES = 8 * 1024**2
"""Params, tags and descriptions of datasets may be long, and a request has its limit."""


class Carry(StrEnum):
    """What becomes of files.

    The files of registered versions are copied unless all are left: what is registered must not change.
    """

    COPY = "copy"
    REFER = "reference"
    LEAVE = "none"


class ExperimentPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the experiments that are here."""

    experiments: tuple[Experiment, ...]
    next_cursor: str = ""


Tell = Callable[[str, int], None]
"""Hears how many more of a kind are done."""


class Import:
    """One import.

    Args:
        source: what is read.
        transport: to the platform that it is written to.
        files: what becomes of files.
        dry_run: count both sides and write nothing.
        tell: hears of progress.
    """

    def __init__(
        self, source: Source, transport: Transport, *, files: Carry = Carry.COPY, dry_run: bool = False, tell: Tell
    ) -> None:
        self._source = source
        self._transport = transport
        self._files = files
        self._dry_run = dry_run
        self._tell = tell
        self._ids: dict[str, str] = {}
        uncounted = {Carry.COPY: {PLACES}, Carry.REFER: {FILES, BYTES}, Carry.LEAVE: {FILES, BYTES, PLACES}}[files]
        self.report = Report(counted=tuple(kind for kind in KINDS if kind not in uncounted))

    def run(self) -> Report:
        """Move everything, in the order in which one thing needs the other."""
        experiments = list(self._source.experiments())
        self._move_experiments(experiments)
        for experiment in experiments:  # runs of one experiment may have read the models of another
            for models in pages(self._source.logged_models(experiment)):
                self._move_logged_models(models)
        for experiment in experiments:
            for runs in pages(self._source.runs(experiment)):
                self._move_runs(runs)
        for experiment in experiments:
            for models in pages(self._source.logged_models(experiment)):
                self._move_metrics_and_files(models)
        RegisteredModels(
            self._source,
            self._transport,
            self.report,
            files=self._files is not Carry.LEAVE,
            dry_run=self._dry_run,
            tell=self._tell,
        ).move()
        self.report.problems += self._source.problems
        self.report.left_behind = {what: count for what, count in self._source.left_behind().items() if count}
        return self.report

    def _move_experiments(self, experiments: Sequence[ImportExperiment]) -> None:
        for experiment in experiments:
            self.report.there += counting.of_experiment(experiment)
        if self._dry_run:
            names = {experiment.name for experiment in experiments}
            for known in self._experiments_here():
                self.report.here += counting.of_experiment(known) if known.name in names else Counter()
            return
        for some in pages(experiments):
            taken = self._call("experiments", some, tuple[ImportedExperiment, ...])
            for each in taken:
                self._ids[each.source_id] = each.experiment.id
                kept = {key: value for key, value in each.experiment.tags.items() if key != SOURCE_ID_TAG}
                self.report.here += counting.of_experiment(msgspec.structs.replace(each.experiment, tags=kept))
                self._refused(each.refused)
            self._tell(counting.EXPERIMENTS, len(some))

    def _experiments_here(self) -> Iterator[Experiment]:
        cursor = ""
        while True:
            query = ExperimentQuery(deleted=None, cursor=cursor)
            path = "/api/v1/experiments/search"
            page = self._transport.call("POST", path, query, returns=ExperimentPage, repeatable=True)
            yield from page.experiments
            cursor = page.next_cursor
            if not cursor:
                return

    def _move_logged_models(self, found: Sequence[FoundLoggedModel]) -> None:
        """The models themselves, before the runs that read and made them."""
        places = {each.model.id: self._place_of(holder_of(each)) for each in found}
        for each in found:
            self.report.there += counting.of_logged_model(each.model, each.metrics, places[each.model.id])
        if self._dry_run:
            return
        here = self._look(models=found).logged_models
        lacking = [each for each in found if not _has_model(here.get(each.model.id), each)]
        self.report.new[LOGGED_MODELS] += sum(each.model.id not in here for each in lacking)
        if lacking:
            self._write("logged-models", [self._at_home(each.model, places[each.model.id]) for each in lacking])

    def _move_runs(self, found: Sequence[FoundRun]) -> None:
        here = self._look(runs=found).runs
        places = {each.run.id: self._place_of(holder_of(each)) for each in found}
        for each in found:
            self.report.there += counting.of_run(each.run, places[each.run.id])
        lacking = [each for each in found if not _has_run(here.get(each.run.id), each.run)]
        self.report.new[RUNS] += sum(each.run.id not in here for each in lacking)
        before = here
        if lacking and not self._dry_run:
            self._write("runs", [self._at_home(each.run, places[each.run.id]) for each in lacking])
            here = self._look(runs=found).runs
        self._move_points(found, before, here)
        for each in found:
            held = here[each.run.id].held if each.run.id in here else None
            self._move_files(holder_of(each), held)
        if not self._dry_run:
            here = self._look(runs=found).runs
        for run in here.values():
            self.report.here += counting.of_run_here(run)
        self._tell(RUNS, len(found))

    def _move_points(self, found: Sequence[FoundRun], before: dict[str, RunHere], here: dict[str, RunHere]) -> None:
        """Histories; those of a run that was here are counted first, and sent only if a point is missing."""
        waiting: list[ImportPoints] = []
        for each in found:
            present = each.run.id in here and not self._dry_run
            count = 0
            for series in self._source.series(each):
                count += len(series.values)
                if present and each.run.id not in before:
                    waiting = self._put_points(waiting, series)
            self.report.there[POINTS] += count
            if present and each.run.id in before and count != before[each.run.id].points:
                for series in self._source.series(each):
                    waiting = self._put_points(waiting, series)
        if waiting:
            self._write("points", waiting)

    def _put_points(self, waiting: list[ImportPoints], series: ImportPoints) -> list[ImportPoints]:
        """Send what waits once it is enough; returns what waits then."""
        waiting.append(series)
        if sum(len(each.values) for each in waiting) < POINTS_AT_ONCE:
            return waiting
        self._write("points", waiting)
        return []

    def _move_files(self, holder: Holder, held: Held | None) -> None:
        """The files of something that is here; `held` is None when it could not be taken in."""
        if self._files is not Carry.COPY:
            return
        files = self._source.files(holder)
        there = Held(files=len(files), size_bytes=sum(file.size_bytes for file in files))
        self.report.there[FILES] += there.files
        self.report.there[BYTES] += there.size_bytes
        if files and held is not None and held != there and not self._dry_run:
            sent = send(self._source, self._transport, holder, files, self.report.problems)
            for some in pages(sent, FILES_AT_ONCE):
                self._write("files", [ImportFiles(owner=holder.owner, files=tuple(some))])
            self._tell(FILES, len(sent))

    def _move_metrics_and_files(self, found: Sequence[FoundLoggedModel]) -> None:
        """What needs the runs: the metrics that they measured on models; and the models' files."""
        here = self._look(models=found).logged_models
        measured = [
            ImportModelMetrics(model_id=each.model.id, metrics=tuple(some))
            for each in found
            if each.model.id in here and len(each.metrics) != len(here[each.model.id].model.metrics)
            for some in pages(each.metrics, METRICS_AT_ONCE)
        ]
        if measured and not self._dry_run:
            self._write("model-metrics", measured)
        for each in found:
            held = here[each.model.id].held if each.model.id in here else None
            self._move_files(holder_of(each), held)
        if not self._dry_run:
            here = self._look(models=found).logged_models
        for model in here.values():
            self.report.here += counting.of_logged_model_here(model)
        self._tell(LOGGED_MODELS, len(found))

    def _at_home(self, found: R, place: str) -> R:
        """A run or a logged model in its experiment here, which says where its files are if they stay there."""
        home = self._ids[found.experiment_id]
        return msgspec.structs.replace(found, experiment_id=home, artifact_uri=place)

    def _place_of(self, holder: Holder) -> str:
        """Where the files of a holder stay; empty when they are copied, or are nowhere."""
        if self._files is not Carry.REFER:
            return ""
        try:
            return self._source.address(holder)
        except HeadraceError as problem:
            self.report.problems.append(f"{holder.owner}: {problem.message}")
            return ""

    def _look(self, *, runs: Sequence[FoundRun] = (), models: Sequence[FoundLoggedModel] = ()) -> Here:
        wanted = Look(
            runs=tuple(each.run.id for each in runs), logged_models=tuple(each.model.id for each in models)
        )
        return self._call("look", wanted, Here)

    def _write(self, what: str, records: Sequence[Any]) -> None:
        """Write records, as many in a request as fit; one that fits into none is a problem."""
        for some in fitting(records, WRITTEN_AT_ONCE_BYTES):
            try:
                self._refused(self._call(what, some, Kept).refused)
            except TooLarge as problem:
                if len(some) > 1:
                    raise
                self.report.problems.append(f"{_named(some[0])}: {problem.message}")

    def _refused(self, refused: Iterable[Refusal]) -> None:
        self.report.problems += [f"{each.where}: {each.problem}" for each in refused]

    def _call(self, what: str, body: Any, returns: type[T]) -> T:
        return self._transport.call("POST", f"/api/v1/import/{what}", body, returns=returns, repeatable=True)


def pages(found: Iterable[T], count: int = AT_ONCE) -> Iterator[list[T]]:
    """The records in lists of so many."""
    iterator = iter(found)
    while page := list(islice(iterator, count)):
        yield page


def fitting(records: Iterable[T], limit_bytes: int) -> Iterator[list[T]]:
    """The records in lists that are no longer than a limit as JSON, unless it is a single one."""
    some: list[T] = []
    size_bytes = 0
    for record in records:
        own_bytes = len(msgspec.json.encode(record))
        if some and size_bytes + own_bytes > limit_bytes:
            yield some
            some, size_bytes = [], 0
        some.append(record)
        size_bytes += own_bytes
    if some:
        yield some


def _named(record: Any) -> str:
    """A record in the words of a problem."""
    name = next(
        str(getattr(record, field)) for field in ("id", "run_id", "model_id", "owner") if hasattr(record, field)
    )
    return f"{type(record).__name__.removeprefix('Import').lower()} {name}"


def _has_run(here: RunHere | None, run: ImportRun) -> bool:
    """Whether a run that is here lacks nothing of what the source has, points and files aside."""
    if here is None:
        return False
    known = here.run
    return (
        (known.status.ended or known.status is run.status)
        and run.params.keys() <= known.params.keys()
        and run.tags.keys() <= known.tags.keys()
        and len(run.inputs.datasets) <= len(known.inputs.datasets)
        and set(run.inputs.models) <= set(known.inputs.models)
        and {output.model_id for output in run.outputs} <= {output.model_id for output in known.outputs}
    )


def _has_model(here: LoggedModelHere | None, found: FoundLoggedModel) -> bool:
    if here is None:
        return False
    known, model = here.model, found.model
    ready = known.status is model.status or known.status.value != "PENDING"
    return ready and model.params.keys() <= known.params.keys() and model.tags.keys() <= known.tags.keys()
