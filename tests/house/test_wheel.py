"""The wheel carries all that the installed program needs, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files in a wheel that is built here."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("headrace-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_module_is_in_it(names: set[str]) -> None:
    source = ROOT / "src"
    modules = {path.relative_to(source).as_posix() for path in (source / "headrace").rglob("*.py")}
    assert not modules - names


def test_what_is_read_at_run_time_is_in_it(names: set[str]) -> None:
    assert {
        "headrace/py.typed",
        "headrace/server/base.html",
        "headrace/server/run.html",
        "headrace/server/status.html",
        "headrace/examples/churn/churn.py",
        "headrace/examples/churn/data/cdnow.parquet",
        "headrace/examples/churn/data/README.md",
    } <= names


def test_tests_and_caches_are_not_in_it(names: set[str]) -> None:
    assert not [name for name in names if name.startswith("tests/") or "__pycache__" in name]
