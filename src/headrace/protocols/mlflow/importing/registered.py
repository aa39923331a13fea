"""Moving registered models: versions are made of files that are here already, or lie where the source says."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from headrace.client.transport import Transport
from headrace.errors import HeadraceError
from headrace.protocols.mlflow.importing import report as counting
from headrace.protocols.mlflow.importing.report import MODELS, Report
from headrace.protocols.mlflow.importing.source import FoundModel, Holder, Source
from headrace.protocols.mlflow.importing.uploads import send
from headrace.registry.imported import ImportVersion, ModelHere, ModelName
from headrace.registry.nouns import ModelFile
from headrace.tracking.imported import Here, Look

T = TypeVar("T")

_PLACES = (
    (re.compile(r"models:/(?P<id>m-[0-9a-f]{32})(?:/(?P<folder>.+))?"), "logged-model"),
    (re.compile(r".*/models/(?P<id>m-[0-9a-f]{32})/artifacts(?:/(?P<folder>.+))?"), "logged-model"),
    (re.compile(r"runs:/(?P<id>[0-9a-f]{32})(?:/(?P<folder>.+))?"), "run"),
    (re.compile(r".*/(?P<id>[0-9a-f]{32})/artifacts(?:/(?P<folder>.+))?"), "run"),
)
"""The addresses under which MLflow knows the files of a run or of a logged model."""


class Place(NamedTuple):
    """Whose files a version is made of, and where they are if not here."""

    owner: str
    folder: str
    elsewhere: str


class RegisteredModels:
    """Moves the registered models of a source; see `Import` for the arguments."""

    def __init__(
        self,
        source: Source,
        transport: Transport,
        report: Report,
        *,
        files: bool,
        dry_run: bool,
        tell: Callable[[str, int], None],
    ) -> None:
        self._source = source
        self._transport = transport
        self._report = report
        self._files = files
        self._dry_run = dry_run
        self._tell = tell

    def move(self) -> None:
        """Move all of them."""
        for found in self._source.models():
            self._report.there += counting.of_model(found.model)
            here = self._call("models/look", ModelName(name=found.model.name), ModelHere)
            self._report.new[MODELS] += here.model is None
            if not self._dry_run:
                here = self._take(found, here)
            self._report.here += counting.of_model_here(here)
            self._tell(MODELS, 1)

    def _take(self, found: FoundModel, here: ModelHere) -> ModelHere:
        complete = {version.number for version in here.versions if version.files or not self._files}
        versions = tuple(
            version if version.number in complete else self._with_files(found, version)
            for version in found.model.versions
        )
        try:
            here = self._call("models", msgspec.structs.replace(found.model, versions=versions), ModelHere)
        except HeadraceError as problem:
            self._report.problems.append(f"model {found.model.name!r}: {problem.message}")
            return here
        self._report.problems += [f"model {found.model.name!r}, {problem}" for problem in here.refused]
        return here

    def _with_files(self, found: FoundModel, version: ImportVersion) -> ImportVersion:
        """A version that says which files it is made of."""
        if not self._files:
            return version
        location = found.locations.get(version.number, "")
        for address in (version.source, location):
            found_here = self._place(address)
            if found_here is not None and not found_here.elsewhere:
                return msgspec.structs.replace(version, owner=found_here.owner, folder=found_here.folder)
            if found_here is not None:
                location = f"{found_here.elsewhere}/{found_here.folder}".rstrip("/")
        holder = Holder(owner=f"version/{found.model.name}/{version.number}", uri=location)
        listed = self._source.files(holder) if location else []
        if not listed:
            return version
        sent = send(self._source, self._transport, holder, listed, self._report.problems)
        made_of = tuple(ModelFile(path=file.path, digest=file.digest, size_bytes=file.size_bytes) for file in sent)
        return msgspec.structs.replace(version, files=made_of)

    def _place(self, address: str) -> Place | None:
        """The owner and the folder here that an address of the source means; None when no such owner has files."""
        for pattern, kind in _PLACES:
            match = pattern.fullmatch(address.rstrip("/"))
            if match is None:
                continue
            name = match["id"]
            look = Look(runs=(name,)) if kind == "run" else Look(logged_models=(name,))
            here = self._call("look", look, Here)
            owner, folder = f"{kind}/{name}", match["folder"] or ""
            known = [(each.held, each.run.artifact_uri) for each in here.runs.values()]
            known += [(each.held, each.model.artifact_uri) for each in here.logged_models.values()]
            for held, elsewhere in known:
                if held.files or elsewhere:
                    return Place(owner=owner, folder=folder, elsewhere=elsewhere)
        return None

    def _call(self, what: str, body: Any, returns: type[T]) -> T:
        return self._transport.call("POST", f"/api/v1/import/{what}", body, returns=returns, repeatable=True)
