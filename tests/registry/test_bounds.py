"""Bounds on what a policy asks for: a gate passes if and only if no bound is laxer, whichever way is stricter.

The directions are written down here a second time, field by field, so that the platform's one comparison is held to
them.
"""

import operator
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from headrace.errors import InvalidInput
from headrace.project.binding import Judge
from headrace.project.checks import completeness, schema, stable_distribution
from headrace.project.declaration import definition
from headrace.project.durations import parse_duration
from headrace.project.experiments import ABTest, Bandit, Rollout
from headrace.project.gates import (
    AtLeast,
    AtMost,
    Fair,
    Gate,
    NotWorseThanProduction,
    Slices,
    Small,
    at_least,
    at_most,
    calibrated,
    fair,
    latency,
    not_worse_than_production,
    size,
    slices,
)
from headrace.project.metrics import HIGHER_IS_BETTER
from headrace.project.rollout import Canary
from headrace.project.staging import replay
from headrace.registry import bounds, proof, rules
from headrace.registry.bounds import Bounds, RolloutBounds
from headrace.registry.nouns import Evidence, Stage, Verdict
from headrace.registry.rules import Policy, RequiredEvidence

NOW = datetime(2026, 1, 1, tzinfo=UTC)

Reaches = Callable[[Any, Any], bool]
AT_LEAST: Reaches = operator.ge
AT_MOST: Reaches = operator.le
EQUAL: Reaches = operator.eq


def evidence_of(declared: Judge, **fields: Any) -> Evidence:
    """Evidence as a worker hands it in, and as it comes back from the record."""
    given_: dict[str, Any] = {
        "model": "churn",
        "number": 1,
        "release_id": "rel_1",
        "kind": "gate",
        "name": "a gate",
        "gate": bounds.kind_of(declared),
        "metric": bounds.metric_of(declared),
        "declaration": definition(declared),
        "verdict": Verdict.PASS,
        "sample_size": 1000,
        "details": {"entities": 500},
        "recorded_at": NOW - timedelta(days=1),
    }
    evidence = Evidence(**(given_ | fields))
    return msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence)


def lacking(required: RequiredEvidence, *found: Evidence) -> list[str]:
    return proof.lacking_evidence([required], found, NOW, None, "churn: stage/Production")


def asked(declared: Judge, **values: Any) -> RequiredEvidence:
    """What is required of the kind and the metric of a declaration."""
    kind, metric = bounds.kind_of(declared), bounds.metric_of(declared)
    return RequiredEvidence(gate=kind, metric=metric, bounds=Bounds(**values))


# -- any gate and any bounds --------------------------------------------------------------------------------

rates = st.sampled_from([0.001, 0.01, 0.05, 0.2, 0.5])
parts = st.sampled_from([0.01, 0.05, 0.3, 0.5, 0.75, 0.9])
counts = st.sampled_from([10, 50, 60, 500])
smalls: st.SearchStrategy[Small] = st.sampled_from(["inconclusive", "left_out"])
columns = st.lists(st.sampled_from(["age", "gender", "region"]), min_size=1, max_size=3, unique=True)
rising = st.sampled_from(sorted(name for name, rises in HIGHER_IS_BETTER.items() if rises))
falling = st.sampled_from(sorted(name for name, rises in HIGHER_IS_BETTER.items() if not rises))
differences = st.sampled_from(["demographic_parity_difference", "equalized_odds_difference"])
ratios = st.sampled_from(["demographic_parity_ratio", "equal_opportunity_ratio"])


@st.composite
def fairness(draw: st.DrawFn) -> Fair:
    shared = {
        "minimum_rows": draw(counts),
        "small_groups": draw(smalls),
        "intersections": draw(st.booleans()),
        "threshold": draw(st.sampled_from([0.3, 0.5])),
        "alpha": draw(rates),
    }
    if draw(st.booleans()):
        return fair(draw(columns), measure=draw(ratios), at_least=draw(parts), **shared)  # type: ignore[arg-type]
    bound, margin = draw(st.tuples(st.none() | parts, st.none() | parts).filter(any))
    return fair(draw(columns), measure=draw(differences), at_most=bound, margin=margin, **shared)  # type: ignore[arg-type]


@st.composite
def sliced(draw: st.DrawFn) -> Slices:
    bound, margin = draw(st.tuples(st.none() | parts, st.none() | parts).filter(any))
    return slices(
        draw(rising | falling), draw(columns), margin=margin, bound=bound, alarm=draw(st.booleans()),
        minimum_rows=draw(counts), small_slices=draw(smalls), alpha=draw(rates),
    )  # fmt: skip


