"""Anyone can compute a verdict again from what is stored, and a forged one is found."""

import hashlib
from typing import Any

import msgspec
import pytest
from tests.delivery.samples import changed, sample, timings

from headrace.delivery import stored_scores
from headrace.delivery.findings import Sample, name_of
from headrace.delivery.recompute import recompute
from headrace.delivery.verdicts import judge
from headrace.errors import InvalidInput
from headrace.project.declaration import definition
from headrace.project.gates import (
    Gate,
    at_least,
    calibrated,
    fair,
    latency,
    not_worse_than_production,
    size,
    slices,
)
from headrace.registry.nouns import Evidence, Verdict

GATES: list[Gate] = [
    at_least("roc_auc", 0.7),
    not_worse_than_production("f1", margin=0.05, threshold=0.4),
    not_worse_than_production("average_precision", margin=0.05),
    fair(["region", "age"], at_most=0.2, margin=0.05),
    slices("log_loss", ["region"], margin=0.05, alarm=True),
    calibrated(at_most=0.06),
    latency(p95_ms=3.0, slower_at_most=0.5),
    size(at_most_bytes=10_000),
]


def recorded(gate: Gate, one: Sample, content: bytes | None) -> Evidence:
    """Evidence as it comes back from the platform: through JSON."""
    found = judge(gate, one)
    evidence = Evidence(
        id="evd_1", model="churn", number=2, kind="gate", name=name_of(gate),
        verdict=Verdict(found.verdict.value), metric=found.metric, value=found.value, low=found.low,
        high=found.high, confidence=found.confidence, margin=found.margin, sample_size=found.sample_size,
        smallest_detectable_effect=found.smallest_detectable_effect, summary=found.summary,
        scores=None if content is None else f"sha256:{hashlib.sha256(content).hexdigest()}",
        declaration=definition(gate),
        details=found.details,
    )  # fmt: skip
    return msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence)


def stored(gate: Gate, one: Sample) -> bytes | None:
    tag = gate.__struct_config__.tag
    if tag == "size":
        return None
    return stored_scores.of_timings(timings()) if tag == "latency" else stored_scores.of_scores(one)


@pytest.mark.parametrize("gate", GATES, ids=name_of)
@pytest.mark.parametrize("first", [False, True])
def test_the_verdict_computed_again_is_the_recorded_one(gate: Gate, first: bool) -> None:
    one = changed(sample(), timings=timings(), keys=sample().keys // 2)
    if first:
        one = changed(one, production=None)
    content = stored(gate, one)
    again = recompute(recorded(gate, one, content), content, size_bytes=5_000)
    assert again.differences == ()
    assert again.agrees


@pytest.mark.parametrize(
    ("field", "value"),
    [("verdict", Verdict.BETTER), ("low", 0.0), ("value", None), ("sample_size", 3), ("margin", 0.5)],
)
def test_a_forged_number_is_found(field: str, value: Any) -> None:
    one = sample()
    content = stored_scores.of_scores(one)
    forged = msgspec.structs.replace(recorded(GATES[0], one, content), **{field: value})
    assert recompute(forged, content).differences == (field,)


def test_other_scores_and_other_evidence_are_refused() -> None:
    one = sample()
    evidence = recorded(GATES[0], one, stored_scores.of_scores(one))
    with pytest.raises(InvalidInput, match="not the scores behind the evidence"):
        recompute(evidence, stored_scores.of_scores(sample(1)))
    with pytest.raises(InvalidInput, match="not the scores behind the evidence"):
        recompute(evidence, None)
    with pytest.raises(InvalidInput, match="not computed from scores"):
        recompute(msgspec.structs.replace(evidence, kind="staging"), None)
    with pytest.raises(InvalidInput, match="no file of scores"):
        stored_scores.read(b"nonsense")


def test_an_inconclusive_verdict_agrees_without_an_interval() -> None:
    one = changed(sample(), groups={}, problems={"region": "there is no such column"})
    gate = fair(["region"], at_most=0.1)
    content = stored_scores.of_scores(one)
    assert recompute(recorded(gate, one, content), content).agrees


def test_groups_and_keys_of_text_come_back_as_they_were() -> None:
    one = changed(sample(rows=40), keys=sample(rows=40).keys.astype(str).astype(object))
    again = stored_scores.read(stored_scores.of_scores(one))
    assert again.keys.tolist() == one.keys.tolist()
    assert {name: members.tolist() for name, members in again.groups.items()} == {
        name: members.tolist() for name, members in one.groups.items()
    }
