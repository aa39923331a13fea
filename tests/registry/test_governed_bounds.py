"""Moves under policies that bound what they ask for: what was declared too laxly does not count at any door."""

from datetime import timedelta
from typing import Any

import pytest

from headrace.errors import PolicyRefused
from headrace.kernel import events
from headrace.kernel.clocks import ManualClock
from headrace.project.declaration import definition
from headrace.project.gates import at_least, fair, not_worse_than_production
from headrace.registry import approvals, governed, policies
from headrace.registry.bounds import Bounds, RolloutBounds
from headrace.registry.nouns import Stage
from headrace.registry.rules import RequiredEvidence

pytestmark = pytest.mark.both_databases

Office = Any  # the fixture's class lives in conftest.py, which is no module to import from


def test_a_gate_that_was_declared_too_laxly_does_not_count(office: Office) -> None:
    """Whoever declares gates may declare some that nothing fails: the policy says how strict they have to be."""
    strictly = RequiredEvidence(gate="at_least", metric="roc_auc", bounds=Bounds(value=0.75, alpha=0.05, rows=500))
    office.policy(evidence=(strictly,))
    lax, strict = at_least("roc_auc", 0.0, alpha=0.5), at_least("roc_auc", 0.75)
    for gate, rows in ((lax, 1000), (strict, 499)):
        office.prove("at_least", metric="roc_auc", declaration=definition(gate), sample_size=rows)
        refused = office.refused("cy", office.to(Stage.PRODUCTION))
        assert type(refused) is PolicyRefused
    assert refused.message == (
        "churn@1 may not move to Production yet: the evidence of at_least of roc_auc rests on 499 rows, and the"
        " policy churn: stage/Production asks for 500. So asks the policy churn: stage/Production."
    )
    _, first = [told for told in office.read(events.recent) if told.type == "registry.change_refused"]
    assert (
        "was judged by value=0, alpha=0.5, and the policy churn: stage/Production asks for no laxer than"
        " value=0.75, alpha=0.05" in first.payload["reason"]
    )
    assert refused.fix is not None
    assert "`headrace apply`" in refused.fix
    assert "headrace policy show churn" in refused.fix
    office.prove("at_least", metric="roc_auc", declaration=definition(strict), sample_size=500)
    office.act("cy", office.to(Stage.PRODUCTION))
    recorded = [told for told in office.read(events.recent) if told.type == "registry.evidence_recorded"]
    assert [told.payload["declaration"]["value"] for told in recorded] == [0.75, 0.75, 0.0]


def test_a_policy_that_changed_judges_the_next_move_and_old_evidence_by_what_was_recorded_with_it(
    office: Office,
) -> None:
    def bound(margin: float) -> None:
        asked = RequiredEvidence(gate="not_worse_than_production", metric="f1", bounds=Bounds(margin=margin))
        office.policy(evidence=(asked,))

    gate = not_worse_than_production("f1", margin=0.02)
    office.prove("not_worse_than_production", metric="f1", declaration=definition(gate))
    bound(0.01)
    assert "margin=0.02" in office.refused("cy", office.to(Stage.PRODUCTION)).message
    bound(0.05)
    office.act("cy", office.to(Stage.PRODUCTION))
    bound(0.01)
    assert office.stage() is Stage.PRODUCTION  # what was allowed then stays
    told = office.read(lambda tx: policies.history(tx, "churn"))
    assert [bool(event.payload["loosened"]) for event in told] == [False, True, False]
    assert "no laxer than margin=0.05" in told[1].payload["says"]


def test_a_bounded_rollout_takes_a_release(office: Office) -> None:
    office.policy(rollout=RolloutBounds(first_share=5, minimum_time="1h"), approvals=1)
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    assert office.read(approvals.search) == ()  # no approval would make it careful
    asked = "a release whose rollout is no laxer than first_share=5, minimum_time=1h"
    assert f"the policy churn: stage/Production asks for {asked}" in refused.message
    assert refused.fix is not None
    assert refused.fix.startswith("Open a release, which moves it there: headrace release churn@1")


def test_evidence_that_is_only_too_old_is_to_be_made_again(office: Office, clock: ManualClock) -> None:
    office.policy(evidence=(RequiredEvidence(gate="fair", bounds=Bounds(alpha=0.05), max_age="30d"),))
    office.prove("fair", declaration=definition(fair(["age"], at_most=0.1)))
    clock.advance(timedelta(days=31))
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    assert "is 31d old, and may be 30d old" in refused.message
    assert str(refused.fix).startswith("Have it judged anew by another release: headrace release churn@1")


def test_a_request_tells_what_is_missing_beyond_approvals(office: Office) -> None:
    strictly = RequiredEvidence(gate="fair", bounds=Bounds(alpha=0.05, rows=100))
    office.policy(approvals=1, evidence=(strictly,))
    office.prove("fair", declaration=definition(fair(["age"], at_most=0.1, alpha=0.2)), sample_size=100)
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    asked = office.waiting()
    assert refused.fix is not None
    assert refused.fix.startswith("Declare it as strictly as the policy asks")
    assert f"headrace approvals grant {asked.id}" in refused.fix
    (line,) = office.read(lambda tx: governed.look_at(tx, asked.id)).missing
    assert "was judged by alpha=0.2" in line
    office.prove("fair", declaration=definition(fair(["age"], at_most=0.1)), sample_size=100)
    assert office.read(lambda tx: governed.look_at(tx, asked.id)).missing == ()
    office.decide("bo")
    office.act("cy", office.to(Stage.PRODUCTION))
    assert office.read(lambda tx: governed.look_at(tx, asked.id)).missing == ()
