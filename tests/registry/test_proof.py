"""What evidence is missing: of each metric the newest judgement counts, by its verdict, age and comparison."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from headrace.project.binding import Judge
from headrace.project.checks import completeness
from headrace.project.declaration import definition
from headrace.project.gates import fair, latency, slices
from headrace.registry import proof
from headrace.registry.bounds import Bounds
from headrace.registry.nouns import Evidence, Verdict
from headrace.registry.rules import RequiredEvidence

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def found(
    gate: str = "at_least", metric: str | None = "roc_auc", verdict: Verdict = Verdict.PASS, days: int = 1
) -> Evidence:
    return Evidence(
        model="churn", number=1, kind="gate", name=f"{gate} {metric}", gate=gate, metric=metric, verdict=verdict,
        recorded_at=NOW - timedelta(days=days),
    )  # fmt: skip


def of_release(evidence: Evidence, attempt: int = 1) -> Evidence:
    return msgspec.structs.replace(evidence, release_id="rel_1", attempt=attempt)


@pytest.mark.parametrize(
    ("required", "evidence", "says"),
    [
        (RequiredEvidence(gate="fair"), [], "there is no evidence of fair"),
        (RequiredEvidence(gate="at_least", metric="brier"), [found()], "there is no evidence of at_least of brier"),
        (RequiredEvidence(gate="at_least"), [found()], ""),
        (RequiredEvidence(gate="at_least", metric="roc_auc", max_age="2d"), [found()], ""),
        (RequiredEvidence(gate="at_least", max_age="1d"), [found()], ""),
        (
            RequiredEvidence(gate="at_least", max_age="30d"),
            [found(days=40)],
            "the evidence of at_least of roc_auc is 40d old, and may be 30d old",
        ),
        (
            RequiredEvidence(gate="at_least"),
            [found(verdict=Verdict.WORSE)],
            "the newest evidence of at_least is WORSE: at_least roc_auc",
        ),
        # the newest counts, whatever came before it
        (RequiredEvidence(gate="at_least"), [found(verdict=Verdict.WORSE, days=2), found()], ""),
        (
            RequiredEvidence(gate="at_least"),
            [found(days=2), found(verdict=Verdict.INCONCLUSIVE)],
            "the newest evidence of at_least is INCONCLUSIVE: at_least roc_auc",
        ),
        # of any metric: all have to pass, and to be young enough
        (
            RequiredEvidence(gate="at_least", max_age="30d"),
            [found(metric="brier", verdict=Verdict.WORSE), found()],
            "the newest evidence of at_least is WORSE: at_least brier",
        ),
        (
            RequiredEvidence(gate="at_least", max_age="30d"),
            [found(metric="brier", verdict=Verdict.WORSE, days=40), found()],
            "the newest evidence of at_least is WORSE: at_least brier",
        ),
        (RequiredEvidence(gate="at_least", max_age="30d"), [found(metric="brier", days=40), found()],
            "the evidence of at_least of brier is 40d old, and may be 30d old"),
        # several of one metric in one judgement, such as of two groupings, all count
        (
            RequiredEvidence(gate="fair"),
            [of_release(found("fair", "m", Verdict.WORSE)), of_release(found("fair", "m"))],
            "the newest evidence of fair is WORSE: fair m",
        ),
        (
            RequiredEvidence(gate="fair"),
            [of_release(found("fair", "m", Verdict.WORSE)), of_release(found("fair", "m"), attempt=2)],
            "",
        ),
        # nobody knows how old it is
        (
            RequiredEvidence(gate="at_least", max_age="30d"),
            [found(days=-1)],
            "the evidence of at_least of roc_auc is dated later than now: a clock was set back",
        ),
        (RequiredEvidence(gate="at_least"), [found(days=-1)], ""),
        (RequiredEvidence(gate="at_least"), [found(days=-1), found(verdict=Verdict.WORSE)],
            "the newest evidence of at_least is WORSE: at_least roc_auc"),
    ],
)  # fmt: skip
def test_evidence_that_is_missing_failing_or_too_old_is_named(
    required: RequiredEvidence, evidence: list[Evidence], says: str
) -> None:
    assert proof.lacking_evidence([required], evidence, NOW) == ([says] if says else [])


@pytest.mark.parametrize(
    ("compared", "production", "says"),
    [
        (None, None, ""),
        (1, None, ""),
        (1, 1, ""),
        (1, 2, "compares with version 1, and version 2 is in production"),
        (None, 2, "compares with no version, and version 2 is in production"),
    ],
)
def test_not_worse_than_production_means_what_is_in_production_now(
    compared: int | None, production: int | None, says: str
) -> None:
    evidence = msgspec.structs.replace(found("not_worse_than_production"), production_number=compared)
    asked = RequiredEvidence(gate="not_worse_than_production")
    lines = proof.lacking_evidence([asked], [evidence], NOW, production)
    assert lines == ([f"the evidence of not_worse_than_production {says}"] if says else [])
    absolute = msgspec.structs.replace(found(), production_number=compared)
    assert proof.lacking_evidence([RequiredEvidence(gate="at_least")], [absolute], NOW, production) == []


@pytest.mark.parametrize(
    ("gate", "metric", "compares"),
    [
        (slices("roc_auc", ["region"], margin=0.01), "roc_auc", True),
        (fair(["region"], margin=0.01), "demographic_parity_difference", True),
        (latency(slower_at_most=0.2), "latency_p95", True),
        (fair(["region"], at_most=0.05), "demographic_parity_difference", False),
        (latency(p95_ms=5.0), "latency_p95", False),
    ],
)
def test_whatever_compares_with_production_means_what_is_there_now(
    gate: Judge, metric: str, compares: bool
) -> None:
    kind = str(gate.__struct_config__.tag)
    evidence = msgspec.structs.replace(found(kind, metric), production_number=3, declaration=definition(gate))
    for asked in (RequiredEvidence(gate=kind), RequiredEvidence(gate=kind, metric=metric)):
        assert proof.lacking_evidence([asked], [evidence], NOW, 3) == []
        told = proof.lacking_evidence([asked], [evidence], NOW, 4)
        line = f"the evidence of {asked.what} compares with version 3, and version 4 is in production"
        assert told == ([line] if compares else [])


def checked(minimum: float, training_set: str) -> Evidence:
    return msgspec.structs.replace(
        found("completeness", None), kind="check", declaration=definition(completeness(minimum)),
        details={"training_set_id": training_set},
    )  # fmt: skip


def test_a_laxer_check_beside_a_strict_one_does_no_harm() -> None:
    asked = RequiredEvidence(gate="completeness", bounds=Bounds(minimum=0.95))
    strict, lax = checked(0.99, "ts_1"), checked(0.5, "ts_1")
    for order in ([strict, lax], [lax, strict]):
        assert proof.lacking_evidence([asked], order, NOW) == []
    (line,) = proof.lacking_evidence([asked], [strict, checked(0.5, "ts_2")], NOW)  # of other rows
    assert "was judged by minimum=0.5" in line
    failed = msgspec.structs.replace(strict, verdict=Verdict.WORSE)
    assert proof.lacking_evidence([asked], [failed, lax], NOW) != []
