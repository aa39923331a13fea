"""Sources by their address, and what is said of those that are none; never with the login that is in it."""

from pathlib import Path

import pytest

from headrace.errors import InvalidInput, Unavailable
from headrace.protocols.mlflow.importing import server
from headrace.protocols.mlflow.importing.opening import open_source


@pytest.mark.parametrize("address", ["mysql+pymysql://ana:hunter2@host/mlflow", "mssql://ana:hunter2@host/mlflow"])
def test_databases_that_are_not_read_are_told(address: str) -> None:
    with pytest.raises(InvalidInput, match="not read") as refused:
        open_source(address)
    assert "hunter2" not in str(refused.value)
    assert "MLflow server" in str(refused.value)


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TRIES", 1)
    with pytest.raises(Unavailable, match="does not answer") as refused:
        open_source("http://ana:hunter2@127.0.0.1:9")  # nobody listens there
    assert "hunter2" not in str(refused.value)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        open_source(str(tmp_path / "nothing"))
