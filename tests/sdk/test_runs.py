from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import InvalidInput, NotFound
from headrace.sdk.runs import Runs
from headrace.testing.platform import TemporaryPlatform
from headrace.tracking.nouns import Batch, CreateRun, MetricPoint, Run


@pytest.fixture(scope="module")
def runs(running: TemporaryPlatform) -> Runs:
    call = running.local.transport.call
    for number in range(30):
        request = CreateRun(experiment="searched", name=f"run {number}", tags={"parity": str(number % 2)})
        run = call("POST", "/api/v1/runs", request, returns=Run)
        points = tuple(MetricPoint(key="auc", value=number / 30 - step / 100, step=step) for step in range(2))
        batch = Batch(metrics=points, params={"depth": number})
        call("POST", f"/api/v1/runs/{run.id}/batch", batch, returns=dict)
    return running.local.runs


def test_search(runs: Runs) -> None:
    found = runs.search(
        "max(metrics.auc) >= 0.5 AND tags.parity = '0'", experiment="searched", order_by="metrics.auc"
    )
    assert [run.name for run in found] == [f"run {number}" for number in range(16, 30, 2)]
    assert len(found) == 7
    assert found[0].params == {"depth": "16"}
    assert [run.name for run in found[:2]] == ["run 16", "run 18"]
    assert repr(found) == "<7 runs>"


def test_all_pages_are_read(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.sdk.runs.PAGE", 7)
    assert len(runs.search(experiment=["searched"])) == 30
    assert len(runs.search(experiment="searched", limit=9)) == 9


def test_only_what_is_asked_for_comes_back(runs: Runs) -> None:
    (run,) = runs.search(experiment="searched", params=[], metrics=["auc"], tags=(), limit=1)
    assert (run.params, run.tags, set(run.metrics)) == ({}, {}, {"auc"})


def test_a_table(runs: Runs) -> None:
    table = runs.search("params.depth IN ('3', '4')", experiment="searched", order_by=["run_name"]).to_arrow()
    assert table.column("name").to_pylist() == ["run 3", "run 4"]
    assert table.column("metrics.auc").to_pylist() == pytest.approx([0.09, 4 / 30 - 0.01])
    assert {"run_id", "experiment_id", "status", "started_at", "params.depth", "tags.parity"} <= set(
        table.column_names
    )
    assert runs.search("params.depth = 'none'").to_arrow().num_rows == 0


def test_bad_searches(runs: Runs) -> None:
    with pytest.raises(NotFound):
        runs.search(experiment="not there")
    with pytest.raises(InvalidInput):
        runs.search("metrics.auc >")


def test_history_in_pages(runs: Runs) -> None:
    (run,) = runs.search("params.depth = '7'", experiment="searched")
    assert [point.step for point in runs.history(run.id, "auc")] == [0, 1]
    with pytest.raises(NotFound):
        runs.get("0" * 32)


def test_a_download_stays_in_its_folder(runs: Runs, tmp_path: Path) -> None:
    (run,) = runs.search("params.depth = '7'", experiment="searched")
    with pytest.raises(InvalidInput):
        runs.download(run.id, "../../outside", tmp_path)
    with pytest.raises(NotFound):
        runs.download(run.id, "not/there", tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_face_of_the_package() -> None:
    assert hr.run.__module__ == "headrace.sdk.run"
    assert hr.ActiveRun.__name__ == "ActiveRun"
