"""What batch scoring says at its end: where the answers are, how to look at them, or why the log has none."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import msgspec

from headrace.cli.score import whereabouts
from headrace.kernel.settings import Settings, load_settings
from headrace.sdk.scoring import _why_not_logged
from headrace.serving.batch.scoring_outputs import Manifest

DONE = Manifest(run_id="prd_1", model="churn", version=1, digest="", input={}, settings={}, rows=3)


def test_what_is_logged_comes_with_a_query_that_finds_it() -> None:
    odd = 'my "$HOME" `model`'
    for name in ("churn", odd):
        *_, line = whereabouts(msgspec.structs.replace(DONE, model=name), None)
        shell = line.replace("headrace predictions query", "printf %s", 1)
        query = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
        with duckdb.connect() as connection:
            connection.execute("CREATE SCHEMA predictions")
            quoted = name.replace('"', '""')
            connection.execute(
                f"CREATE TABLE predictions.\"{quoted}\" AS SELECT unnest(['prd_1.0', 'prd_2.0']) prediction_id"
            )
            assert connection.execute(query).fetchall() == [("prd_1.0",)]


def test_what_is_not_logged_says_why() -> None:
    assert whereabouts(msgspec.structs.replace(DONE, unlogged="it is no registered version"), "scores") == [
        "also in the table scores of the lake",
        "not in the prediction log: it is no registered version",
    ]
    assert whereabouts(msgspec.structs.replace(DONE, rejected=3), None) == []


def test_why_nothing_is_logged(tmp_path: Path) -> None:
    settings: Settings = load_settings(home=tmp_path / "home")
    registered: Any = SimpleNamespace(digests={"MLmodel": "sha256:1"})
    own: Any = SimpleNamespace(digests=None)
    platform: Any = SimpleNamespace(url="http://127.0.0.1:1")
    assert "--no-log" in _why_not_logged(registered, [platform], settings, wanted=False)
    assert "registered version" in _why_not_logged(own, [], settings, wanted=True)
    elsewhere = _why_not_logged(registered, [platform], settings, wanted=True)
    assert "http://127.0.0.1:1" in elsewhere
    assert str(tmp_path / "home") in elsewhere
