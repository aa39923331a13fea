"""The manifest: what `headrace apply` sends, the declarations with the code and data they stand on."""

import hashlib
from pathlib import Path

import msgspec

from headrace.errors import ProjectError
from headrace.project.bundle import Bundle, pack_bundle
from headrace.project.commit import code_commit
from headrace.project.entity import Entity
from headrace.project.environment import EnvironmentLock, capture_environment
from headrace.project.feature_view import FeatureView
from headrace.project.label import Label
from headrace.project.loading import LoadedProject
from headrace.project.model import ModelDeclaration
from headrace.project.source import Source

READ_BYTES = 1 << 20


class DataFile(msgspec.Struct, frozen=True, kw_only=True):
    """A source's data file, sent apart from the bundle because it may be large."""

    source: str
    path: str
    digest: str
    size_bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole project, as it is sent.

    Args:
        project: the project's name, after its file.
        entities, sources, feature_views, labels, models: the declarations, sorted by name.
        data_files: the files that sources name by a relative path.
        bundle: the code.
        environment: the packages that the code was written against.
        code_commit: the commit that the project folder is at; None without git.
    """

    project: str
    entities: tuple[Entity, ...]
    sources: tuple[Source, ...]
    feature_views: tuple[FeatureView, ...]
    labels: tuple[Label, ...]
    models: tuple[ModelDeclaration, ...]
    data_files: tuple[DataFile, ...]
    bundle: Bundle
    environment: EnvironmentLock
    code_commit: str | None = None


class PackedProject(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest with what must be uploaded before it.

    Args:
        manifest: what is applied.
        bundle: the bytes of the bundle's zip.
        data: the path on this machine of each data file, by digest.
    """

    manifest: Manifest
    bundle: bytes
    data: dict[str, Path]


def pack(project: LoadedProject) -> PackedProject:
    """Packs a loaded project for sending.

    Raises:
        ProjectError: a data file is missing, or the code is too large.
    """
    environment = capture_environment()
    bundle, packed = pack_bundle(project.file, environment)
    data = [(_data_file(source, project.root), project.root / source.path) for source in project.local_sources]
    manifest = Manifest(
        project=project.name,
        entities=project.entities,
        sources=project.sources,
        feature_views=project.feature_views,
        labels=project.labels,
        models=tuple(model.declaration for model in project.models),
        data_files=tuple(file for file, _ in data),
        bundle=bundle,
        environment=environment,
        code_commit=code_commit(project.root),
    )
    return PackedProject(manifest=manifest, bundle=packed, data={file.digest: path for file, path in data})


def _data_file(source: Source, root: Path) -> DataFile:
    path = root / source.path
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(READ_BYTES):
                digest.update(chunk)
                size_bytes += len(chunk)
    except OSError as error:
        raise ProjectError(
            f"the data file {source.path} of source {source.name} cannot be read: {error.strerror}",
            where=source.declared_at or None,
            fix="Put the file at that path, relative to the project file.",
        ) from error
    return DataFile(
        source=source.name, path=source.path, digest=f"sha256:{digest.hexdigest()}", size_bytes=size_bytes
    )
