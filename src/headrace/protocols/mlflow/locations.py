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
from headrace.tracking.nouns import Entry
from headrace.tracking.paths import confined, confined_folder

SCHEME = "mlflow-artifacts:"
REGISTERED = "registered"


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A place inside an owner; the owner of a registered version's file is `version/<name>/<number>`."""

    owner: str
    path: str


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file to send."""

    path: str
    digest: str
    size_bytes: int


def experiment_uri(experiment_id: str) -> str:
    """Where an experiment's files are."""
    return f"{SCHEME}/{experiment_id}"


def run_uri(experiment_id: str, run_id: str) -> str:
    """Where a run's files are."""
    return f"{SCHEME}/{experiment_id}/{run_id}/artifacts"


def model_uri(experiment_id: str, model_id: str) -> str:
    """Where a logged model's files are."""
    return f"{SCHEME}/{experiment_id}/models/{model_id}/artifacts"


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
        return Location(owner=f"version/{version.model}/{version.number}", path="/".join(segments[3:]))
    if len(segments) >= 4 and segments[1] == "models" and segments[3] == "artifacts":
        model = logged_models.get(tx, segments[2], deleted_too=True)
        _require_home(model.experiment_id, segments[0], path)
        return Location(owner=artifacts.model_owner(model.id), path="/".join(segments[4:]))
    if len(segments) >= 3 and segments[2] == "artifacts":
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


def find_file(tx: Tx, location: Location) -> File:
    """The file at a place.

    Raises:
        NotFound: there is none.
    """
    if not location.owner.startswith("version/"):
        artifact = artifacts.get(tx, location.owner, location.path)
        return File(path=artifact.path, digest=artifact.digest, size_bytes=artifact.size_bytes)
    for file in files_under(tx, Location(owner=location.owner, path="")):
        if file.path == confined(location.path):
            return file
    raise NotFound(f"No such artifact: '{location.path}'", where=location.owner)


def files_under(tx: Tx, location: Location) -> list[File]:
    """Every file below a place, with paths relative to it."""
    prefix = f"{location.path}/" if location.path else ""
    if location.owner.startswith("version/"):
        _, name, number = location.owner.split("/")
        found = [
            File(path=file.path, digest=file.digest, size_bytes=file.size_bytes)
            for file in versions.get(tx, name, int(number)).files
            if file.path.startswith(prefix)
        ]
    else:
        found = [
            File(path=artifact.path, digest=artifact.digest, size_bytes=artifact.size_bytes)
            for artifact in artifacts.under(tx, location.owner, location.path)
        ]
    return [
        File(path=file.path.removeprefix(prefix), digest=file.digest, size_bytes=file.size_bytes) for file in found
    ]


def listing(tx: Tx, location: Location) -> list[Entry]:
    """The files and folders directly at a place, with paths relative to the owner."""
    if not location.owner.startswith("version/"):
        return list(artifacts.listing(tx, location.owner, location.path))
    entries: dict[str, Entry] = {}
    prefix = f"{location.path}/" if location.path else ""
    for file in files_under(tx, location):
        name, slash, _ = file.path.partition("/")
        entries[name] = Entry(
            path=prefix + name, is_folder=bool(slash), size_bytes=None if slash else file.size_bytes
        )
    return [entries[name] for name in sorted(entries)]


def _segment(name: str) -> str:
    """A name as one segment of a path that no client quotes or unquotes: percent-encoding with `~` for `%`."""
    return quote(name, safe="").replace("~", "%7E").replace("%", "~")


def _name(segment: str) -> str:
    return unquote(segment.replace("~", "%"))


def _require_home(actual: str, named: str, path: str) -> None:
    if actual != named:
        raise NotFound(f"No such artifact: '{path}'", where=f"experiment/{named}")