gates: st.SearchStrategy[Gate] = st.one_of(
    st.builds(at_least, rising, parts, alpha=rates),
    st.builds(at_most, falling, parts, alpha=rates),
    st.builds(not_worse_than_production, rising | falling, margin=parts, alpha=rates),
    fairness(),
    sliced(),
    st.builds(calibrated, at_most=parts, alpha=rates),
    st.tuples(st.none() | parts, st.none() | parts)
    .filter(any)
    .map(lambda both: latency(p95_ms=both[0], slower_at_most=both[1])),
    st.builds(size, at_most_bytes=counts),
)
judges: st.SearchStrategy[Judge] = st.one_of(
    gates,
    st.just(schema()),
    st.builds(completeness, parts),
    st.builds(stable_distribution, alpha=rates),
    st.builds(replay, counts),
)


@st.composite
def bounds_for(draw: st.DrawFn, declared: Judge) -> Bounds:
    """Bounds that fit a kind of declaration and its metric, each set or not."""
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "value": parts,
        "margin": parts,
        "at_most": parts,
        "at_least": parts,
        "bound": parts,
        "alpha": rates,
        "by": columns.map(tuple),
        "threshold": st.sampled_from([0.3, 0.5]),
        "minimum_rows": counts,
        "small_groups": smalls,
        "small_slices": smalls,
        "intersections": st.booleans(),
        "alarm": st.booleans(),
        "p95_ms": parts,
        "slower_at_most": parts,
        "at_most_bytes": counts,
        "minimum": parts,
        "rows": st.sampled_from([100, 1000, 1001]),
        "entities": st.sampled_from([100, 500, 501]),
    }
    kind = bounds.kind_of(declared)
    fields = type(declared).__struct_fields__
    fitting = {name: values for name, values in kinds.items() if name in {*fields, "rows", "entities"}}
    if isinstance(declared, AtLeast | NotWorseThanProduction | Slices | AtMost):
        fitting.pop("threshold", None)
    if isinstance(declared, Fair):
        for name in ("at_most", "margin") if declared.measure.endswith("_ratio") else ("at_least",):
            fitting.pop(name)
    if kind in bounds.WITHOUT_ROWS or not isinstance(declared, Gate):
        fitting.pop("entities")
    if kind in bounds.WITHOUT_ROWS:
        fitting.pop("rows")
    names = draw(st.lists(st.sampled_from(sorted(fitting)), unique=True)) if fitting else []
    return Bounds(**{name: draw(fitting[name]) for name in names})


def directions(declared: Judge) -> Mapping[str, Reaches]:
    """What is stricter, in each field; the rows of a group depend on what becomes of one that has fewer."""
    left_out = "left_out" in {getattr(declared, "small_groups", None), getattr(declared, "small_slices", None)}
    alarms = isinstance(declared, Slices) and declared.alarm
    metric = bounds.metric_of(declared)
    return {
        "value": AT_MOST if isinstance(declared, AtMost) else AT_LEAST,
        "margin": AT_MOST,
        "at_most": AT_MOST,
        "at_least": AT_LEAST,
        "bound": AT_LEAST if HIGHER_IS_BETTER.get(metric or "", True) else AT_MOST,
        "alpha": AT_LEAST if alarms or bounds.kind_of(declared) == "stable_distribution" else AT_MOST,
        "threshold": EQUAL,
        "minimum_rows": AT_MOST if left_out else AT_LEAST,
        "small_groups": lambda has, wants: wants == "left_out" or has == "inconclusive",
        "small_slices": lambda has, wants: wants == "left_out" or has == "inconclusive",
        "intersections": AT_LEAST,
        "alarm": AT_MOST,
        "p95_ms": AT_MOST,
        "slower_at_most": AT_MOST,
        "at_most_bytes": AT_MOST,
        "minimum": AT_LEAST,
    }


def holds(declared: Judge, asks: Bounds) -> bool:
    """Whether no bound is laxer, told from the table above alone."""
    for name, wanted in asks.asked.items():
        if name == "rows":
            reached = wanted <= 1000
        elif name == "entities":
            reached = wanted <= 500
        elif name == "by":
            reached = set(wanted) <= {column.title for column in getattr(declared, "columns", ())}
        elif name in {"minimum_rows", "alpha"} and _left_open(declared, asks):
            continue  # the mode itself falls short, whatever the number
        else:
            has = getattr(declared, name)
            reached = has is not None and directions(declared)[name](has, wanted)
        if not reached:
            return False
    return True


