"""Each gate's verdict on scores: what it finds, what it says when rows cannot tell, and that it has its numbers."""

from typing import Any

import msgspec
import numpy as np
import pytest
from tests.delivery.samples import changed, sample, timings

from headrace.delivery.findings import Finding, Sample, name_of
from headrace.delivery.verdicts import judge
from headrace.project.gates import (
    Gate,
    at_least,
    at_most,
    calibrated,
    fair,
    latency,
    not_worse_than_production,
    size,
    slices,
)
from headrace.statistics.comparison import Verdict
from headrace.statistics.metrics import METRICS

PASS, BETTER, WORSE, INCONCLUSIVE = Verdict.PASS, Verdict.BETTER, Verdict.WORSE, Verdict.INCONCLUSIVE

OF_SCORES: list[Gate] = [
    at_least("roc_auc", 0.7),
    at_most("brier", 0.25),
    *(not_worse_than_production(metric, margin=0.05) for metric in METRICS),
    fair(["region", "age"], at_most=0.25, margin=0.12),
    fair(["region"], measure="equalized_odds_ratio", at_least=0.6),
    calibrated(at_most=0.06),
    slices("roc_auc", ["region", "age"], margin=0.05, bound=0.6),
    slices("accuracy", ["region"], margin=0.05, alarm=True),
]


def parts(found: Finding) -> dict[str, Any]:
    return {part["name"]: part for part in found.details["parts"]}


@pytest.mark.parametrize("gate", OF_SCORES, ids=name_of)
def test_a_good_candidate_passes_with_all_numbers(gate: Gate) -> None:
    found = judge(gate, sample())
    assert found.verdict.is_good
    assert found.low is not None
    assert found.high is not None
    assert found.value is not None
    assert found.low <= found.value <= found.high
    assert found.margin is not None
    assert found.sample_size == 2_000
    assert found.smallest_detectable_effect is not None
    assert found.smallest_detectable_effect > 0
    assert found.verdict.value in found.summary
    assert msgspec.json.decode(msgspec.json.encode(found.details)).keys() == found.details.keys()


@pytest.mark.parametrize("gate", OF_SCORES, ids=name_of)
def test_ten_rows_are_inconclusive(gate: Gate) -> None:
    few = sample(rows=10)
    few = changed(few, labels=np.array([0, 1] * 5), groups={name: few.groups[name] for name in few.groups})
    found = judge(gate, few)
    assert found.verdict is INCONCLUSIVE
    assert found.low is not None or found.details["without_interval"]


@pytest.mark.parametrize("gate", OF_SCORES, ids=name_of)
@pytest.mark.parametrize("outcome", [0, 1])
def test_one_outcome_alone_is_never_an_error(gate: Gate, outcome: int) -> None:
    found = judge(gate, changed(sample(), labels=np.full(2_000, outcome)))
    if "roc_auc" in name_of(gate) or "average_precision" in name_of(gate):
        assert found.verdict is INCONCLUSIVE
    assert found.low is not None or found.details["without_interval"]


@pytest.mark.parametrize("gate", OF_SCORES, ids=name_of)
@pytest.mark.parametrize("broken", ["candidate", "labels"])
def test_what_is_no_number_is_inconclusive_and_named(gate: Gate, broken: str) -> None:
    one = sample()
    values = getattr(one, broken).astype(float)
    values[7] = np.nan
    found = judge(gate, changed(one, **{broken: values}))
    assert found.verdict is INCONCLUSIVE
    assert ("finite" if broken == "candidate" else "0 or 1") in found.details["without_interval"]


@pytest.mark.parametrize("gate", OF_SCORES, ids=name_of)
def test_constant_scores_never_pass_for_good_by_accident(gate: Gate) -> None:
    found = judge(gate, changed(sample(), candidate=np.full(2_000, 0.5)))
    if any(word in name_of(gate) for word in ("demographic", "odds", "recall", "f1")):
        return  # all are decided to be 1: alike, and none missed
    assert found.verdict in {WORSE, INCONCLUSIVE} or "calibration" in name_of(gate) or "brier" in name_of(gate)
    assert found.summary


