from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.testing.platform import TemporaryPlatform, temporary_platform


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    """One platform of real processes for the tests of this folder."""
    with temporary_platform(tmp_path_factory.mktemp("home")) as platform:
        yield platform


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of a person's own, with the home and the spool in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
