"""Other people's clients, each in an environment of its own, made once from its locked requirements."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from headrace.testing.platform import TemporaryPlatform, temporary_platform

ROOT = Path(__file__).parents[2]
MADE = ROOT / ".peers"
DONE = "installed"


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    """A running platform that the peers share."""
    with temporary_platform(tmp_path_factory.mktemp("platform") / "home") as running:
        yield running


@pytest.fixture(scope="session")
def mlflow_python() -> Path:
    """The Python of the environment that has a real MLflow."""
    return peer_python("mlflow")


@pytest.fixture(scope="session", params=["mlflow", "mlflow-2.9"])
def any_mlflow_python(request: pytest.FixtureRequest) -> Path:
    """The Python of each environment that has a real MLflow: the newest, and the oldest that is promised."""
    return peer_python(str(request.param))


def peer_python(name: str) -> Path:
    """The Python of the peer's environment `.peers/<name>-<digest of its lock>`, made when it is not there yet.

    Another lock is another environment, so that what is there was always installed from the lock beside it.
    """
    lock = ROOT / "requirements" / "peers" / f"{name}.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = MADE / f"{name}-{digest}"
    python = folder / "bin" / "python"
    MADE.mkdir(exist_ok=True)
    with FileLock(MADE / f"{name}.lock"):
        if not (folder / DONE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            install(folder, python, lock)
            (folder / DONE).touch()
    return python


def install(folder: Path, python: Path, lock: Path) -> None:
    """Make an environment that holds what the lock names and nothing else."""
    hashed = ["--quiet", "--require-hashes", "--no-deps", "-r", lock]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is not None:
        commands = [
            [uv, "venv", "--quiet", "--python", sys.executable, folder],
            [uv, "pip", "install", "--python", python, *hashed],
        ]
    else:
        commands = [
            [sys.executable, "-m", "venv", folder],
            [python, "-m", "pip", "install", "--disable-pip-version-check", *hashed],
        ]
    for command in commands:
        subprocess.run([str(part) for part in command], check=True)
