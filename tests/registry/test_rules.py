"""Which policy binds, what policies ask for together, and what a change loosens."""

from datetime import timedelta

import pytest

from headrace.errors import InvalidInput
from headrace.kernel.access import Role
from headrace.registry import rules
from headrace.registry.nouns import Stage
from headrace.registry.rules import Policy, RequiredEvidence

ROLES = [role.value for role in Role]


def of_stage(model: str = "churn", stage: Stage = Stage.PRODUCTION, **fields: object) -> Policy:
    return Policy(model=model, stage=stage, **fields)  # type: ignore[arg-type]


def of_alias(alias: str, model: str = "churn", **fields: object) -> Policy:
    return Policy(model=model, alias=alias, **fields)  # type: ignore[arg-type]


def test_the_most_specific_policy_binds() -> None:
    every = of_stage("*", approvals=1)
    own = of_stage(approvals=2)
    assert rules.binding([every, own], "churn", "stage", "Production") == own
    assert rules.binding([every, own], "other", "stage", "Production") == every
    assert rules.binding([own], "other", "stage", "Production") is None
    assert rules.binding([every, own], "churn", "stage", "Staging") is None
    assert rules.binding([every, own], "churn", "alias", "Production") is None


def test_an_alias_by_name_goes_before_a_pattern_and_the_longer_pattern_before_the_shorter() -> None:
    policies = [of_alias("*"), of_alias("champ*"), of_alias("champion"), of_alias("champion", "*"), of_alias("c*n")]

    def pattern(alias: str) -> str:
        bound = rules.binding(policies, "churn", "alias", alias)
        assert bound is not None
        assert bound.model == "churn"
        return bound.pattern

    assert [pattern(alias) for alias in ("champion", "champ", "can", "best", "Champion")] == [
        "champion", "champ*", "c*n", "*", "*",
    ]  # fmt: skip
    assert rules.binding([of_alias("*"), of_alias("champion", "*")], "churn", "alias", "champion") == of_alias("*")


def test_what_governs_a_model_says_where_it_comes_from_and_that_the_default_is_open() -> None:
    nothing = rules.effective([], "churn")
    assert nothing.is_open
    assert "open" in nothing.says
    assert {each.governs: each.source for each in nothing.policies} == {
        "stage/Staging": "default",
        "stage/Production": "default",
        "stage/Archived": "default",
        "alias/*": "default",
    }
    policies = [of_stage("*", approvals=1), of_stage(approvals=2, movers=("operator",)), of_alias("champion", "*")]
    governed = rules.effective([*policies, of_stage("other", Stage.STAGING)], "churn")
    assert not governed.is_open
    bound = {each.governs: (each.source, each.says) for each in governed.policies}
    assert bound["stage/Production"] == (
        "churn",
        "2 approvals of the role approver, not of the author or whoever asks; made by: operator",
    )
    assert bound["stage/Staging"][0] == "default"
    assert bound["alias/champion"] == ("*", "open: the policy asks for nothing")


def test_together_policies_ask_for_all_that_each_asks_for() -> None:
    evidence = RequiredEvidence(gate="fair")
    entered = of_stage(approvals=1, evidence=(evidence,), valid_for="1d", movers=("operator",))
    left = of_stage(
        stage=Stage.STAGING, approvals=2, role="operator", four_eyes=False, valid_for="9d", expires="1h"
    )
    asked = rules.demand([entered, None], [left])
    assert (asked.approvals, asked.role, asked.four_eyes) == (2, "admin", True)
    assert (asked.valid_for, asked.expires) == (timedelta(days=1), timedelta(hours=1))
    assert asked.evidence == (evidence,)
    assert asked.governed_by == ("churn: stage/Production", "churn: stage/Staging")
    assert asked.movers == (("operator",),)
    assert rules.demand((), [entered]).evidence == ()
    assert rules.demand([]).asks_nothing
    assert rules.demand([of_stage()]).asks_nothing


