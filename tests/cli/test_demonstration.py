"""The demo before it starts: what it needs, and the project that it copies."""

import shutil
from pathlib import Path

import pytest

from headrace.cli.demonstration import shop
from headrace.errors import MissingExtra


def test_missing_packages_are_named_with_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "find_spec", lambda name: None if name == "skops" else object())
    with pytest.raises(MissingExtra, match="skops") as refusal:
        shop.require_example_packages()
    assert refusal.value.fix == "Install them: pip install 'headrace[sklearn]'"


def test_the_project_is_copied_and_committed(tmp_path: Path) -> None:
    commit = shop.copy_project(tmp_path / "churn")
    assert (tmp_path / "churn" / "churn.py").exists()
    assert (tmp_path / "churn" / "data" / "cdnow.parquet").exists()
    assert (commit is not None) == (shutil.which("git") is not None)