def _left_open(declared: Judge, asks: Bounds) -> bool:
    """Whether what is asked for takes the other mode, in which the number means something else."""
    small = asks.small_groups or asks.small_slices
    has = getattr(declared, "small_groups", None) or getattr(declared, "small_slices", None)
    return (small == "inconclusive" and has == "left_out") or (
        asks.alarm is False and getattr(declared, "alarm", False)
    )


@given(st.data())
def test_a_gate_passes_if_and_only_if_no_bound_is_laxer(data: st.DataObject) -> None:
    declared = data.draw(judges)
    asks = data.draw(bounds_for(declared))
    required = RequiredEvidence(gate=bounds.kind_of(declared), metric=bounds.metric_of(declared), bounds=asks)
    bounds.check(required.gate, required.metric, asks)
    assert (lacking(required, evidence_of(declared)) == []) == holds(declared, asks)
    assert lacking(structs.replace(required, bounds=None), evidence_of(declared)) == []
    # what fails or is of something else is helped by no bounds
    assert lacking(required, evidence_of(declared, verdict=Verdict.INCONCLUSIVE)) != []
    assert lacking(structs.replace(required, metric="other"), evidence_of(declared)) != []


@st.composite
def policies_on(draw: st.DrawFn, declared: list[Judge]) -> Policy:
    """A policy that asks for some of what is declared."""
    chosen = draw(st.lists(st.sampled_from(declared), max_size=3))
    evidence = tuple(
        RequiredEvidence(
            gate=bounds.kind_of(one),
            metric=bounds.metric_of(one),
            max_age=draw(st.sampled_from(["", "1h", "1d", "2d", "30d"])),
            bounds=draw(st.none() | bounds_for(one)),
        )
        for one in chosen
    )
    return Policy(model="churn", stage=Stage.PRODUCTION, evidence=evidence)


@st.composite
def records(draw: st.DrawFn, declared: list[Judge]) -> list[Evidence]:
    """What was found of a version, now and before, by some of the declarations."""
    verdicts = st.sampled_from([Verdict.PASS, Verdict.BETTER, Verdict.WORSE])
    ages = st.sampled_from([timedelta(0), timedelta(days=1), timedelta(days=40)])
    chosen = draw(st.lists(st.sampled_from(declared), max_size=6))
    return [
        evidence_of(
            one,
            verdict=draw(st.just(Verdict.PASS) | verdicts),
            recorded_at=NOW - draw(ages),
            attempt=draw(st.integers(1, 2)),
            production_number=draw(st.sampled_from([None, 1, 1])),
        )
        for one in chosen
    ]


def let_through(policy: Policy, found: list[Evidence]) -> bool:
    return proof.lacking_evidence(policy.evidence, found, NOW, 1) == []


@given(st.data())
def test_making_a_policy_stricter_never_lets_more_through(data: st.DataObject) -> None:
    """Stricter is what the platform does not call loosened, so that this holds the word to its meaning, too."""
    declared = data.draw(st.lists(judges, min_size=1, max_size=3))
    before, after = data.draw(policies_on(declared)), data.draw(policies_on(declared))
    found = data.draw(records(declared))
    more = structs.replace(after, evidence=(*before.evidence, *after.evidence))
    assert rules.loosened(before, more) == []
    for changed in (after, more):
        if not rules.loosened(before, changed):
            assert let_through(before, found) or not let_through(changed, found)


@given(st.data())
def test_a_policy_whose_bounds_were_tightened_is_not_called_loosened(data: st.DataObject) -> None:
    declared = data.draw(judges)
    before, after = (data.draw(bounds_for(declared)) for _ in range(2))
    kind, metric = bounds.kind_of(declared), bounds.metric_of(declared)
    if bounds.covers(after, before, kind, metric):
        assert bounds.covers(after, after, kind, metric)
        assert not bounds.covers(Bounds(), before, kind, metric) or not before.asked
        assert holds(declared, before) or not holds(declared, after)


