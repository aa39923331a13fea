"""The bundle: the project's code and its environment lock as one content-addressed file.

Workers run bundles, never a path on somebody's disk, so what ran can always be run again. The same files give
the same bytes on every machine: entries are sorted, times are fixed, and nothing is compressed, because the
output of a compressor depends on its version.
"""

import hashlib
import io
import zipfile
from pathlib import Path, PurePosixPath

import msgspec

from headrace.errors import ProjectError
from headrace.project.environment import EnvironmentLock

CODE_SUFFIXES = frozenset({".py", ".pyi", ".toml", ".yaml", ".yml", ".json", ".sql", ".cfg", ".ini", ".txt"})
SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "build", "dist", "venv", "env", "mlruns"})
LARGEST_BUNDLE_BYTES = 20_000_000
LARGEST_CONTENTS_BYTES = 2_000_000
"""Room for the entry that describes a bundle."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""
CONTENTS = "bundle.headrace.json"
"""The entry that says which file is the project's and which packages it was locked to."""


class BundleFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a bundle; the path is relative to the project's folder, with forward slashes."""

    path: str
    digest: str
    size_bytes: int


class BundleContents(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle says about itself, in its entry `bundle.headrace.json`."""

    project_file: str
    environment: EnvironmentLock


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A packed bundle, without its bytes.

    Args:
        digest: sha256 of the zip's bytes; the blob's address.
        size_bytes: of the zip.
        project_file: the entry that declares the project.
        files: the code files, sorted by path.
        environment_digest: of the environment lock inside.
    """

    digest: str
    size_bytes: int
    project_file: str
    files: tuple[BundleFile, ...]
    environment_digest: str


def pack_bundle(project_file: Path, environment: EnvironmentLock) -> tuple[Bundle, bytes]:
    """Packs the code beside a project file.

    Data files, hidden files, virtual environments and links are left out.

    Returns:
        The bundle and the bytes of its zip.

    Raises:
        ProjectError: the code is larger than a bundle may be.
    """
    root = project_file.resolve().parent
    contents = {path.relative_to(root).as_posix(): path.read_bytes() for path in code_files(root)}
    size_bytes = sum(len(content) for content in contents.values())
    if size_bytes > LARGEST_BUNDLE_BYTES:
        largest = max(contents, key=lambda path: len(contents[path]))
        raise ProjectError(
            f"the project's code has {size_bytes / 1e6:.0f} MB, more than {LARGEST_BUNDLE_BYTES / 1e6:.0f} MB",
            where=largest,
            fix="Move the project file into a folder of its own, or move large files out of it.",
        )
    itself = BundleContents(project_file=project_file.name, environment=environment)
    packed = _zip(contents | {CONTENTS: msgspec.json.encode(itself, order="deterministic")})
    bundle = Bundle(
        digest=digest_of(packed),
        size_bytes=len(packed),
        project_file=project_file.name,
        files=tuple(
            BundleFile(path=path, digest=digest_of(content), size_bytes=len(content))
            for path, content in sorted(contents.items())
        ),
        environment_digest=environment.digest,
    )
    return bundle, packed


def unpack_bundle(packed: bytes, folder: Path) -> BundleContents:
    """Writes a bundle's files below an empty folder.

    Raises:
        ProjectError: the bytes are no bundle, are more than one may hold, or an entry would leave the folder.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            size_bytes = sum(entry.file_size for entry in archive.infolist())
            if size_bytes > LARGEST_BUNDLE_BYTES + LARGEST_CONTENTS_BYTES:
                raise ProjectError(
                    f"the bundle unpacks to {size_bytes / 1e6:.0f} MB", fix="Pack it with headrace apply."
                )
            entries = {name: archive.read(name) for name in archive.namelist()}
            contents = msgspec.json.decode(entries.pop(CONTENTS), type=BundleContents)
    except (zipfile.BadZipFile, KeyError, msgspec.MsgspecError) as error:
        raise ProjectError(
            "the bundle cannot be read", fix="Send the project again with headrace apply."
        ) from error
    if contents.project_file not in entries:
        raise ProjectError(
            "the bundle does not hold its project file",
            where=contents.project_file,
            fix="Pack it with headrace apply.",
        )
    for name, content in entries.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise ProjectError(
                "an entry of the bundle leaves its folder", where=name, fix="Pack it with headrace apply."
            )
        target = folder.joinpath(*path.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return contents


def code_files(root: Path) -> list[Path]:
    """The files of a folder that are code or settings, sorted by their path."""
    found: list[Path] = []
    folders = [root]
    while folders:
        for path in folders.pop().iterdir():
            if path.name.startswith(".") or path.is_symlink():
                continue
            if path.is_dir():
                if path.name not in SKIPPED_FOLDERS and not (path / "pyvenv.cfg").exists():
                    folders.append(path)
            elif path.suffix in CODE_SUFFIXES:
                found.append(path)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def digest_of(content: bytes) -> str:
    """The content address of bytes: "sha256:<hex>"."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _zip(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, content in sorted(contents.items()):
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, content)
    return buffer.getvalue()
