"""A run with more params than a request takes, as clients send them: a hundred at a time."""

from typing import Any

import pytest

pytestmark = pytest.mark.both_databases

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from

COUNT = 10_000
AT_ONCE = 100


def test_ten_thousand_params(door: Door) -> None:
    run_id = door.run()
    wanted = [{"key": f"p{number:05}", "value": f"value {number}"} for number in range(COUNT)]
    for start in [*range(0, COUNT, AT_ONCE), COUNT - AT_ONCE]:  # the last of them twice, as after a lost answer
        door("POST", "runs/log-batch", run_id=run_id, params=wanted[start : start + AT_ONCE])
    found = door("GET", "runs/get", run_id=run_id)["run"]["data"]["params"]
    assert sorted(found, key=lambda param: str(param["key"])) == wanted
    for asked in ("params.p00000 = 'value 0'", "params.p09999 = 'value 9999' AND params.p05000 LIKE '%5000'"):
        (run,) = door("POST", "runs/search", experiment_ids=["0"], filter=asked)["runs"]
        assert run["info"]["run_id"] == run_id
        assert len(run["data"]["params"]) == COUNT
    assert door("POST", "runs/search", experiment_ids=["0"], filter="params.p09999 = 'value 1'") == {}
    changed = [{"key": "p09998", "value": "value 9998"}, {"key": "p09999", "value": "another"}]
    code, message = door.fault("POST", "runs/log-batch", 400, run_id=run_id, params=changed)
    assert code == "INVALID_PARAMETER_VALUE"
    assert "p09999" in message
