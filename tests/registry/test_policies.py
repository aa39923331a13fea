"""Policies are set, replaced and removed, and what they were stays in the audit trail."""

from typing import Any

import pytest

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events
from headrace.registry import models, policies, removal
from headrace.registry.nouns import Stage
from headrace.registry.rules import Policy

pytestmark = pytest.mark.both_databases

Office = Any  # the fixture's class lives in conftest.py, which is no module to import from


def test_a_policy_is_set_replaced_and_removed(office: Office) -> None:
    set_one = office.policy(approvals=2)
    assert (set_one.set_by, set_one.set_at is not None) == ("adm", True)
    assert office.policy(approvals=2, note="") == set_one  # the same again is no change
    office.policy(approvals=1, note="we are few")
    assert [policy.approvals for policy in office.read(policies.search)] == [1]
    office.policy(alias="champion", movers=("operator",))
    assert len(office.read(policies.search)) == 2
    office.act("adm", lambda tx: policies.remove(tx, "churn", "stage/Production"))
    with pytest.raises(NotFound, match="no policy of churn is set on stage/Production"):
        office.act("adm", lambda tx: policies.remove(tx, "churn", "stage/Production"))
    told = office.read(lambda tx: policies.history(tx, "churn"))
    assert [(event.type.removeprefix("registry.policy_"), event.actor) for event in told] == [
        ("set", "adm"),
        ("set", "adm"),
        ("set", "adm"),
        ("removed", "adm"),
    ]
    assert told[0].payload["loosened"] == []
    assert told[1].payload["loosened"] == ["approvals: 2 -> 1"]
    assert told[3].payload["loosened"] == [
        "removed: 1 approval of the role approver, not of the author or whoever asks"
    ]


def test_a_policy_may_be_there_before_its_model_and_stays_when_the_model_goes(office: Office) -> None:
    office.policy(model="fraud", approvals=1)
    assert not office.read(lambda tx: policies.effective(tx, "fraud")).is_open
    office.act("ana", lambda tx: models.create(tx, "fraud"))
    office.act("ana", lambda tx: removal.delete_model(tx, "fraud"))
    assert not office.read(lambda tx: policies.effective(tx, "fraud")).is_open


def test_the_default_is_open_and_says_so(office: Office) -> None:
    found = office.read(lambda tx: policies.effective(tx, "churn"))
    assert found.is_open
    assert found.says == "open: no policy is set, so whoever may register versions may make the change"


def test_what_a_project_delivers_is_shown_to_move_by_release_alone(office: Office) -> None:
    office.act("ana", lambda tx: models.declare(tx, "churn", {"name": "churn"}))
    found = office.read(lambda tx: policies.effective(tx, "churn"))
    assert not found.is_open
    production = next(each for each in found.policies if each.governs == "stage/Production")
    assert production.source == "project"
    assert "only a release" in production.says
    office.policy(approvals=1)
    found = office.read(lambda tx: policies.effective(tx, "churn"))
    production = next(each for each in found.policies if each.governs == "stage/Production")
    assert (production.source, "only a release" in production.says) == ("churn", True)


def test_policies_go_with_a_model_that_is_renamed(office: Office) -> None:
    office.policy(approvals=1)
    office.act("ana", lambda tx: removal.rename_model(tx, "churn", "leaving"))
    (policy,) = office.read(policies.search)
    assert (policy.model, policy.approvals) == ("leaving", 1)
    assert office.read(lambda tx: policies.effective(tx, "churn")).is_open


def test_what_cannot_be_meant_is_refused_and_leaves_no_trace(office: Office) -> None:
    for wrong in (Policy(model="a/b", stage=Stage.PRODUCTION), Policy(stage=Stage.PRODUCTION, role="viewer")):
        with pytest.raises(InvalidInput):
            office.act("adm", lambda tx, wrong=wrong: policies.put(tx, wrong))
    assert office.read(policies.search) == ()
    assert not [event for event in office.read(events.recent) if event.type.startswith("registry.policy")]