# -- what people read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "values", "says"),
    [
        (at_least("roc_auc", 0.5), {"value": 0.75}, "was judged by value=0.5, and {asks} no laxer than value=0.75"),
        (at_least("roc_auc", 0.0, alpha=0.5), {"value": 0.75, "alpha": 0.05},
            "was judged by value=0, alpha=0.5, and {asks} no laxer than value=0.75, alpha=0.05"),
        (at_most("log_loss", 0.9), {"value": 0.6}, "was judged by value=0.9, and {asks} no laxer than value=0.6"),
        (not_worse_than_production("roc_auc", margin=0.5), {"margin": 0.01},
            "was judged by margin=0.5, and {asks} no laxer than margin=0.01"),
        (fair(["age"], margin=0.1), {"at_most": 0.05, "by": ("gender",)},
            "was judged by at_most=None, by=age, and {asks} no laxer than at_most=0.05, by=gender"),
        (fair(["age"], at_most=0.1, threshold=0.9), {"threshold": 0.5},
            "was judged by threshold=0.9, and {asks} no laxer than threshold=0.5"),
        (calibrated(at_most=0.05), {"rows": 2000, "entities": 600},
            "rests on 1,000 rows, and {asks} 2,000; it rests on 500 entities, and {asks} 600"),
        (size(at_most_bytes=9), {"at_most_bytes": 8},
            "was judged by at_most_bytes=9, and {asks} no laxer than at_most_bytes=8"),
    ],
)  # fmt: skip
def test_what_is_too_lax_is_said_with_what_was_declared_and_what_is_asked(
    declared: Gate, values: dict[str, Any], says: str
) -> None:
    required = asked(declared, **values)
    told = says.format(asks="the policy churn: stage/Production asks for")
    assert lacking(required, evidence_of(declared)) == [f"the evidence of {required.what} {told}"]


def test_evidence_that_does_not_say_what_it_was_judged_by_is_within_no_bounds() -> None:
    declared = at_least("roc_auc", 0.9)
    for broken in ({}, {"kind": "at_least", "metric": "roc_auc"}, {"kind": "unknown"}):
        (line,) = lacking(asked(declared, value=0.1), evidence_of(declared, declaration=broken))
        assert "does not say what it was judged by" in line
    assert lacking(asked(declared, rows=10), evidence_of(declared, declaration={})) == []
    assert lacking(structs.replace(asked(declared), bounds=None), evidence_of(declared, declaration={})) == []


def test_a_laxer_gate_beside_one_within_the_bounds_does_no_harm_unless_it_fails() -> None:
    strict, lax = at_least("roc_auc", 0.8), at_least("roc_auc", 0.1)
    required = asked(strict, value=0.75)
    assert lacking(required, evidence_of(strict), evidence_of(lax)) == []
    assert lacking(required, evidence_of(lax)) != []
    assert lacking(required, evidence_of(strict), evidence_of(lax, verdict=Verdict.WORSE)) != []


def test_a_newer_judgement_by_a_laxer_gate_takes_the_place_of_the_older_one() -> None:
    strict, lax = at_least("roc_auc", 0.8), at_least("roc_auc", 0.1)
    older = evidence_of(strict)
    assert lacking(asked(strict, value=0.75), older, evidence_of(lax, attempt=2)) != []


def test_evidence_is_judged_by_the_bounds_that_were_recorded_with_it() -> None:
    evidence = evidence_of(not_worse_than_production("roc_auc", margin=0.02))
    required = [
        RequiredEvidence(gate=evidence.gate, metric="roc_auc", bounds=Bounds(margin=m)) for m in (0.05, 0.01)
    ]
    assert [len(lacking(each, evidence)) for each in required] == [0, 1]


def test_what_a_project_does_not_declare_strictly_enough_is_known_before_anything_is_trained() -> None:
    required = [
        RequiredEvidence(gate="at_least", metric="roc_auc", bounds=Bounds(value=0.75)),
        RequiredEvidence(gate="fair"),
        RequiredEvidence(gate="replay", bounds=Bounds(rows=2000)),
        RequiredEvidence(gate="not_worse_than_production", bounds=Bounds(alpha=0.05)),
    ]
    declared: list[Judge] = [
        structs.replace(at_least("roc_auc", 0.5), declared_at="churn.py:9"),
        at_least("accuracy", 0.9),
        replay(rows=50),
        not_worse_than_production("roc_auc", margin=0.1, alpha=0.01),
        structs.replace(not_worse_than_production("brier", margin=0.1, alpha=0.3), declared_at="churn.py:12"),
    ]
    told = proof.without_proof(required, declared, "churn: stage/Production")
    asks = "the policy churn: stage/Production asks for"
    assert [line for _, line in told] == [
        f"at_least of roc_auc is declared with value=0.5 (churn.py:9), and {asks} no laxer than value=0.75",
        f"nothing declares fair, and {asks} it",
        f"not_worse_than_production is declared with alpha=0.3 (churn.py:12), and {asks} no laxer than alpha=0.05",
    ]
    assert proof.without_proof(required[:1], [*declared, at_least("roc_auc", 0.8)]) == []


