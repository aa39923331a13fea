"""Environments: built once, whole or not at all, from what the machine's own uv can reach."""

import base64
import hashlib
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.errors import EnvironmentMismatch, NotServed, Unavailable
from headrace.serving.loading.description import Need
from headrace.serving.loading.environments import Environments
from headrace.serving.loading.requirements import Requirements

PACKAGE = "headrace_sample"


def wheel(folder: Path, version: str, *, needs: str = "", name: str = PACKAGE) -> None:
    """A wheel of one module that knows its version."""
    folder.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{name}-{version}.dist-info/METADATA": metadata,
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_hash(content)},{len(content)}\n" for path, content in files.items())
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{name}-{version}.dist-info/RECORD", record)


def _hash(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that uv finds packages in, and nothing beside it."""
    folder = tmp_path / "wheels"
    wheel(folder, "1.0")
    wheel(folder, "2.0")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return folder


def asks_for(*lines: str, whole: bool = False) -> Requirements:
    return Requirements(needs=(Need("headrace-sample", "==1.*"),), lines=lines, whole=whole)


def version_in(python: Path) -> str:
    program = f"import {PACKAGE}; print({PACKAGE}.VERSION)"
    return subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_an_environment_that_will_do_is_not_built_again(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "environments")
    wanted = Requirements(needs=(Need("numpy", ">=2"), Need("msgspec")), lines=("numpy==1.0",))
    assert environments.interpreter(wanted) is None
    assert environments.build(wanted) is None
    assert not (tmp_path / "environments").exists()


def test_one_is_built_and_used_by_its_requirements(tmp_path: Path, wheels: Path) -> None:
    environments = Environments(tmp_path / "environments")
    one, two = asks_for("headrace-sample==1.0"), asks_for("headrace-sample==2.0")
    with pytest.raises(Unavailable, match="not built yet; this one lacks headrace-sample"):
        environments.interpreter(one)
    built = environments.build(one)
    assert built is not None
    assert built.packages == ("headrace-sample==1.0",)
    environments.build(two)
    pythons = [environments.interpreter(wanted) for wanted in (one, two)]
    assert [version_in(python) for python in pythons if python] == ["1.0", "2.0"]
    assert environments.build(one) == built


def test_several_who_ask_at_once_build_once(tmp_path: Path, wheels: Path) -> None:
    wanted = asks_for("headrace-sample==1.0")
    builders = [Environments(tmp_path / "environments") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        built = list(pool.map(lambda each: each.build(wanted), builders))
    assert built[0] is not None
    assert built == [built[0]] * 4
    assert sorted(path.name for path in (tmp_path / "environments").iterdir() if path.is_dir()) == [wanted.key]


def test_what_a_killed_build_left_is_no_environment_and_goes_with_the_next(tmp_path: Path, wheels: Path) -> None:
    wanted = asks_for("headrace-sample==1.0")
    left = tmp_path / "environments" / f".{wanted.key}-dead"
    (left / "bin").mkdir(parents=True)
    (left / "bin" / "python").touch()
    environments = Environments(tmp_path / "environments")
    with pytest.raises(Unavailable):
        environments.interpreter(wanted)
    environments.build(wanted)
    assert not left.exists()


def test_what_cannot_be_found_is_told_and_leaves_nothing(tmp_path: Path, wheels: Path) -> None:
    environments = Environments(tmp_path / "environments")
    with pytest.raises(EnvironmentMismatch, match="could not be built"):
        environments.build(asks_for("headrace-sample==3.0"))
    wheel(wheels, "1.0", needs="headrace-sample==2.0", name="headrace_other")
    with pytest.raises(EnvironmentMismatch, match="headrace-other"):
        environments.build(asks_for("headrace-sample==1.0", "headrace-other"))
    assert not [path for path in (tmp_path / "environments").iterdir() if path.is_dir()]


def test_a_machine_without_a_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(Unavailable, match="could not be fetched"):
        Environments(tmp_path / "environments").build(asks_for("headrace-sample==1.0"))


def test_requirements_that_cannot_be_installed_are_told_before_anything_is_built(tmp_path: Path) -> None:
    wanted = Requirements(needs=(Need("headrace-sample"),), problem="its requirements name it by an address")
    with pytest.raises(NotServed, match="by an address"):
        Environments(tmp_path / "environments").build(wanted)