@pytest.mark.parametrize("metric", METRICS)
def test_copies_of_rows_are_no_more_evidence(metric: str) -> None:
    one = sample(rows=300)
    gate = not_worse_than_production(metric, margin=0.03)
    once = judge(gate, one)
    copies = {name: np.repeat(getattr(one, name), 6) for name in ("keys", "labels", "candidate", "production")}
    found = judge(gate, changed(one, groups={}, **copies))
    assert found.smallest_detectable_effect == pytest.approx(once.smallest_detectable_effect, rel=0.25)
    assert (found.sample_size, found.details["entities"]) == (1_800, 300)
    assert "entities as units" in found.details["method"]


def test_twenty_customers_are_few_however_many_rows_they_have() -> None:
    one = sample()
    found = judge(at_least("roc_auc", 0.6), changed(one, keys=np.arange(2_000) % 20))
    assert found.verdict is INCONCLUSIVE
    assert "30 independent rows are needed" in found.summary


def test_a_worse_candidate_is_worse() -> None:
    worse = sample(loss=1.0)
    for metric in METRICS:
        assert judge(not_worse_than_production(metric, margin=0.01), worse).verdict is WORSE
    assert judge(slices("roc_auc", ["region"], margin=0.01), worse).verdict is WORSE


def test_a_first_version_passes_what_compares_and_says_so() -> None:
    first = changed(sample(), production=None)
    for gate in (
        not_worse_than_production("roc_auc", margin=0.01),
        fair(["region"], margin=0.01),
        slices("roc_auc", ["region"], margin=0.01),
    ):
        found = judge(gate, first)
        assert found.verdict is PASS
        assert "first version" in found.details["without_interval"]
    assert judge(fair(["region"], at_most=0.001, margin=0.1), first).verdict is INCONCLUSIVE


def test_an_unfair_candidate_is_found_in_the_group_and_in_the_change() -> None:
    unfair = sample(gap=1.0)
    found = judge(fair(["region", "age"], at_most=0.1, margin=0.05), unfair)
    assert found.verdict is WORSE
    verdicts = {name: part["verdict"] for name, part in parts(found).items()}
    assert verdicts["region"] == verdicts["region, change"] == verdicts["region x age"] == "WORSE"
    assert verdicts["age"] in {"PASS", "INCONCLUSIVE"}
    rates = {(row["grouping"], row["group"]): row for row in found.details["groups"]}
    assert rates["region", "s"]["high"] < rates["region", "n"]["low"]
    assert ("region x age", "s & old") in rates
    assert judge(fair(["age"], at_most=0.15), unfair).verdict is PASS


def test_a_group_of_three_rows_is_inconclusive_unless_it_is_left_out() -> None:
    one = sample()
    region = one.groups["region"].copy()
    region[:3] = "tiny"
    tiny = changed(one, groups={"region": region})
    for gate in (fair(["region"], at_most=0.2), slices("accuracy", ["region"], margin=0.1)):
        found = judge(gate, tiny)
        assert found.verdict is INCONCLUSIVE
        assert "tiny" in found.summary
    without = (
        fair(["region"], at_most=0.2, small_groups="left_out"),
        slices("accuracy", ["region"], margin=0.1, small_slices="left_out"),
    )
    for gate in without:
        assert judge(gate, tiny).verdict is PASS
    assert [row["group"] for row in judge(without[0], tiny).details["groups"] if row["small"]] == ["tiny"]


def test_an_unfairness_that_is_shown_is_not_hidden_behind_a_small_group() -> None:
    one = sample(gap=2.0)
    region = one.groups["region"].copy()
    region[:3] = "tiny"
    found = judge(fair(["region"], at_most=0.1), changed(one, groups={"region": region}))
    assert found.verdict is WORSE


