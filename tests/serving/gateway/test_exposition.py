"""What Prometheus reads from a gateway."""

from collections.abc import Callable, Coroutine
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from tests.serving import models
from tests.serving.conftest import Bench, route
from tests.serving.gateway.test_falling_back import BAD, GOOD, PATH

from headrace.errors import NotAuthenticated
from headrace.serving.gateway.exposition import Exposition
from headrace.serving.gateway.measures import BUCKETS_S, Measures
from headrace.serving.nouns import GatewayState

Run = Callable[[Coroutine[Any, Any, None]], None]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(content: bytes) -> Samples:
    """Every value by name and labels, as Prometheus parses them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
    }


def count(found: Samples, **labels: str) -> float:
    wanted = labels.items()
    return sum(
        value
        for (name, given), value in found.items()
        if name == "headrace_prediction_duration_seconds_count" and wanted <= dict(given).items()
    )


def test_durations_are_cumulative_and_the_last_bucket_has_all() -> None:
    measures = Measures()
    for took_s in (0.000_1, 0.003, 0.003, 1_000.0):
        measures.observe("churn", 1, "champion", 200, took_s)
    found = samples(Exposition(measures)()[0])
    name = "headrace_prediction_duration_seconds"
    labels = {"model": "churn", "version": "1", "arm": "champion", "status": "200"}

    def below(bound: object) -> float:
        return found[f"{name}_bucket", tuple(sorted({**labels, "le": str(bound)}.items()))]

    assert [below(bound) for bound in (0.000_25, 0.002_5, 0.005, BUCKETS_S[-1], "+Inf")] == [1, 1, 3, 3, 4]
    assert found[f"{name}_count", tuple(sorted(labels.items()))] == 4
    assert found[f"{name}_sum", tuple(sorted(labels.items()))] == 1_000.0061


def test_every_way_to_end_is_told_by_model_version_arm_and_status(bench: Bench, run: Run) -> None:
    bench.gateway._metrics = Exposition(bench.measures)

    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.raising_model(), lookup=False)
        await bench.settle(route(one, two, champion=2, previous=1))
        for body in (GOOD, BAD, b"{", {"dataframe_records": [{"spend": 1.0}]}):
            await bench.post(PATH, body)
        await bench.post("/models/churn/versions/2/invocations", BAD)
        await bench.post("/models/nobody-knows-this/invocations", GOOD)
        answer = await bench.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        found = samples(answer.body)
        assert count(found) == 6
        assert count(found, version="2", arm="champion", status="200") == 1
        assert count(found, version="1", arm="fallback", status="200") == 1
        assert count(found, model="churn", status="400") == 2
        assert count(found, version="2", arm="pinned", status="500") == 1
        assert count(found, model="", status="404") == 1
        fallback = (("by", "previous"), ("model", "churn"), ("version", "2"))
        assert found["headrace_prediction_fallback_rows_total", fallback] == 1
        assert b"nobody-knows-this" not in answer.body

    run(scenario())


def test_the_state_of_a_gateway_is_told(gateway_state: GatewayState) -> None:
    found = samples(Exposition(Measures(), lambda: gateway_state)()[0])
    assert found["headrace_gateway_ready", ()] == 1
    assert found["headrace_gateway_turned_away_total", ()] == 3
    assert found["headrace_predictions_lost_total", ()] == 4
    assert found["headrace_version_switched_off", (("model", "churn"), ("version", "2"))] == 1
    loaded = {labels[2][1]: value for (name, labels), value in found.items() if name == "headrace_version_loaded"}
    assert loaded == {"1": 1, "2": 0}
    assert any(name == "process_cpu_seconds_total" for name, _ in found)


def test_strangers_read_no_metrics(bench: Bench, run: Run) -> None:
    def refuse(token: str | None) -> str:
        raise NotAuthenticated("this platform asks for a login")

    bench.gateway._metrics = Exposition(bench.measures)
    bench.gateway._admit = refuse

    async def scenario() -> None:
        assert (await bench.get("/metrics")).status == 401

    run(scenario())