def test_a_policy_without_approvals_does_not_shorten_those_of_another() -> None:
    asked = rules.demand([of_stage(approvals=2, expires="30d")], [of_stage(stage=Stage.STAGING, expires="1h")])
    assert asked.expires == timedelta(days=30)


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (Policy(model="churn"), "stage"),
        (Policy(model="churn", stage=Stage.PRODUCTION, alias="champion"), "stage"),
        (of_stage(stage=Stage.NONE), "stage"),
        (of_alias("a b"), "alias"),
        (of_alias(""), "alias"),
        (of_stage(approvals=-1), "approvals"),
        (of_stage(approvals=21), "approvals"),
        (of_stage(role="emperor"), "role"),
        (of_stage(role="system"), "role"),
        (of_stage(role="viewer"), "role"),
        (of_stage(movers=("emperor",)), "movers"),
        (of_stage(evidence=(RequiredEvidence(gate="Not A Gate"),)), "evidence"),
        (of_stage(evidence=(RequiredEvidence(gate="fairr"),)), "evidence"),
        (of_stage(evidence=(RequiredEvidence(gate="fair", max_age="soon"),)), "max_age"),
        (of_stage(notify=("slack://TokenA/TokenB",)), "notify"),
        (of_stage(expires="0d"), "expires"),
        (of_stage(expires="999999999w"), "expires"),
        (of_stage(valid_for="11y"), "valid_for"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(policy: Policy, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        rules.check(policy, ROLES)
    assert refused.value.where == field


def test_a_policy_says_whom_it_tells() -> None:
    told = of_stage(approvals=1, four_eyes=False, notify=("risk", "ops"))
    assert told.says == "1 approval of the role approver; told to: risk, ops"
    rules.check(told, ROLES)


def test_policies_that_can_be_meant_pass() -> None:
    evidence = (RequiredEvidence(gate="not_worse_than_production", metric="roc_auc", max_age="30d"),)
    rules.check(of_stage(approvals=2, evidence=evidence, movers=("operator", "system")), ROLES)
    rules.check(of_alias("champ-*_1"), ROLES)


def test_what_a_change_loosens_is_named() -> None:
    fair, stable = RequiredEvidence(gate="fair", max_age="30d"), RequiredEvidence(gate="slices")
    before = of_stage(approvals=2, evidence=(fair, stable), movers=("operator",), role="admin", expires="1d")
    after = of_stage(approvals=1, evidence=(stable,), role="approver", four_eyes=False, expires="2d")
    assert rules.loosened(before, after) == [
        "approvals: 2 -> 1",
        "four_eyes: True -> False",
        "evidence: no longer fair, at most 30d old",
        "movers: operator -> whoever may register",
        "role: admin -> approver",
        "expires: 1d -> 2d",
    ]
    assert rules.loosened(after, before) == []
    assert rules.loosened(None, after) == []
    assert rules.loosened(before, None) == [f"removed: {before.says}"]
    assert rules.loosened(of_stage(), None) == []
    assert rules.loosened(before, before) == []


def test_other_approvers_than_before_are_a_loosening() -> None:
    before = of_stage(approvals=1, role="approver")
    for role, says in (("developer", ["role: approver -> developer"]), ("admin", [])):
        assert rules.loosened(before, of_stage(approvals=1, role=role)) == says
    assert rules.loosened(of_stage(movers=("operator",)), of_stage(movers=("operator",), role="developer")) == []


def test_who_is_told_of_a_request_is_told_also_where_it_stands_in_for_a_role() -> None:
    moved = rules.demand_of(of_stage(movers=("operator",), notify=("ops",)))
    assert rules.approved_instead(moved).notify == ("ops",)


def test_times_are_told_in_their_largest_unit() -> None:
    lengths = [timedelta(seconds=-5), timedelta(seconds=59), timedelta(hours=25), timedelta(minutes=61)]
    assert [rules.age_of(length) for length in lengths] == ["0s", "59s", "1d", "1h"]