def test_a_policy_says_its_bounds() -> None:
    evidence = RequiredEvidence(
        gate="fair", metric="equalized_odds_difference", max_age="30d",
        bounds=Bounds(at_most=0.05, by=("gender", "age at 30, 60"), rows=2000),
    )  # fmt: skip
    policy = Policy(
        model="churn", stage=Stage.PRODUCTION, evidence=(evidence,), rollout=RolloutBounds(first_share=5)
    )
    assert policy.says == (
        "evidence: fair of equalized_odds_difference, no laxer than at_most=0.05, by=gender + age at 30, 60, on at"
        " least 2,000 rows, at most 30d old; a release whose rollout is no laxer than first_share=5"
    )
    assert not policy.asks_nothing


@pytest.mark.parametrize(
    ("gate", "metric", "values", "where", "says"),
    [
        ("at_least", "roc_auc", {"margin": 0.1}, "bounds", "at_least has no margin to be bounded"),
        ("size", None, {"rows": 10}, "bounds", "size has no rows"),
        ("completeness", None, {"entities": 10}, "bounds", "completeness has no entities"),
        ("schema", None, {"alpha": 0.1}, "bounds", "schema has no alpha"),
        (
            "at_least",
            None,
            {"value": 0.75},
            "metric",
            "a bound on value of at_least means nothing without a metric",
        ),
        ("fair", None, {"at_most": 0.05}, "metric", "means nothing without a metric"),
        ("at_least", "log_loss", {"value": 0.75}, "bounds", "is better when lower"),
        ("at_least", "roc_auc", {"value": 1.5}, "bounds", "value cannot be 1.5"),
        ("at_least", "roc_acu", {"value": 0.5}, "bounds", "is not a known metric"),
        ("not_worse_than_production", "roc_auc", {"margin": 0.0}, "bounds", "margin cannot be 0.0"),
        ("fair", "equalized_odds_ratio", {"at_most": 0.1}, "bounds", "at_most does not fit"),
        ("calibrated", None, {"alpha": 1.0}, "bounds", "alpha cannot be 1.0"),
        ("slices", "roc_auc", {"minimum_rows": 1}, "bounds", "minimum_rows cannot be 1"),
        ("calibrated", "roc_auc", {"at_most": 0.1}, "metric", "calibrated is not of roc_auc"),
        ("replay", "roc_auc", {"rows": 10}, "metric", "replay is not of roc_auc"),
        ("at_least", "roc_auc", {"rows": 0}, "bounds", "rows cannot be 0"),
    ],
)
def test_bounds_that_cannot_be_meant_are_refused(
    gate: str, metric: str | None, values: dict[str, Any], where: str, says: str
) -> None:
    required = RequiredEvidence(gate=gate, metric=metric, bounds=Bounds(**values))
    with pytest.raises(InvalidInput, match=says) as refused:
        rules.check(Policy(model="churn", stage=Stage.PRODUCTION, evidence=(required,)), ["approver"])
    assert refused.value.where == where


def test_a_change_of_bounds_is_told_as_what_it_is() -> None:
    def with_bounds(**values: Any) -> Policy:
        required = RequiredEvidence(gate="at_least", metric="roc_auc", bounds=Bounds(**values), max_age="30d")
        return Policy(model="churn", stage=Stage.PRODUCTION, evidence=(required,))

    before = with_bounds(value=0.75, alpha=0.05)
    assert rules.loosened(before, with_bounds(value=0.8, alpha=0.01, rows=100)) == []
    line = "evidence: no longer at_least of roc_auc, no laxer than value=0.75, alpha=0.05, at most 30d old"
    assert rules.loosened(before, with_bounds(value=0.7, alpha=0.05)) == [line]
    assert rules.loosened(before, with_bounds(value=0.75)) == [line]
    sooner = structs.replace(before.evidence[0], max_age="1d")
    assert rules.loosened(before, structs.replace(before, evidence=(sooner,))) == []


# -- rollouts -----------------------------------------------------------------------------------------------

