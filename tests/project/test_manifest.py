"""What `headrace apply` sends: everything that the project declares, with the digests of code and data."""

import hashlib
import shutil
from pathlib import Path

import msgspec
import pytest

from headrace.errors import ProjectError
from headrace.project.bundle import digest_of
from headrace.project.environment import capture_environment, normalised
from headrace.project.loading import LoadedProject, load_project
from headrace.project.manifest import Manifest, pack


def test_the_manifest_goes_through_json(example: LoadedProject) -> None:
    packed = pack(example)
    again = msgspec.json.decode(msgspec.json.encode(packed.manifest), type=Manifest)
    assert again == packed.manifest
    assert again.bundle.digest == digest_of(packed.bundle)
    assert [model.name for model in again.models] == ["churn"]


def test_packing_twice_gives_the_same(example: LoadedProject) -> None:
    assert msgspec.json.encode(pack(example).manifest) == msgspec.json.encode(pack(example).manifest)


def test_data_files_are_listed_apart(example: LoadedProject) -> None:
    packed = pack(example)
    (file,) = packed.manifest.data_files
    path = packed.data[file.digest]
    assert file.source == "purchases"
    assert file.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert file.size_bytes == path.stat().st_size
    assert file.path not in [code.path for code in packed.manifest.bundle.files]


def test_a_missing_data_file_names_the_source(example: LoadedProject, tmp_path: Path) -> None:
    shutil.copy(example.file, tmp_path)
    with pytest.raises(ProjectError, match=r"data/cdnow\.parquet of source purchases") as raised:
        pack(load_project(tmp_path))
    assert raised.value.where == example.sources[0].declared_at


def test_the_lock_holds_what_is_installed() -> None:
    lock = capture_environment()
    assert lock.packages["msgspec"] == msgspec.__version__
    assert list(lock.packages) == sorted(lock.packages)
    assert f"msgspec=={msgspec.__version__}" in lock.lines
    assert lock == capture_environment()
    assert normalised("Foo_Bar.baz") == "foo-bar-baz"


def test_the_lock_tells_versions_apart() -> None:
    lock = capture_environment()
    other = msgspec.structs.replace(lock, packages=lock.packages | {"msgspec": "0"})
    assert other.digest != lock.digest
    assert msgspec.structs.replace(lock, python="3.0").digest != lock.digest
