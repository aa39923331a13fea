"""What the project's tests share: the example as a user wrote it."""

from pathlib import Path

import pytest

from headrace.project.loading import LoadedProject, load_project


@pytest.fixture(scope="session")
def example() -> LoadedProject:
    return load_project(Path(__file__).parents[2] / "examples" / "churn")
