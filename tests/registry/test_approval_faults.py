"""What can befall an approval between being asked for and being used: refusals, clocks, lost roles, haste."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from headrace.errors import ApprovalNeeded, InvalidInput, NotFound, PermissionRefused
from headrace.kernel import access, events
from headrace.kernel.access import Role
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Tx
from headrace.registry import (
    aliases,
    approvals,
    evidence,
    governed,
    models,
    removal,
    stages,
    tables,
    versions,
)
from headrace.registry.approval import Approval, AskForApproval, Decision, Revocation
from headrace.registry.governed import Grounds
from headrace.registry.nouns import ApprovalStatus, Stage, Verdict

MEANT = "I have reviewed the evidence and accept the risk."
NO = Decision(grant=False, reason="not before the holidays")

pytestmark = pytest.mark.both_databases

Office = Any  # the fixture's class lives in conftest.py, which is no module to import from

MEANT = "I have reviewed the evidence and accept the risk."
YES = Decision(grant=True, meaning=MEANT)
NO = Decision(grant=False, reason="not before the holidays")


# -- asking, refusing, taking back --------------------------------------------------------------------------


def test_a_refusal_stands_until_somebody_asks_again(office: Office) -> None:
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    closed = office.decide("bo", NO)
    assert (closed.status, closed.reason) == (ApprovalStatus.REFUSED, "not before the holidays")
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    assert f"bo refused request {closed.id}: not before the holidays" in refused.message
    assert "headrace approvals request churn@1 --target stage/Production" in str(refused.fix)
    assert len(office.read(approvals.search)) == 1
    wish = AskForApproval(model="churn", number=1, target="stage/Production", why="the holidays are over")
    asked = office.act("cy", lambda tx: governed.ask(tx, wish))
    assert asked.why == "the holidays are over"
    office.decide("eve", approval=asked)
    office.act("cy", office.to(Stage.PRODUCTION))


@pytest.mark.parametrize("what", ["deleted", "renamed", "alias", "words", "model's words"])
def test_what_was_refused_is_asked_again_as_the_refusal_says(office: Office, what: str) -> None:
    office.act("cy", office.to(Stage.STAGING))
    office.act("cy", lambda tx: aliases.set_alias(tx, "churn", "champion", 1))
    office.policy(stage=Stage.STAGING, approvals=1, movers=("admin",) if "words" in what else ())
    office.policy(alias="champion", approvals=1)
    change: Any = {
        "deleted": lambda tx: removal.delete_version(tx, "churn", 1),
        "renamed": lambda tx: removal.rename_model(tx, "churn", "other"),
        "alias": lambda tx: aliases.delete(tx, "churn", "champion"),
        "words": lambda tx: versions.describe(tx, "churn", 1, description="better"),
        "model's words": lambda tx: models.describe(tx, "churn", description="better"),
    }[what]
    office.refused("cy", change)
    first = office.decide("bo", NO)
    fix = str(office.refused("cy", change).fix)
    about, target = fix.partition("approvals request ")[2].split(" --target ")
    model, _, number = about.partition("@")
    wish = AskForApproval(model=model, number=int(number or 0), target=target)
    asked = office.act("cy", lambda tx: governed.ask(tx, wish))
    assert (asked.status, asked.details) == (ApprovalStatus.REQUESTED, first.details)
    office.decide("eve", approval=asked)
    office.act("cy", change)
    assert office.read(lambda tx: approvals.get(tx, asked.id)).status is ApprovalStatus.USED


def test_a_refusal_is_forgotten_with_its_request(office: Office, clock: ManualClock) -> None:
    office.policy(approvals=1, expires="1d")
    office.refused("cy", office.to(Stage.PRODUCTION))
    closed = office.decide("bo", NO)
    clock.advance(timedelta(days=1))
    office.refused("cy", office.to(Stage.PRODUCTION))
    assert office.waiting().id != closed.id


def test_what_nothing_is_asked_for_cannot_be_asked(office: Office) -> None:
    def ask(**fields: Any) -> Any:
        given: dict[str, Any] = {"model": "churn", "number": 1, "target": "stage/Production", **fields}
        wish = AskForApproval(**given)
        return lambda tx: governed.ask(tx, wish)

    assert "no policy asks" in office.refused("cy", ask()).message
    for target in ("stage/Live", "stage", "alias/", "alias/a/removed", "deleted", ""):
        assert isinstance(office.refused("cy", ask(target=target)), InvalidInput)
        assert isinstance(office.refused("cy", ask(target=target, number=0)), InvalidInput)
    assert isinstance(office.refused("cy", ask(number=9)), NotFound)
    assert isinstance(office.refused("cy", ask(model="none", number=0)), NotFound)
    office.policy(alias="champion", approvals=1)
    assert office.act("cy", ask(target="alias/champion")).target == "alias/champion"


def test_a_policy_that_grew_stricter_reopens_what_was_granted(office: Office) -> None:
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    granted = office.decide("bo")
    office.policy(approvals=2)
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    assert "needs 2 approvals of the role approver and has 1" in refused.message
    reopened = office.waiting()
    assert (reopened.id, reopened.needed, reopened.granted) == (granted.id, 2, 1)
    office.decide("eve")
    office.act("cy", office.to(Stage.PRODUCTION))


def test_a_policy_that_grew_looser_lets_through_what_is_there(office: Office) -> None:
    office.policy(approvals=2)
    office.refused("cy", office.to(Stage.PRODUCTION))
    office.decide("bo")
    office.policy(approvals=1)
    office.act("cy", office.to(Stage.PRODUCTION))


def test_a_policy_that_lets_grants_count_for_less_time_takes_those_that_are_older(
    office: Office, clock: ManualClock
) -> None:
    office.policy(approvals=1, valid_for="30d")
    office.refused("cy", office.to(Stage.PRODUCTION))
    before = office.decide("bo")
    clock.advance(timedelta(days=2))
    office.policy(approvals=1, valid_for="1d")
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    assert "has 0 (its time is over)" in refused.message
    assert office.read(lambda tx: approvals.get(tx, before.id)).status is ApprovalStatus.VOID
    office.decide("bo")  # they may grant it again
    office.act("cy", office.to(Stage.PRODUCTION))


def test_a_grant_that_is_young_enough_for_a_shorter_time_stays(office: Office) -> None:
    office.policy(approvals=2, valid_for="30d")
    office.refused("cy", office.to(Stage.PRODUCTION))
    office.decide("bo")
    office.policy(approvals=2, valid_for="1d")
    assert "has 1" in office.refused("cy", office.to(Stage.PRODUCTION)).message
    office.decide("eve")
    office.act("cy", office.to(Stage.PRODUCTION))


def test_a_policy_that_asks_another_role_asks_anew(office: Office) -> None:
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    before = office.decide("bo")
    office.policy(approvals=1, role="operator")
    assert "bo has not got the role operator" in office.refused("cy", office.to(Stage.PRODUCTION)).message
    assert office.read(lambda tx: approvals.get(tx, before.id)).status is ApprovalStatus.VOID
    office.decide("op")
    office.act("cy", office.to(Stage.PRODUCTION))


# -- clocks, roles, people ----------------------------------------------------------------------------------


def test_a_grant_is_over_in_wall_time_and_a_clock_set_back_does_not_revive_it(
    office: Office, clock: ManualClock
) -> None:
    office.policy(approvals=1, valid_for="2d")
    office.refused("cy", office.to(Stage.PRODUCTION))
    granted = office.decide("bo")
    clock.advance(timedelta(days=2))
    assert "its time is over" in office.refused("cy", office.to(Stage.PRODUCTION)).message
    assert office.read(lambda tx: approvals.get(tx, granted.id)).status is ApprovalStatus.EXPIRED
    clock.advance(-timedelta(days=1))
    assert isinstance(office.refused("cy", office.to(Stage.PRODUCTION)), ApprovalNeeded)
    assert office.stage() is Stage.NONE


def expire_due(tx: Tx) -> list[Approval]:
    """What the loop closes."""
    return [approvals.expire(tx, each) for each in approvals.due(tx)]


def test_a_loop_closes_what_is_over_for_good(office: Office, clock: ManualClock) -> None:
    office.policy(approvals=1, expires="1d", valid_for="2d")
    office.refused("cy", office.to(Stage.PRODUCTION))
    office.refused("cy", office.to(Stage.PRODUCTION, 2))
    first, second = office.read(lambda tx: approvals.search(tx, status=ApprovalStatus.REQUESTED))
    office.decide("bo", approval=first)
    clock.advance(timedelta(days=1))
    assert [each.id for each in office.act("system", expire_due)] == [second.id]
    clock.advance(timedelta(days=1))
    assert [each.id for each in office.act("system", expire_due)] == [first.id]
    assert office.act("system", expire_due) == []
    clock.advance(-timedelta(days=3))
    assert {each.status for each in office.read(approvals.search)} == {ApprovalStatus.EXPIRED}


def test_a_grant_from_the_future_counts_when_that_is_there(office: Office, clock: ManualClock) -> None:
    """Else setting a clock back would make a grant last as much longer."""
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    office.decide("bo")
    clock.advance(-timedelta(days=1))
    assert "dated later than now" in office.refused("cy", office.to(Stage.PRODUCTION)).message
    clock.advance(timedelta(days=1) - timedelta(minutes=4))  # as clocks are corrected now and then
    office.act("cy", office.to(Stage.PRODUCTION))


@pytest.mark.parametrize("given_back", [False, True])
def test_a_role_that_was_taken_away_takes_its_grants_along(office: Office, given_back: bool) -> None:
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    office.decide("bo")
    office.act("adm", lambda tx: access.grant_role(tx, "bo", Role.VIEWER))
    office.act("adm", lambda tx: access.revoke_role(tx, "bo", Role.VIEWER))  # another role is none of this
    office.act("adm", lambda tx: access.revoke_role(tx, "bo", Role.APPROVER))
    if given_back:
        office.act("adm", lambda tx: access.grant_role(tx, "bo", Role.APPROVER))
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    assert "has 0" in refused.message
    assert "the role approver" in refused.message
    assert office.stage() is Stage.NONE


def test_a_disabled_approver_has_approved_nothing(office: Office) -> None:
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    office.decide("bo")
    office.act("adm", lambda tx: access.disable_principal(tx, "bo"))
    assert "bo is disabled" in office.refused("cy", office.to(Stage.PRODUCTION)).message
    office.decide("eve")
    office.act("cy", office.to(Stage.PRODUCTION))


def test_the_event_of_a_lost_role_makes_it_visible(office: Office) -> None:
    office.policy(approvals=2)
    office.refused("cy", office.to(Stage.PRODUCTION))
    office.decide("eve")
    granted = office.decide("bo")
    office.act("adm", lambda tx: access.revoke_role(tx, "bo", Role.APPROVER))
    lost = office.read(lambda tx: events.of_subject(tx, "principal/bo"))[-1]
    office.act("adm", lambda tx: approvals.on_access_lost(tx, lost))
    office.act("adm", lambda tx: approvals.on_access_lost(tx, lost))
    found = office.waiting()
    assert (found.id, found.granted, found.status) == (granted.id, 1, ApprovalStatus.REQUESTED)
    struck = next(each for each in found.decisions if each.principal == "bo")
    assert struck.revoked_because == "the role approver was taken from bo"
    told = office.read(lambda tx: events.of_subject(tx, f"approval/{found.id}"))
    assert [event.type for event in told][-1] == "registry.approval_voided"
    assert len(told) == 4
    office.act("adm", lambda tx: access.grant_role(tx, "bo", Role.APPROVER))
    assert office.decide("bo").status is ApprovalStatus.GRANTED  # asked again, with the role again
    office.act("cy", office.to(Stage.PRODUCTION))


def test_one_person_counts_once(office: Office) -> None:
    office.policy(approvals=2)
    office.refused("cy", office.to(Stage.PRODUCTION))
    office.decide("bo")
    again = office.decide("bo")
    assert (again.status, again.granted, len(again.decisions)) == (ApprovalStatus.REQUESTED, 1, 1)
    assert isinstance(office.refused("cy", office.to(Stage.PRODUCTION)), ApprovalNeeded)


def test_who_thinks_better_of_it_counts_no_longer(office: Office) -> None:
    office.policy(approvals=2)
    office.refused("cy", office.to(Stage.PRODUCTION))
    office.decide("bo")
    closed = office.decide("bo", NO)
    assert closed.status is ApprovalStatus.REFUSED
    assert [(each.grant, bool(each.revoked_because)) for each in closed.decisions] == [(True, True), (False, False)]


def test_two_approvers_at_once(office: Office) -> None:
    office.policy(approvals=2)
    office.refused("cy", office.to(Stage.PRODUCTION))
    asked = office.waiting()
    bo, eve = office.person("bo"), office.person("eve")
    futures = [
        office.database.submit(lambda tx, who=who: approvals.decide(tx, asked.id, YES, who), actor=who.id)
        for who in (bo, eve, bo, eve)
    ]
    statuses = sorted(future.result().status for future in futures)
    assert statuses == ["granted", "granted", "granted", "requested"]
    office.act("cy", office.to(Stage.PRODUCTION))


def test_of_two_moves_at_once_one_uses_the_approval(office: Office) -> None:
    office.policy(approvals=1)
    office.policy(stage=Stage.ARCHIVED, approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    office.decide("bo")

    def there_and_back(tx: Tx) -> None:
        stages.transition(tx, "churn", 1, Stage.PRODUCTION)
        stages.transition(tx, "churn", 1, Stage.NONE, grounds=Grounds(back=True))

    futures = [office.database.submit(there_and_back, actor="cy") for _ in range(3)]
    outcomes = [future.exception() for future in futures]
    assert [type(outcome) for outcome in outcomes] == [type(None), ApprovalNeeded, ApprovalNeeded]


def test_a_grant_is_taken_back_until_it_is_used(office: Office) -> None:
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    asked = office.decide("bo")

    def revoke(name: str, whose: str | None = None) -> Any:
        wish = Revocation(principal=whose, reason="seen too late")
        return lambda tx: approvals.revoke(tx, asked.id, wish, access.acting(tx))

    assert isinstance(office.refused("eve", revoke("eve", "bo")), PermissionRefused)
    assert isinstance(office.refused("eve", revoke("eve")), NotFound)
    back = office.act("bo", revoke("bo"))
    assert (back.status, back.granted, back.reason) == (ApprovalStatus.REQUESTED, 0, "seen too late")
    assert isinstance(office.refused("cy", office.to(Stage.PRODUCTION)), ApprovalNeeded)
    office.decide("bo")
    assert office.act("adm", revoke("adm", "bo")).status is ApprovalStatus.REQUESTED
    office.decide("bo")
    office.act("cy", office.to(Stage.PRODUCTION))
    assert "already used" in office.refused("bo", revoke("bo")).message


def test_a_grant_that_is_taken_back_too_late_to_ask_again_ends_the_request(
    office: Office, clock: ManualClock
) -> None:
    office.policy(approvals=1, expires="1d")
    office.refused("cy", office.to(Stage.PRODUCTION))
    asked = office.decide("bo")
    clock.advance(timedelta(days=2))
    wish = Revocation()
    over = office.act("bo", lambda tx: approvals.revoke(tx, asked.id, wish, access.acting(tx)))
    assert over.status is ApprovalStatus.EXPIRED


def test_a_request_is_withdrawn_by_who_asked(office: Office) -> None:
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    asked = office.waiting()

    def withdraw(tx: Tx) -> Approval:
        return approvals.withdraw_request(tx, asked.id, "", access.acting(tx))

    assert isinstance(office.refused("bo", withdraw), PermissionRefused)
    assert office.act("cy", withdraw).status is ApprovalStatus.WITHDRAWN
    assert "already withdrawn" in office.refused("cy", withdraw).message


def test_a_grant_says_what_it_means_and_a_refusal_why(office: Office) -> None:
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    asked = office.waiting()
    for wrong, field in (
        (Decision(grant=True), "meaning"),
        (Decision(grant=True, meaning="  "), "meaning"),
        (Decision(grant=False), "reason"),
        (Decision(grant=True, meaning="x" * 5_000), "meaning"),
    ):
        refused = office.refused("bo", lambda tx, d=wrong: approvals.decide(tx, asked.id, d, access.acting(tx)))
        assert (type(refused), refused.where) == (InvalidInput, field)
    assert office.decide("bo").decisions[0].meaning == MEANT


def test_what_was_not_seen_is_not_approved(office: Office) -> None:
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    asked = office.waiting()
    unseen = Decision(grant=True, meaning=MEANT, seen=())
    office.prove(verdict=Verdict.WORSE)
    refused = office.refused("bo", lambda tx: approvals.decide(tx, asked.id, unseen, access.acting(tx)))
    assert "was not seen" in refused.message
    (known,) = office.read(lambda tx: evidence.of_version(tx, "churn", 1))
    office.decide("bo", msgspec.structs.replace(unseen, seen=(known.id,)))


def test_rows_of_before_an_upgrade_are_read_with_defaults(office: Office) -> None:
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    asked = office.decide("bo")
    kept = {"role", "four_eyes", "excluded", "requested_by", "requested_at", "expires_at", "at", "grant"}

    def forget(tx: Tx) -> None:
        """As a version of the platform that knew less would have written it, with a field that is gone since."""
        for table in (tables.approvals, tables.approval_decisions):
            for row in tx.execute(sa.select(table.c.id, table.c.document)).all():
                document = {name: value for name, value in row.document.items() if name in kept}
                changed = sa.update(table).where(table.c.id == row.id)
                tx.execute(changed.values(document={**document, "digest_of_old": "x"}))

    office.act("upgrade", forget)
    found = office.read(lambda tx: approvals.get(tx, asked.id))
    assert (found.needed, found.signed, found.details, found.status) == (1, False, {}, ApprovalStatus.GRANTED)
