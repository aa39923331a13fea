"""From the address of a model to its files on this machine: a directory, `models:/NAME/3`, `runs:/ID/model`."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import msgspec

from headrace.errors import InvalidInput, NotFound
from headrace.registry.nouns import ModelDetails, Stage, Version
from headrace.sdk.platform import Platform
from headrace.tracking.nouns import Entry

_MODEL = re.compile(r"(?:models:/+)?(?P<name>[^/@:]+)(?:/(?P<which>[^/@]+)|@(?P<alias>[^/@]+))")
_RUN = re.compile(r"runs:/+(?P<run>[^/]+)/(?P<path>.+)")
_NUMBER = re.compile(r"v?([0-9]{1,9})")


class FetchedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model's files on this machine."""

    directory: Path
    digests: dict[str, str] | None
    """What the files of a registered version must be; None for a directory of one's own."""
    name: str
    number: int
    """1 for what is no registered version."""


def fetch_model(address: str, folder: Path, connect: Callable[[], Platform]) -> FetchedModel:
    """Bring a model here; a directory stays where it is.

    Args:
        address: a directory, `models:/NAME/NUMBER`, `models:/NAME/STAGE`, `models:/NAME@ALIAS` (or these without
            `models:/`), or `runs:/ID/PATH`.
        folder: an empty one, for the files.
        connect: gives the platform; called only when it is needed.

    Raises:
        InvalidInput: the address is none.
        NotFound: there is no such model, version, alias or run.
    """
    if (Path(address) / "MLmodel").is_file():
        return FetchedModel(directory=Path(address), digests=None, name=Path(address).resolve().name, number=1)
    run = _RUN.fullmatch(address)
    if run is not None:
        return _from_run(connect(), run["run"], run["path"].rstrip("/"), folder)
    found = _MODEL.fullmatch(address)
    if found is None:
        raise InvalidInput(
            "this is neither a model directory nor the address of a model",
            where=address[:300],
            fix="Name a folder with an MLmodel file, or models:/NAME/NUMBER, models:/NAME@ALIAS, runs:/ID/PATH.",
        )
    platform = connect()
    version = _version(platform, found["name"], found["which"], found["alias"])
    for file in version.files:
        _download(platform, f"/api/v1/blobs/{file.digest}", folder, file.path)
    digests = {file.path: file.digest for file in version.files}
    return FetchedModel(directory=folder, digests=digests, name=version.model, number=version.number)


def digest_of(fetched: FetchedModel) -> str:
    """Of the model's files: those of a registered version are verified against it as they are read."""
    digests = fetched.digests
    if digests is None:
        files = sorted(path for path in fetched.directory.rglob("*") if path.is_file())
        digests = {
            str(path.relative_to(fetched.directory)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }
    return hashlib.sha256(msgspec.json.encode(digests, order="sorted")).hexdigest()


def _version(platform: Platform, name: str, which: str | None, alias: str | None) -> Version:
    asked = which or alias or ""
    number = _NUMBER.fullmatch(asked)
    if number is not None:
        return platform.version(name, int(number[1]))
    details = platform.model(name)
    for known in details.aliases:
        if alias == known.alias:
            return platform.version(name, known.number)
    if which is not None:
        for version in details.versions:  # the newest first
            if which.lower() == "latest" or version.stage.value.lower() == which.lower():
                return version
    raise NotFound(
        f"model {name!r} has no version {asked!r}", where=f"model/{name}", fix=f"It has: {_choices(details)}."
    )


def _choices(details: ModelDetails) -> str:
    numbers = [str(version.number) for version in details.versions[:10]]
    stages = {version.stage.value for version in details.versions if version.stage is not Stage.NONE}
    return ", ".join([*numbers, *sorted(stages), *(f"@{alias.alias}" for alias in details.aliases)]) or "none"


def _from_run(platform: Platform, run: str, path: str, folder: Path) -> FetchedModel:
    waiting, files = [path], []
    while waiting:
        listed = platform.transport.call(
            "GET", f"/api/v1/runs/{quote(run)}/artifacts?folder={quote(waiting.pop())}", returns=list[Entry]
        )
        files += [entry.path for entry in listed if not entry.is_folder]
        waiting += [entry.path for entry in listed if entry.is_folder]
    if not files:
        raise NotFound("the run has no files there", where=f"runs:/{run}/{path}")
    for file in files:
        _download(platform, f"/api/v1/runs/{quote(run)}/artifacts/{quote(file)}", folder, file[len(path) + 1 :])
    return FetchedModel(directory=folder, digests=None, name=path.rpartition("/")[2], number=1)


def _download(platform: Platform, source: str, folder: Path, path: str) -> None:
    target = (folder / path).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise InvalidInput("a file of the model lies outside its folder", where=path[:300])
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.part")
    with platform.transport.download(source) as parts, unfinished.open("wb") as file:
        for part in parts:
            file.write(part)
    shutil.move(unfinished, target)
