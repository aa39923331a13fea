"""What an import counted, on both sides, so that nothing is lost in silence."""

from collections import Counter

import msgspec

from headrace.registry.imported import ImportModel, ModelHere
from headrace.tracking.imported import ImportExperiment, ImportLoggedModel, ImportRun, LoggedModelHere, RunHere
from headrace.tracking.nouns import Experiment, ModelMetric

EXPERIMENTS = "experiments"
RUNS = "runs"
PARAMS = "params"
POINTS = "metric points"
TAGS = "tags"
INPUTS = "dataset inputs"
LINKS = "models read and made"
LOGGED_MODELS = "logged models"
MODEL_METRICS = "metrics of logged models"
MODELS = "registered models"
VERSIONS = "versions"
STAGES = "versions in a stage"
ALIASES = "aliases"
FILES = "files"
BYTES = "bytes of files"
PLACES = "places of files"

KINDS = (
    EXPERIMENTS, RUNS, PARAMS, POINTS, TAGS, INPUTS, LINKS, LOGGED_MODELS, MODEL_METRICS, MODELS, VERSIONS, STAGES,
    ALIASES, FILES, BYTES, PLACES,
)  # fmt: skip


class Report(msgspec.Struct, kw_only=True):
    """Both sides of an import, or of an export.

    Attributes:
        there: what the source has, by kind.
        here: what the other side has of it.
        new: how many experiments, runs, logged models and registered models were written, by kind.
        problems: what could not be read or kept, a line each.
        left_behind: what is not carried, with its number.
        counted: the kinds that were compared; files only as they were asked for.
    """

    there: Counter[str] = msgspec.field(default_factory=Counter)
    here: Counter[str] = msgspec.field(default_factory=Counter)
    new: Counter[str] = msgspec.field(default_factory=Counter)
    problems: list[str] = msgspec.field(default_factory=list)
    left_behind: dict[str, int] = msgspec.field(default_factory=dict)
    counted: tuple[str, ...] = KINDS

    @property
    def equal(self) -> bool:
        """Whether both sides have the same numbers of everything that was compared."""
        return all(self.there[kind] == self.here[kind] for kind in self.counted)


def of_experiment(found: ImportExperiment | Experiment) -> Counter[str]:
    """An experiment."""
    return Counter({EXPERIMENTS: 1, TAGS: len(found.tags)})


def of_run(found: ImportRun, place: str = "") -> Counter[str]:
    """A run of a source, without its points and files; `place` is where its files stay."""
    return Counter(
        {
            RUNS: 1,
            PARAMS: len(found.params),
            TAGS: len(found.tags),
            INPUTS: len(found.inputs.datasets),
            LINKS: len(set(found.inputs.models)) + len({output.model_id for output in found.outputs}),
            PLACES: bool(place),
        }
    )


def of_run_here(found: RunHere) -> Counter[str]:
    """A run that is here."""
    run = found.run
    return Counter(
        {
            RUNS: 1,
            PARAMS: len(run.params),
            TAGS: len(run.tags),
            INPUTS: len(run.inputs.datasets),
            LINKS: len(run.inputs.models) + len(run.outputs),
            POINTS: found.points,
            FILES: found.held.files,
            BYTES: found.held.size_bytes,
            PLACES: bool(run.artifact_uri),
        }
    )


def of_logged_model(found: ImportLoggedModel, metrics: tuple[ModelMetric, ...], place: str = "") -> Counter[str]:
    """A logged model of a source, without its files; `place` is where they stay."""
    return Counter(
        {
            LOGGED_MODELS: 1,
            PARAMS: len(found.params),
            TAGS: len(found.tags),
            MODEL_METRICS: len(metrics),
            PLACES: bool(place),
        }
    )


def of_logged_model_here(found: LoggedModelHere) -> Counter[str]:
    """A logged model that is here."""
    return Counter(
        {
            LOGGED_MODELS: 1,
            PARAMS: len(found.model.params),
            TAGS: len(found.model.tags),
            MODEL_METRICS: len(found.model.metrics),
            FILES: found.held.files,
            BYTES: found.held.size_bytes,
            PLACES: bool(found.model.artifact_uri),
        }
    )


def of_model(found: ImportModel) -> Counter[str]:
    """A registered model of a source."""
    return Counter(
        {
            MODELS: 1,
            VERSIONS: len(found.versions),
            STAGES: sum(version.stage.value != "None" for version in found.versions),
            TAGS: len(found.tags) + sum(len(version.tags) for version in found.versions),
            ALIASES: len(found.aliases),
        }
    )


def of_model_here(found: ModelHere) -> Counter[str]:
    """A registered model that is here."""
    if found.model is None:
        return Counter()
    return Counter(
        {
            MODELS: 1,
            VERSIONS: len(found.versions),
            STAGES: sum(version.stage.value != "None" for version in found.versions),
            TAGS: len(found.model.tags) + sum(len(version.tags) for version in found.versions),
            ALIASES: len(found.aliases),
        }
    )