def test_rows_that_are_not_grouped_are_inconclusive_with_the_reason() -> None:
    bare = changed(sample(), groups={}, problems={"region": "there is no column 'region'"})
    found = judge(fair(["region"], at_most=0.1), bare)
    assert (found.verdict, found.details["without_interval"]) == (INCONCLUSIVE, "there is no column 'region'")
    assert "not grouped by age" in judge(slices("f1", ["age"], margin=0.1), bare).summary


def test_a_miscalibrated_candidate_is_found_with_its_slope() -> None:
    one = sample()
    odds = np.log(one.candidate / (1 - one.candidate))
    found = judge(calibrated(at_most=0.05), changed(one, candidate=1 / (1 + np.exp(-3 * odds))))
    assert found.verdict is WORSE
    assert found.details["slope"]["high"] < 0.5
    assert sum(one["rows"] for one in found.details["bins"]) == 2_000


def test_latency_is_judged_alone_and_against_production() -> None:
    both = latency(p95_ms=3.0, slower_at_most=0.2)
    assert judge(both, changed(sample(), timings=timings(1.0))).verdict is PASS
    slow = judge(both, changed(sample(), timings=timings(1.5)))
    assert slow.verdict is WORSE
    assert {name: part["verdict"] for name, part in parts(slow).items()} == {
        "p95, ms": "PASS",
        "against production": "WORSE",
    }
    assert judge(latency(p95_ms=1.0), changed(sample(), timings=timings(1.5))).verdict is WORSE
    few = changed(sample(), timings=timings(1.0, rounds=5))
    assert judge(both, few).verdict is INCONCLUSIVE
    assert judge(both, sample()).verdict is INCONCLUSIVE


def test_a_first_version_has_only_the_latency_of_its_own() -> None:
    alone = timings()
    own = alone.versions == "candidate"
    alone = msgspec.structs.replace(
        alone, rounds=alone.rounds[own], versions=alone.versions[own], seconds=alone.seconds[own]
    )
    found = judge(latency(p95_ms=3.0, slower_at_most=0.1), changed(sample(), timings=alone))
    assert found.verdict is PASS
    assert "first version" in parts(found)["against production"]["note"]


def test_size_is_counted() -> None:
    assert judge(size(at_most_bytes=5_000), sample()).verdict is PASS
    found = judge(size(at_most_bytes=4_999), sample())
    assert (found.verdict, found.value, found.low) == (WORSE, 5_000.0, None)
    assert "counted" in found.details["without_interval"]


def test_a_threshold_moves_the_decisions() -> None:
    one = sample()
    low = judge(at_least("recall", 0.5, threshold=0.1), one)
    high = judge(at_least("recall", 0.5, threshold=0.9), one)
    assert (low.verdict, high.verdict) == (PASS, WORSE)
    assert low.value is not None
    assert high.value is not None
    assert low.value > high.value


def test_the_part_with_the_least_room_decides() -> None:
    found = judge(slices("accuracy", ["region", "age"], margin=0.2), sample())
    rooms = {name: part["low"] for name, part in parts(found).items()}
    assert found.details["decided_by"] == min(rooms, key=lambda name: rooms[name])
    assert found.low == min(rooms.values())


def test_too_many_groups_at_once_are_not_compared() -> None:
    one = sample()
    digits = {name: (np.arange(2_000) // step % 20).astype(str) for name, step in (("a", 1), ("b", 20))}
    gate = fair(["a", "b"], at_most=0.9)
    found = judge(gate, changed(one, groups=digits))
    assert found.verdict is INCONCLUSIVE
    assert "400 groups are too many" in parts(found)["a x b"]["note"]


def test_one_group_alone_is_nothing_to_compare() -> None:
    one: Sample = sample()
    alone = changed(one, groups={"region": np.full(2_000, "n")})
    found = judge(fair(["region"], at_most=0.1), alone)
    assert found.verdict is INCONCLUSIVE
    assert "1 of 1 groups" in found.summary
