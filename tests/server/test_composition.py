"""The rooms as the processes put them together: what is asked for is done, and what is done is settled."""

import subprocess
import sys

from headrace.server.composition import HANDLINGS, SUBSCRIBERS
from headrace.server.work_composition import RUNNERS


def test_every_kind_of_job_has_one_runner_and_one_settlement() -> None:
    settled = [handling.kind for handling in HANDLINGS]
    done = [kind for kind, _ in RUNNERS]
    assert sorted(kind.name for kind in settled) == sorted(kind.name for kind in done)
    assert len({kind.name for kind in settled}) == len(settled)
    assert {kind.name: kind for kind in settled} == {kind.name: kind for kind in done}


def test_subscribers_have_names_of_their_own() -> None:
    names = [subscriber.name for subscriber in SUBSCRIBERS]
    assert len(set(names)) == len(names)


def test_control_loads_none_of_the_engines() -> None:
    heavy = ("scipy", "pyarrow", "duckdb", "deltalake", "onnxruntime", "sklearn", "optuna", "apprise", "lmdb")
    script = f"import sys, headrace.server.control; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
