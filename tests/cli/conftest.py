"""A control alone, for commands that ask a platform, and the commands as a person of some name calls them."""

import itertools
from collections.abc import Iterator
from unittest.mock import patch
from urllib.parse import quote

import pytest
from tests.loop.wire import CONTROL_ALONE
from typer.testing import CliRunner

from headrace.cli.main import app
from headrace.errors import HeadraceError
from headrace.sdk.platform import Platform
from headrace.testing.platform import TemporaryPlatform, temporary_platform

PEOPLE = {"dana": "developer", "ravi": "approver", "eve": "approver", "adm": "admin"}


class Terminal:
    """People at their terminals."""

    def __init__(self, platform: TemporaryPlatform) -> None:
        self.platform = platform
        self.people: dict[str, Platform] = {name: platform.person(name, role) for name, role in PEOPLE.items()}
        self._numbers = itertools.count(1)

    def run(self, *arguments: str, who: str = "adm", fails: bool = False) -> str:
        """What a command shows, or the error that it ends with."""
        person = self.people[who]

        def connect(**_: object) -> Platform:
            return person

        with (
            patch("headrace.sdk.connect.connect", connect),
            patch("headrace.sdk.scoring.connect", connect),
            patch.object(Platform, "close", lambda _: None),  # it is used again
        ):
            done = CliRunner().invoke(app, arguments, env={"COLUMNS": "300", "NO_COLOR": "1"})
        if fails:
            assert isinstance(done.exception, HeadraceError), done.output
            return str(done.exception)
        if done.exception is not None:
            raise done.exception
        return done.output

    def model(self, begins: str = "model-") -> str:
        """The name of a new model with one version of dana's."""
        name = f"{begins}{next(self._numbers)}"
        file = {"path": "MLmodel", "digest": "sha256:" + "a" * 64, "size_bytes": 3}
        version = {"model": name, "run_id": "r1", "files": [file]}
        path = f"/api/v1/models/{quote(name)}/versions"
        self.people["dana"].transport.call("POST", path, version, returns=dict)
        return name


@pytest.fixture(scope="session")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """One platform for the tests of this folder."""
    folder = tmp_path_factory.mktemp("terminal")
    with temporary_platform(folder / "home", CONTROL_ALONE) as platform:
        yield Terminal(platform)
