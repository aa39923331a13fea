"""What one gateway answers is measured, and what follows from it is said."""

import json
from pathlib import Path

import pytest
from tests.serving import models
from typer.testing import CliRunner

from headrace.cli.main import app
from headrace.errors import StartError
from headrace.server import capacity
from headrace.server.capacity import Step, advise
from headrace.server.load import Load
from headrace.serving.runtimes.files import ModelFiles


def step(connections: int, rate: float, *, p99_ms: float = 5.0, cores: float = 0.9, failed: int = 0) -> Step:
    return Step(Load(connections, rate, 1.0, p99_ms, 1_000, failed), cores)


def directory(folder: Path, *, example: bool = True) -> Path:
    made = models.write_model(folder, models.binary_model())
    if example:
        rows = [[1.0, 2.0], [3.0, None]]
        (made / "input_example.json").write_text(json.dumps({"columns": models.NAMES, "data": rows}))
        info = {"artifact_path": "input_example.json", "type": "dataframe"}
        models.change_description(made, lambda told: told.update(saved_input_example_info=info))
    return made


def test_the_best_step_that_is_quick_enough_is_the_capacity() -> None:
    steps = [step(1, 400), step(8, 1_000, cores=0.93), step(32, 1_200, p99_ms=80), step(64, 2_000, failed=1)]
    found = advise(steps, p99_ms=50, rate_per_s=5_000)
    assert (found.capacity_per_s, found.connections, found.cpu_millicores) == (1_000, 8, 1_000)
    assert found.planned_per_s == pytest.approx(700)
    assert found.gateways == 8
    assert advise(steps).capacity_per_s == 1_200


def test_one_gateway_is_never_enough_and_without_a_rate_none_are_counted() -> None:
    assert advise([step(1, 400)], rate_per_s=1).gateways == 2
    assert advise([step(1, 400)]).gateways is None


def test_where_nothing_is_quick_enough_the_first_step_is_told() -> None:
    assert advise([step(1, 400), step(2, 700)], p99_ms=0.1).connections == 1


def test_rows_are_those_of_the_example_or_zeros(tmp_path: Path) -> None:
    found, told = capacity.bodies(ModelFiles(directory(tmp_path / "with")))
    assert [json.loads(body)["dataframe_split"]["data"] for body in found] == [[[1.0, 2.0]], [[3.0, None]]]
    assert told == "2 of its input example"
    found, told = capacity.bodies(ModelFiles(directory(tmp_path / "without", example=False)))
    assert [json.loads(body)["dataframe_split"]["data"] for body in found] == [[[0, 0]]]
    assert told == "zeros"


def test_the_command_measures_a_model_and_advises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "CONNECTIONS", (1, 2))
    folder = directory(tmp_path / "churn", example=False)
    arguments = ["serve", "bench", str(folder), "--seconds", "0.5", "--rate", "1000000"]
    done = CliRunner().invoke(app, arguments, env={"NO_COLOR": "1"})
    assert done.exception is None, done.output
    rows = [line.split() for line in done.output.splitlines() if line.split()[:1] in (["1"], ["2"])]
    assert [row[0] for row in rows] == ["1", "2"]
    assert all(float(row[1].replace(",", "")) > 0 and row[-1] == "0" for row in rows)
    assert "averageUtilization 70" in done.output
    assert "For 1,000,000 requests/s: " in done.output


def test_a_model_that_cannot_be_served_says_why(tmp_path: Path) -> None:
    folder = directory(tmp_path / "churn")
    (folder / "model.skops").write_bytes(b"damaged")
    with pytest.raises(StartError) as refused:
        capacity.measure(folder, [b"{}"], allow_code=False, seconds=0.5, log=tmp_path / "served.log")
    assert "could not be served" in str(refused.value)


def test_what_is_no_command_is_a_model() -> None:
    done = CliRunner().invoke(app, ["serve", "no-such-folder"])
    assert "models:/NAME/NUMBER" in str(done.exception)
