"""Where MLflow's clients think that files are, and whose they are.

Below `mlflow-artifacts:/` there are `<experiment>/<run>/artifacts/<path>` for a run's files,
`<experiment>/models/<id>/artifacts/<path>` for a logged model's, and `registered/<name>/<version>/<path>` for those
of a registered version. The last is a place of our own: a version is what was registered, whatever becomes of the
run's files afterwards.
"""

from urllib.parse import quote, unquote

import msgspec

from headrace.errors import InvalidInput, NotFound
from headrace.kernel.database import Tx
from headrace.registry import versions
from headrace.tracking import artifacts, logged_models, runs
from headrace.tracking.paths import FILES, MODELS, confined_folder, model_files, run_files

SCHEME = "mlflow-artifacts:"
REGISTERED = "registered"
VERSION = "version/"


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A place inside an owner; the owner of a registered version's file is `version/<name>/<number>`."""

    owner: str
    path: str


def experiment_uri(experiment_id: str) -> str:
    """Where an experiment's files are."""
    return f"{SCHEME}/{experiment_id}"


def run_uri(experiment_id: str, run_id: str) -> str:
    """Where a run's files are."""
    return run_files(experiment_uri(experiment_id), run_id)


def model_uri(experiment_id: str, model_id: str) -> str:
    """Where a logged model's files are."""
    return model_files(experiment_uri(experiment_id), model_id)


def version_uri(name: str, number: int) -> str:
    """Where a registered version's files are."""
    return f"{SCHEME}/{REGISTERED}/{_segment(name)}/{number}"


def locate(tx: Tx, path: str) -> Location:
    """Whose file a proxied path is.

    Raises:
        InvalidInput: the path is not plain, or of a layout that no client was given.
        NotFound: the run, the model or the version that it names does not exist there.
    """
    segments = confined_folder(path).split("/")
    if segments[0] == REGISTERED and len(segments) >= 3 and segments[2].isdecimal():
        version = versions.get(tx, _name(segments[1]), int(segments[2]))
        return Location(owner=f"{VERSION}{version.model}/{version.number}", path="/".join(segments[3:]))
    if len(segments) >= 4 and segments[1] == MODELS and segments[3] == FILES:
        model = logged_models.get(tx, segments[2], deleted_too=True)
        _require_home(model.experiment_id, segments[0], path)
        return Location(owner=artifacts.model_owner(model.id), path="/".join(segments[4:]))
    if len(segments) >= 3 and segments[2] == FILES:
        run = runs.require(tx, segments[1])
        _require_home(str(run.experiment), segments[0], path)
        return Location(owner=artifacts.run_owner(run.id), path="/".join(segments[3:]))
    raise InvalidInput(
        "Invalid path: files belong to a run, a logged model or a registered version",
        where=f"path {path[:100]!r}",
    )


def locate_uri(tx: Tx, uri: str) -> Location:
    """Whose files an `mlflow-artifacts:` address means, with or without a host in it."""
    rest = uri.removeprefix(SCHEME)
    if rest.startswith("//"):
        rest = rest[2:].partition("/")[2]
    return locate(tx, rest.strip("/"))


def locate_at_root(tx: Tx, uri: str) -> Location | None:
    """Whose files an address at an artifact root means; None when none of a run or a logged model are there."""
    segments = uri.rstrip("/").split("/")
    for depth in range(1, len(segments)):
        if segments[depth] == FILES:
            holder, place = segments[depth - 1], "/".join(segments[: depth + 1])
            path = "/".join(segments[depth + 1 :])
            run = runs.find(tx, holder)
            if run is not None and run.artifact_uri == place:
                return Location(owner=artifacts.run_owner(run.id), path=path)
            model = logged_models.find(tx, holder)
            if model is not None and model.artifact_uri == place:
                return Location(owner=artifacts.model_owner(model.id), path=path)
    return None


def _segment(name: str) -> str:
    """A name as one segment of a path that no client quotes or unquotes: percent-encoding with `~` for `%`."""
    return quote(name, safe="").replace("~", "%7E").replace("%", "~")


def _name(segment: str) -> str:
    return unquote(segment.replace("~", "%"))


def _require_home(actual: str, named: str, path: str) -> None:
    if actual != named:
        raise NotFound(f"No such artifact: '{path}'", where=f"experiment/{named}")
