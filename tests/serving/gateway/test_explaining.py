"""The line before explanations, and the processes that give them."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.serving import models
from tests.serving.conftest import Bench, route, until
from tests.serving.gateway.test_explanations import RECORDS, version
from tests.serving.runtimes.directories import NAMES

from headrace.errors import DeadlineExceeded, ModelFault
from headrace.serving.forms.inputs import Inputs, Outputs
from headrace.serving.forms.signature import Column, Signature, Tensor
from headrace.serving.gateway import explaining as explaining_module
from headrace.serving.gateway.background import background_of
from headrace.serving.gateway.explaining import Explaining
from headrace.serving.loading.host import HostProcess
from headrace.serving.nouns import Loading
from headrace.serving.runtimes.files import ModelFiles
from headrace.training.answers import BACKGROUND_FILE

Run = Callable[[Coroutine[Any, Any, None]], None]
DEADLINE_S = 60.0


async def explain(explaining: Explaining, bench: Bench, *, number: int = 1, timeout_s: float = DEADLINE_S) -> Any:
    predictor = bench.answering.predictor("churn", number)
    rows = np.array([[1.0, 2.0]])
    return await explaining.explain(
        predictor,
        rows,
        predictor.predict(rows),
        params=None,
        output=None,
        deadline_s=asyncio.get_running_loop().time() + timeout_s,
    )


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_full_line_turns_away_and_predictions_go_on(bench: Bench, run: Run) -> None:
    async def main() -> None:
        await bench.settle(route(version(bench, 1, models.binary_model()), champion=1))
        body = msgspec.json.encode(RECORDS)
        length = {"content_length": str(len(body))}
        asked = [asyncio.create_task(bench.post("/models/churn/explain", body, **length)) for _ in range(30)]
        await asyncio.sleep(0)
        predicted = await bench.post("/models/churn/invocations", RECORDS)
        assert predicted.status == 200
        assert not any(task.done() and task.result().status == 200 for task in asked), "one waits for the process"
        answers = [await task for task in asked]
        statuses = {answer.status for answer in answers}
        assert statuses == {200, 503}
        assert sum(answer.status == 200 for answer in answers) == 8
        refused = next(answer for answer in answers if answer.status == 503)
        assert refused.body["error"]["code"] == "OVERLOADED"
        assert int(refused.headers["retry-after"]) >= 1

    run(main())


def test_it_stands_behind_those_that_predict(bench: Bench, run: Run) -> None:
    async def main() -> None:
        await bench.settle(route(version(bench, 1, models.binary_model()), champion=1))
        await explain(bench.explaining, bench)
        (pid,) = bench.explaining.pids
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)

    run(main())


def test_processes_end_when_others_need_the_room_and_after_some_quiet(bench: Bench, run: Run) -> None:
    async def main() -> None:
        both = [version(bench, number, models.binary_model()) for number in (1, 2)]
        await bench.settle(route(*both, champion=1, challenger=2))
        explaining = Explaining(bench.loader.arrange, models=1, idle_s=0.3)
        await explain(explaining, bench)
        (first,) = explaining.pids
        await asyncio.sleep(0)
        await explain(explaining, bench, number=2)
        (second,) = explaining.pids
        assert first != second
        await until(lambda: not alive(first))
        await until(lambda: not explaining.pids)
        await until(lambda: not alive(second))
        await explain(explaining, bench, number=2)
        assert explaining.pids, "it starts again"
        explaining.close()

    run(main())


def test_a_process_ends_with_its_version(bench: Bench, run: Run) -> None:
    async def main() -> None:
        first, second = version(bench, 1, models.binary_model()), version(bench, 2, models.binary_model())
        await bench.settle(route(first, champion=1))
        await explain(bench.explaining, bench)
        (pid,) = bench.explaining.pids
        await bench.settle(route(second, champion=2, sequence=2))
        await until(lambda: not alive(pid))

    run(main())


def test_a_process_that_died_is_started_again_by_the_next_request(bench: Bench, run: Run) -> None:
    async def main() -> None:
        await bench.settle(route(version(bench, 1, models.binary_model()), champion=1))
        before = await explain(bench.explaining, bench)
        os.kill(bench.explaining.pids[0], 9)
        assert (await bench.post("/models/churn/explain", RECORDS)).status == 500
        after = await explain(bench.explaining, bench)
        np.testing.assert_array_equal(before.contributions, after.contributions)

    run(main())


def test_who_has_no_time_is_told_so(bench: Bench, run: Run) -> None:
    async def main() -> None:
        await bench.settle(route(version(bench, 1, models.binary_model()), champion=1))
        answer = await bench.post("/models/churn/explain", RECORDS, x_request_timeout="0.2")
        assert (answer.status, answer.body["error"]["code"]) == (504, "DEADLINE_EXCEEDED")
        await until(lambda: bool(bench.explaining.pids))
        assert (await bench.post("/models/churn/explain", RECORDS)).status == 200

    run(main())


class SlowlyPrepared(HostProcess):
    """Its first explanation takes longer than any caller waits."""

    prepared = False

    def ask(
        self, header: dict[str, Any], values: Inputs | None, *, timeout_s: float
    ) -> tuple[dict[str, Any], Outputs | None]:
        if header.get("ask") == "explain" and not self.prepared:
            if timeout_s <= DEADLINE_S:
                self.end()
                raise ModelFault("the model host did not answer in time")
            self.prepared = True
        return super().ask(header, values, timeout_s=timeout_s)


@pytest.mark.parametrize("background", [True, False])
def test_what_takes_long_is_prepared_outside_the_time_of_callers(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    async def main() -> None:
        monkeypatch.setattr(explaining_module, "HostProcess", SlowlyPrepared)
        await bench.settle(route(version(bench, 1, models.forest(), background=background), champion=1))
        found = await explain(bench.explaining, bench)
        assert np.isfinite(found.contributions).all()

    run(main())


def test_who_goes_away_leaves_the_line_to_the_others(bench: Bench, run: Run) -> None:
    async def main() -> None:
        await bench.settle(route(version(bench, 1, models.binary_model()), champion=1))
        await explain(bench.explaining, bench)
        (pid,) = bench.explaining.pids
        os.kill(pid, signal.SIGSTOP)  # it computes for as long as one likes
        asked = asyncio.create_task(explain(bench.explaining, bench, timeout_s=3_600))
        await asyncio.sleep(0.3)
        asked.cancel()
        await asyncio.wait([asked])
        assert asked.cancelled()
        await explain(bench.explaining, bench, timeout_s=20)
        assert bench.explaining.pids != [pid]

    run(main())


def test_one_explanation_has_a_limit_whatever_time_its_request_has(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        await bench.settle(route(version(bench, 1, models.binary_model()), champion=1))
        await explain(bench.explaining, bench)
        os.kill(bench.explaining.pids[0], signal.SIGSTOP)
        monkeypatch.setattr(explaining_module, "LONGEST_S", 0.5)
        asked = explain(bench.explaining, bench, timeout_s=3_600)
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(asked, 20)
        monkeypatch.undo()
        await explain(bench.explaining, bench, timeout_s=20)

    run(main())


def test_a_faster_form_that_answers_otherwise_is_told_apart(bench: Bench, run: Run, tmp_path: Path) -> None:
    """The graph that serves is that of another model; what is explained is the one that was registered."""
    from skl2onnx import to_onnx  # type: ignore[import-untyped]

    async def main() -> None:
        other = models.binary_model(flip=True)
        graph = to_onnx(
            other, models.features()[:1], options={"zipmap": False}, target_opset=17
        ).SerializeToString()
        stored = version(bench, 1, models.binary_model())
        converted = models.conversion(bench.blobs, graph)
        await bench.settle(route(models.with_loading(stored, Loading(converted=converted)), champion=1))
        predicted = await bench.post("/models/churn/invocations", RECORDS)
        answer = await bench.post("/models/churn/explain", RECORDS)
        for each, served in zip(answer.body["explanations"], predicted.body["predictions"], strict=True):
            assert each["prediction"] == served
            assert each["registered_prediction"] == pytest.approx(1 - served, abs=1e-5)
            assert 1 / (1 + np.exp(-each["sum"])) == pytest.approx(each["registered_prediction"])

    run(main())


SIGNATURE = Signature([Column(name=name, type="double") for name in NAMES])
TEXTS = Signature([Column(name="city", type="string"), Column(name="age", type="double")])
TENSOR = Signature([Tensor(name="", dtype="float32", shape=(-1, 3))])


def background(root: Path, files: dict[str, str], signature: Signature) -> Any:
    for path, content in files.items():
        (root / path).write_text(content)
    return background_of(ModelFiles(root), signature)


def test_rows_to_compare_with_are_those_that_the_version_brings(tmp_path: Path) -> None:
    split = '{"columns": ["spend", "age", "income", "id"], "data": [[3, 1, 2, 9], [null, 4, 5, 9]]}'
    expected = [[1.0, 2.0, 3.0], [4.0, 5.0, None]]
    for name, files in {
        "own": {BACKGROUND_FILE: split},
        "served": {"serving_input_example.json": f'{{"dataframe_split": {split}}}'},
        "mlflow": {
            "MLmodel": "saved_input_example_info: {artifact_path: example.json, type: dataframe}",
            "example.json": split,
        },
    }.items():
        (tmp_path / name).mkdir()
        found = background(tmp_path / name, files, SIGNATURE)
        assert [[None if np.isnan(each) else each for each in row] for row in found.tolist()] == expected, name


def test_rows_to_compare_with_may_be_texts_or_tensors(tmp_path: Path) -> None:
    text = '{"dataframe_split": {"columns": ["city", "age"], "data": [["Delft", 3]]}}'
    found = background(tmp_path, {"serving_input_example.json": text}, TEXTS)
    assert {name: values.tolist() for name, values in found.items()} == {"city": ["Delft"], "age": [3.0]}
    found = background(tmp_path, {"serving_input_example.json": '{"inputs": [[1, 2, 3]]}'}, TENSOR)
    assert found[""].tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("content", ["", "[", "{}", "3", '{"columns": ["age"], "data": [[1]]}', '{"inputs": 3}'])
def test_an_example_that_is_no_rows_is_none(tmp_path: Path, content: str) -> None:
    assert background(tmp_path, {"serving_input_example.json": content}, SIGNATURE) is None


def test_of_many_rows_a_spread_is_taken(tmp_path: Path) -> None:
    rows = [[float(place), 0.0, 0.0] for place in range(1_000)]
    content = str({"columns": list(NAMES), "data": rows}).replace("'", '"')
    found = background(tmp_path, {BACKGROUND_FILE: content}, SIGNATURE)
    assert (len(found), found[0, 0], found[-1, 0]) == (100, 0.0, 999.0)
