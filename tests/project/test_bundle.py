"""A bundle holds the code and nothing else, and the same code is the same bytes."""

import io
import os
import zipfile
from pathlib import Path

import msgspec
import pytest

from headrace.errors import ProjectError
from headrace.project.bundle import (
    CONTENTS,
    LARGEST_BUNDLE_BYTES,
    BundleContents,
    digest_of,
    pack_bundle,
    unpack_bundle,
)
from headrace.project.environment import EnvironmentLock

LOCK = EnvironmentLock(python="3.11.7", packages={"numpy": "2.4.6"})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for path, text in {
        "project.py": "import helpers.one\n",
        "helpers/one.py": "x = 1\n",
        "settings.toml": "a = 1\n",
        "data/rows.parquet": "rows",
        ".env": "SECRET=1",
        ".venv/lib/code.py": "",
        "environment/pyvenv.cfg": "",
        "environment/code.py": "",
        "__pycache__/project.py": "",
        "notes.md": "",
    }.items():
        (tmp_path / "code" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / path).write_text(text)
    return tmp_path / "code" / "project.py"


def test_only_code_is_packed(project: Path) -> None:
    outside = project.parents[1] / "outside.py"
    outside.write_text("secret = 1")
    (project.parent / "link.py").symlink_to(outside)
    bundle, packed = pack_bundle(project, LOCK)
    assert [file.path for file in bundle.files] == ["helpers/one.py", "project.py", "settings.toml"]
    assert bundle.digest == digest_of(packed)
    assert bundle.size_bytes == len(packed)
    assert bundle.environment_digest == LOCK.digest


def test_the_same_code_is_the_same_bytes(project: Path) -> None:
    _, first = pack_bundle(project, LOCK)
    os.utime(project, (0, 0))
    project.chmod(0o600)
    _, second = pack_bundle(project, LOCK)
    assert first == second
    project.write_text("changed = 1\n")
    assert pack_bundle(project, LOCK)[1] != first
    other = EnvironmentLock(python="3.11.7", packages={"numpy": "2.4.5"})
    assert pack_bundle(project, other)[0].digest != pack_bundle(project, LOCK)[0].digest


def test_unpacking_gives_the_code_back(project: Path, tmp_path: Path) -> None:
    _, packed = pack_bundle(project, LOCK)
    contents = unpack_bundle(packed, tmp_path / "out")
    assert contents.project_file == "project.py"
    assert contents.environment == LOCK
    assert (tmp_path / "out" / "helpers" / "one.py").read_text() == "x = 1\n"


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "a/../../evil.py", "..\\evil.py"])
def test_an_entry_that_leaves_the_folder_is_refused(name: str, project: Path, tmp_path: Path) -> None:
    _, packed = pack_bundle(project, LOCK)
    buffer = io.BytesIO(packed)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, "x")
    with pytest.raises(ProjectError, match="leaves its folder"):
        unpack_bundle(buffer.getvalue(), tmp_path / "out")
    assert not (tmp_path / "evil.py").exists()


@pytest.mark.parametrize("project_file", ["../project.py", "/etc/passwd", "missing.py"])
def test_a_project_file_that_is_not_in_the_bundle_is_refused(project_file: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("project.py", "x = 1")
        contents = BundleContents(project_file=project_file, environment=LOCK)
        archive.writestr(CONTENTS, msgspec.json.encode(contents))
    with pytest.raises(ProjectError, match="does not hold its project file"):
        unpack_bundle(buffer.getvalue(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_swells_is_refused_before_it_is_unpacked(project: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO(pack_bundle(project, LOCK)[1])
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.txt", b"0" * 30_000_000)
    assert len(buffer.getvalue()) < 100_000
    with pytest.raises(ProjectError, match="unpacks to 30 MB"):
        unpack_bundle(buffer.getvalue(), tmp_path / "out")


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("project.py", "")
    for packed in (b"", b"not a zip", buffer.getvalue()):
        with pytest.raises(ProjectError, match="cannot be read"):
            unpack_bundle(packed, tmp_path)
    assert CONTENTS not in [path.name for path in tmp_path.iterdir()]


def test_too_much_code_is_refused_with_the_largest_file(project: Path) -> None:
    with (project.parent / "big.json").open("wb") as file:
        file.truncate(LARGEST_BUNDLE_BYTES)
    with pytest.raises(ProjectError, match="20 MB") as raised:
        pack_bundle(project, LOCK)
    assert raised.value.where == "big.json"