shares = st.sampled_from([1, 5, 25, 60, 100])
times = st.sampled_from(["1m", "60s", "1h", "60m", "8d"])
rollouts: st.SearchStrategy[Rollout] = st.one_of(
    st.builds(
        lambda first, **guards: Canary(sorted({first, 100}), **guards),
        shares, tolerance=rates, alpha=rates, minimum_time=times, cooling=times,
        invalid_tolerance=st.none() | rates, fallback_tolerance=st.none() | rates, slow_tolerance=st.none() | parts,
        slow_from_ms=parts,
    ),
    st.builds(
        ABTest, reward=st.just("purchase"), share=st.sampled_from([50, 60]), ramp=st.sampled_from([(), (5,)]),
        tolerance=rates, minimum_time=times, margin=st.just(0.0) | rates,
    ),
    st.builds(Bandit, reward=st.just("purchase"), tolerance=rates, cooling=times, slow_tolerance=st.none() | parts),
)  # fmt: skip
rollout_bounds = st.builds(
    RolloutBounds, first_share=st.none() | shares, tolerance=st.none() | rates, alpha=st.none() | rates,
    minimum_time=st.none() | times, cooling=st.none() | times, invalid_tolerance=st.none() | rates,
    fallback_tolerance=st.none() | rates, slow_tolerance=st.none() | parts, slow_from_ms=st.none() | parts,
    margin=st.none() | st.just(0.0) | rates,
)  # fmt: skip


def careful(declared: Rollout, asks: RolloutBounds) -> bool:
    """Whether no bound is laxer, told without the platform's comparison."""
    lengths = {"minimum_time": declared.minimum_time_duration, "cooling": declared.cooling_duration}
    for name, wanted in asks.asked.items():
        if name == "first_share":
            reached = declared.steps[0] <= wanted
        elif name in lengths:
            reached = lengths[name] >= parse_duration(wanted)
        elif name == "margin" and isinstance(declared, Canary):
            reached = True  # no reward is lost where none decides
        else:
            has = getattr(declared, name)
            reached = has is not None and has <= wanted
        if not reached:
            return False
    return True


@given(rollouts, rollout_bounds)
@example(ABTest(reward="purchase", ramp=[5]), RolloutBounds(first_share=5, minimum_time="7d"))
def test_a_rollout_passes_if_and_only_if_no_bound_is_laxer(declared: Rollout, asks: RolloutBounds) -> None:
    short = bounds.laxer_rollout(declared, asks)
    assert (short == []) == careful(declared, asks)
    assert set(short) <= set(asks.asked)


@given(rollouts, rollout_bounds, rollout_bounds)
def test_stricter_bounds_let_no_other_rollout_through(
    declared: Rollout, before: RolloutBounds, after: RolloutBounds
) -> None:
    old, new = (Policy(model="churn", stage=Stage.PRODUCTION, rollout=each) for each in (before, after))
    if not rules.loosened(old, new):
        assert careful(declared, before) or not careful(declared, after)
    assert rules.loosened(old, old) == []
    assert rules.loosened(old, structs.replace(old, rollout=None)) != []  # it need be no release any more


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (Policy(model="churn", alias="champion", rollout=RolloutBounds(first_share=5)), "into Production only"),
        (Policy(model="churn", stage=Stage.STAGING, rollout=RolloutBounds(first_share=5)), "into Production only"),
        (Policy(model="churn", stage=Stage.PRODUCTION, rollout=RolloutBounds()), "nothing is asked of the rollout"),
        (Policy(model="churn", stage=Stage.PRODUCTION, rollout=RolloutBounds(first_share=0)), "do not increase"),
        (Policy(model="churn", stage=Stage.PRODUCTION, rollout=RolloutBounds(minimum_time="soon")), "soon"),
        (Policy(model="churn", stage=Stage.PRODUCTION, rollout=RolloutBounds(cooling="999999999w")), "calendar"),
        (Policy(model="churn", stage=Stage.PRODUCTION, rollout=RolloutBounds(alpha=2.0)), "alpha cannot be 2.0"),
        (Policy(model="churn", stage=Stage.PRODUCTION, rollout=RolloutBounds(margin=-1.0)), "margin cannot be -1"),
    ],
)  # fmt: skip
def test_bounds_of_a_rollout_that_cannot_be_meant_are_refused(policy: Policy, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        rules.check(policy, ["approver"])
    assert refused.value.where == "rollout"
