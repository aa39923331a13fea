"""What an import reads from: one seam for each form in which MLflow keeps its data.

Nothing here needs `mlflow` itself, so that the history of a version that no longer installs can be read too.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from headrace.registry.imported import ImportModel
from headrace.tracking.imported import ImportExperiment, ImportLoggedModel, ImportPoints, ImportRun
from headrace.tracking.nouns import ModelMetric

POINTS_AT_ONCE = 10_000
"""The most points in one record of a series, so that no request grows with a history."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has files.

    Attributes:
        owner: `run/<id>`, `logged-model/<id>`, or `version/<name>/<number>` for files that lie elsewhere.
        uri: where the source says that they are.
    """

    owner: str
    uri: str


class FoundFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a holder; the path is relative, with forward slashes."""

    path: str
    size_bytes: int


class FoundRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the source; its experiment's id is the source's.

    Attributes:
        metrics: the keys of its metrics, where the source has to be asked for each.
    """

    run: ImportRun
    artifact_uri: str
    metrics: tuple[str, ...] = ()


class FoundLoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A logged model of the source with its metrics; its experiment's id is the source's."""

    model: ImportLoggedModel
    metrics: tuple[ModelMetric, ...]
    artifact_uri: str


def holder_of(found: FoundRun | FoundLoggedModel) -> Holder:
    """Who has the files of a run or a logged model."""
    if isinstance(found, FoundRun):
        return Holder(owner=f"run/{found.run.id}", uri=found.artifact_uri)
    return Holder(owner=f"logged-model/{found.model.id}", uri=found.artifact_uri)


class FoundModel(msgspec.Struct, frozen=True, kw_only=True):
    """A registered model of the source.

    Attributes:
        locations: where the files of its versions are, by number.
    """

    model: ImportModel
    locations: Mapping[int, str]


class Source(Protocol):
    """The seam.

    Order: experiments by id; runs from the oldest on, so that the newest come first here too.
    Consistency: a database is read as it was when it was opened; a folder or a server may change meanwhile.
    Problems: a record that cannot be read is left out and said in `problems`, a line each; reading goes on.
    Errors: a source that is not there or is no MLflow raises InvalidInput; one that goes away, Unavailable.
    """

    problems: list[str]

    def experiments(self) -> Iterator[ImportExperiment]:
        """Every experiment, deleted ones too."""
        ...

    def run_count(self) -> int | None:
        """How many runs there are; None when that takes as long as reading them."""
        ...

    def runs(self, experiment: ImportExperiment) -> Iterator[FoundRun]:
        """The runs of an experiment, deleted ones too."""
        ...

    def series(self, found: FoundRun) -> Iterator[ImportPoints]:
        """The whole history of each metric of a run, equal points once, POINTS_AT_ONCE at most in a record."""
        ...

    def logged_models(self, experiment: ImportExperiment) -> Iterator[FoundLoggedModel]:
        """The logged models of an experiment; none before MLflow 3."""
        ...

    def models(self) -> Iterator[FoundModel]:
        """The registered models with their versions and aliases."""
        ...

    def address(self, holder: Holder) -> str:
        """Where the files of a holder are for others too: an absolute path or an address in an object store.

        Empty when it has none, or they are not there. A place that others cannot reach raises InvalidInput.
        """
        ...

    def files(self, holder: Holder) -> list[FoundFile]:
        """The files of a holder, by path; a place that cannot be read is a problem and has none."""
        ...

    def fetch(self, holder: Holder, path: str, to: Path) -> None:
        """Copy one file of a holder to a new file, in constant memory."""
        ...

    def left_behind(self) -> dict[str, int]:
        """What the source has that an import does not carry, with its number."""
        ...

    def close(self) -> None:
        """Let go of the source."""
        ...
