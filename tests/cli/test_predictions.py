"""Whoever waits for a query on a terminal reads what it is at."""

import pytest

from headrace.cli import predictions
from headrace.serving.query_nouns import Asked


@pytest.mark.parametrize(
    ("state", "note", "done", "said"),
    [
        ("queued", None, 0.0, "waits for a worker"),
        ("leased", None, 0.0, "a worker has it"),
        ("leased", "runs for 3 s", 0.0, "runs for 3 s"),
        ("leased", "runs for 3 s", 0.42, "runs for 3 s, about 42%"),
    ],
)
def test_whoever_waits_is_told_for_what(state: str, note: str | None, done: float, said: str) -> None:
    assert predictions.stage(Asked(job_id="job_1", state=state, note=note, done=done)) == said
