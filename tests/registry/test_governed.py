"""What the one place that allows or refuses lets through: every change, under open and under strict policies."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from headrace.errors import ApprovalNeeded, InvalidInput, NotFound, PermissionRefused, PolicyRefused
from headrace.kernel import access, events
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Tx
from headrace.registry import (
    aliases,
    approvals,
    evidence,
    models,
    register,
    removal,
    stages,
    tables,
    versions,
)
from headrace.registry.approval import Decision
from headrace.registry.governed import Grounds
from headrace.registry.imported import ImportModel, ImportVersion
from headrace.registry.importing import take_model
from headrace.registry.nouns import ApprovalStatus, Evidence, ModelFile, RegisterVersion, Stage, Verdict
from headrace.registry.rules import RequiredEvidence

pytestmark = pytest.mark.both_databases

Office = Any  # the fixture's class lives in conftest.py, which is no module to import from

MEANT = "I have reviewed the evidence and accept the risk."
YES = Decision(grant=True, meaning=MEANT)
NO = Decision(grant=False, reason="not before the holidays")


# -- the open default ---------------------------------------------------------------------------------------


def test_without_a_policy_whoever_may_register_versions_may_change_everything(office: Office) -> None:
    office.act("cy", office.to(Stage.STAGING))
    office.act("cy", lambda tx: aliases.set_alias(tx, "churn", "champion", 1))
    office.act("cy", lambda tx: versions.describe(tx, "churn", 1, description="the first"))
    office.act("local", office.to(Stage.PRODUCTION))
    assert office.read(approvals.search) == ()
    assert [change.grounds for change in office.read(lambda tx: stages.history(tx, "churn"))] == ["", ""]


@pytest.mark.parametrize("name", ["vic", "bo", "op"])
def test_without_a_policy_nobody_else_may(office: Office, name: str) -> None:
    for work in (
        office.to(Stage.PRODUCTION),
        lambda tx: aliases.set_alias(tx, "churn", "champion", 1),
        lambda tx: versions.describe(tx, "churn", 1, description="mine"),
        lambda tx: models.describe(tx, "churn", tags={"mine": "yes"}),
        lambda tx: removal.delete_version(tx, "churn", 1),
        lambda tx: removal.delete_model(tx, "churn"),
        lambda tx: removal.rename_model(tx, "churn", "mine"),
    ):
        refused = office.refused(name, work)
        assert type(refused) is PermissionRefused
        assert "developer" in refused.message


# -- a strict policy ----------------------------------------------------------------------------------------


def test_a_refused_move_files_one_request_and_the_same_call_works_when_it_is_granted(office: Office) -> None:
    office.policy(approvals=2)
    first = office.refused("cy", office.to(Stage.PRODUCTION))
    assert isinstance(first, ApprovalNeeded)
    assert first.message == (
        "churn@1 may not move to Production yet: it needs 2 approvals of the role approver and has 0."
        " So asks the policy churn: stage/Production."
    )
    asked = office.waiting()
    assert (asked.requested_by, asked.needed, asked.excluded) == ("cy", 2, ("ana", "cy"))
    assert asked.expires_at - asked.requested_at == timedelta(days=7)
    assert f"https://headrace.example/approvals/{asked.id} " in str(first.fix)
    assert f"headrace approvals grant {asked.id}" in str(first.fix)
    again = office.refused("cy", office.to(Stage.PRODUCTION))
    assert (again.message, again.fix) == (first.message, first.fix)
    assert (
        office.refused("local", office.to(Stage.PRODUCTION)).fix == first.fix
    )  # whoever calls: it is the same change
    assert office.decide("bo").status is ApprovalStatus.REQUESTED
    assert "has 1" in office.refused("cy", office.to(Stage.PRODUCTION)).message
    assert office.decide("eve").status is ApprovalStatus.GRANTED
    assert office.stage() is Stage.NONE  # granting moves nothing
    office.act("cy", office.to(Stage.PRODUCTION))
    assert office.stage() is Stage.PRODUCTION
    (used,) = office.read(approvals.search)
    assert (used.status, used.used_at is not None) == (ApprovalStatus.USED, True)
    (change,) = office.read(lambda tx: stages.history(tx, "churn"))
    assert (change.grounds, change.actor) == (f"approval {asked.id}", "cy")


def test_the_audit_trail_holds_the_whole_story(office: Office) -> None:
    office.policy(approvals=1)
    office.prove()
    office.refused("cy", office.to(Stage.PRODUCTION))
    office.decide("bo")
    office.act("cy", office.to(Stage.PRODUCTION))
    asked = office.read(approvals.search)[0]
    told = office.read(lambda tx: events.of_subject(tx, f"approval/{asked.id}"))
    assert [(event.type.removeprefix("registry.approval_"), event.actor) for event in told] == [
        ("requested", "cy"),
        ("granted", "bo"),
        ("used", "cy"),
    ]
    version = office.read(lambda tx: versions.get(tx, "churn", 1))
    known = office.read(lambda tx: evidence.of_version(tx, "churn", 1))
    signature = told[1].payload
    assert (signature["decided_by"], signature["meaning"], signature["digest"]) == ("bo", MEANT, version.digest)
    assert signature["evidence"] == [each.id for each in known]
    assert signature["decided_at"].startswith("2026-01-01T00:00:00")
    of_version = office.read(lambda tx: events.of_subject(tx, "version/churn/1"))
    assert [event.type.removeprefix("registry.") for event in of_version][2:] == ["change_refused", "stage_changed"]
    assert of_version[2].payload["approval_id"] == asked.id
    assert of_version[3].payload["grounds"] == f"approval {asked.id}"


def test_an_approval_allows_one_move_and_no_second(office: Office) -> None:
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    granted = office.decide("bo")
    office.act("cy", office.to(Stage.PRODUCTION))
    office.act("release", office.to(Stage.ARCHIVED, grounds=Grounds(back=True)))
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    assert isinstance(refused, ApprovalNeeded)
    assert office.waiting().id != granted.id


def test_an_approval_of_one_version_stage_or_alias_is_none_of_another(office: Office) -> None:
    office.policy(approvals=1)
    office.policy(stage=Stage.STAGING, approvals=1)
    office.policy(alias="champ*", approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    office.decide("bo")
    for work in (
        office.to(Stage.PRODUCTION, number=2),
        office.to(Stage.STAGING),
        lambda tx: aliases.set_alias(tx, "churn", "champion", 1),
    ):
        assert isinstance(office.refused("cy", work), ApprovalNeeded)
    office.act("cy", office.to(Stage.PRODUCTION))


def test_the_same_words_registered_again_are_another_version_whose_approval_is_its_own(office: Office) -> None:
    """A deleted model that is made again, with the same bytes under the same number, has nothing left of before."""
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    granted = office.decide("bo")
    office.act("cy", lambda tx: removal.delete_model(tx, "churn"))
    assert office.read(lambda tx: approvals.get(tx, granted.id)).status is ApprovalStatus.VOID
    file = ModelFile(path="MLmodel", digest="sha256:" + "c" * 64, size_bytes=1)
    version = RegisterVersion(model="churn", run_id="r1", files=(file,))

    def again(tx: Tx) -> None:
        models.create(tx, "churn")
        assert register.register_version(tx, version, author="ana").digest == granted.digest

    office.act("cy", again)
    assert isinstance(office.refused("cy", office.to(Stage.PRODUCTION)), ApprovalNeeded)


def test_other_bytes_under_the_same_number_have_no_approval(office: Office) -> None:
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION))
    granted = office.decide("bo")
    version = office.read(lambda tx: versions.get(tx, "churn", 1))
    forged = msgspec.structs.replace(version, digest="sha256:" + "e" * 64)
    office.act("worker", lambda tx: tables.fill_version(tx, forged))
    assert isinstance(office.refused("cy", office.to(Stage.PRODUCTION)), ApprovalNeeded)
    assert (office.waiting().digest, office.stage()) == (forged.digest, Stage.NONE)
    office.act("worker", lambda tx: tables.fill_version(tx, version))
    office.act("cy", office.to(Stage.PRODUCTION))  # these are the bytes that were approved
    assert office.read(lambda tx: approvals.get(tx, granted.id)).status is ApprovalStatus.USED


def test_files_that_an_import_brings_later_void_what_was_asked_before(office: Office, clock: ManualClock) -> None:
    now = clock.now()
    bare = ImportVersion(number=1, source="s3://b/m", created_at=now, updated_at=now)
    model = ImportModel(name="taken", created_at=now, updated_at=now, versions=(bare,))
    office.act("adm", lambda tx: take_model(tx, model))
    office.policy(model="taken", approvals=1)
    office.refused("cy", lambda tx: stages.transition(tx, "taken", 1, Stage.PRODUCTION))
    asked = office.waiting()
    file = ModelFile(path="MLmodel", digest="sha256:" + "f" * 64, size_bytes=1)
    filled = msgspec.structs.replace(model, versions=(msgspec.structs.replace(bare, files=(file,)),))
    office.act("adm", lambda tx: take_model(tx, filled))
    closed = office.read(lambda tx: approvals.get(tx, asked.id))
    assert (closed.status, closed.reason) == (ApprovalStatus.VOID, "the version got its files")


def test_an_import_is_held_to_the_policies_too(office: Office, clock: ManualClock) -> None:
    now = clock.now()
    office.policy(model="*", approvals=1)
    office.policy(model="*", alias="champion", movers=("operator",))
    file = ModelFile(path="MLmodel", digest="sha256:" + "f" * 64, size_bytes=1)
    version = ImportVersion(number=1, files=(file,), stage=Stage.PRODUCTION, created_at=now, updated_at=now)
    model = ImportModel(name="taken", created_at=now, updated_at=now, versions=(version,), aliases={"best": 1})
    here = office.act("cy", lambda tx: take_model(tx, model))
    assert [line.partition(":")[0] for line in here.refused] == ["stage of version 1"]
    assert (here.versions[0].stage, here.aliases[0].alias) == (Stage.NONE, "best")


def test_files_that_come_late_do_not_come_in_where_a_version_was_approved_without_them(
    office: Office, clock: ManualClock
) -> None:
    now = clock.now()
    bare = ImportVersion(number=1, created_at=now, updated_at=now)
    model = ImportModel(name="taken", created_at=now, updated_at=now, versions=(bare,))
    office.act("adm", lambda tx: take_model(tx, model))
    office.policy(model="taken", approvals=1)

    def move(stage: Stage) -> Any:
        return lambda tx: stages.transition(tx, "taken", 1, stage, "because")

    office.refused("cy", move(Stage.PRODUCTION))
    office.decide("bo")
    office.act("cy", move(Stage.PRODUCTION))
    file = ModelFile(path="MLmodel", digest="sha256:" + "f" * 64, size_bytes=1)
    filled = msgspec.structs.replace(model, versions=(msgspec.structs.replace(bare, files=(file,)),))
    here = office.act("adm", lambda tx: take_model(tx, filled))
    assert [line.partition(":")[0] for line in here.refused] == ["files of version 1"]
    assert here.versions[0].files == ()
    office.refused("cy", move(Stage.NONE))
    office.decide("bo")
    office.act("cy", move(Stage.NONE))
    here = office.act("adm", lambda tx: take_model(tx, filled))
    assert (here.refused, here.versions[0].files) == ((), (file,))
    assert isinstance(office.refused("cy", move(Stage.PRODUCTION)), ApprovalNeeded)


def test_evidence_is_asked_for_by_gate_and_age(office: Office, clock: ManualClock) -> None:
    office.policy(evidence=(RequiredEvidence(gate="fair", max_age="30d"), RequiredEvidence(gate="slices")))
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    assert type(refused) is PolicyRefused  # nobody could approve it away, so nobody is asked
    assert "there is no evidence of fair; there is no evidence of slices" in refused.message
    assert office.read(approvals.search) == ()
    office.prove("slices")
    office.prove("fair", Verdict.WORSE)
    assert "the newest evidence of fair is WORSE" in office.refused("cy", office.to(Stage.PRODUCTION)).message
    office.prove("fair")
    clock.advance(timedelta(days=31))
    assert "31d old, and may be 30d old" in office.refused("cy", office.to(Stage.PRODUCTION)).message
    office.prove("fair")
    office.act("cy", office.to(Stage.PRODUCTION))
    (change,) = office.read(lambda tx: stages.history(tx, "churn"))
    assert change.grounds == "policy churn: stage/Production"


def test_the_newest_evidence_is_the_last_on_record_whatever_the_clock_said(
    office: Office, clock: ManualClock
) -> None:
    office.policy(evidence=(RequiredEvidence(gate="fair"),))
    office.prove("fair")
    clock.advance(-timedelta(days=1))
    office.prove("fair", Verdict.WORSE)
    assert "the newest evidence of fair is WORSE" in office.refused("cy", office.to(Stage.PRODUCTION)).message
    found = office.read(lambda tx: tables.list_evidence(tx, "churn", 1, limit=1))
    assert [each.verdict for each in found] == [Verdict.WORSE]  # what is left out is the oldest


def test_evidence_against_what_is_no_longer_in_production_is_none(office: Office) -> None:
    asked = RequiredEvidence(gate="not_worse_than_production")
    office.prove("not_worse_than_production")
    office.policy(evidence=(asked,))
    office.policy(alias="champion", evidence=(asked,))
    office.act("cy", office.to(Stage.PRODUCTION))  # nothing was there to compare with
    office.act("cy", lambda tx: aliases.set_alias(tx, "churn", "champion", 1))
    against_none = Evidence(
        model="churn", number=2, kind="gate", name=asked.gate, gate=asked.gate, verdict=Verdict.PASS
    )
    office.act("worker", lambda tx: evidence.record(tx, against_none))
    refused = office.refused("cy", office.to(Stage.PRODUCTION, 2))
    assert "compares with no version, and version 1 is in production" in refused.message
    compared = msgspec.structs.replace(against_none, production_number=1)
    office.act("worker", lambda tx: evidence.record(tx, compared))
    office.act("cy", office.to(Stage.PRODUCTION, 2))


def test_evidence_goes_along_with_a_model_that_is_renamed(office: Office) -> None:
    office.prove("fair")
    office.act("cy", lambda tx: removal.rename_model(tx, "churn", "leaving"))
    (found,) = office.read(lambda tx: evidence.of_version(tx, "leaving", 1))
    assert found.model == "leaving"
    assert office.read(lambda tx: evidence.get(tx, found.id)) == found


def test_approvals_do_not_replace_evidence(office: Office) -> None:
    office.policy(approvals=1, evidence=(RequiredEvidence(gate="fair"),))
    office.refused("cy", office.to(Stage.PRODUCTION))
    granted = office.decide("bo")
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    assert "there is no evidence of fair" in refused.message
    assert "has the approvals that it needs" in str(refused.fix)
    assert office.read(lambda tx: approvals.get(tx, granted.id)).status is ApprovalStatus.GRANTED
    office.prove()
    office.act("cy", office.to(Stage.PRODUCTION))


def test_a_model_that_is_not_there_is_told_from_a_version_that_is_not(office: Office) -> None:
    for model, says in (("churn", "model 'churn' has no version 9"), ("chrn", "there is no model named 'chrn'")):
        with pytest.raises(NotFound, match=says):
            office.read(lambda tx, model=model: versions.get(tx, model, 9))


def test_only_movers_move(office: Office) -> None:
    office.policy(movers=("operator",))
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    assert "it is for the role operator to make, which cy has not got" in refused.message
    office.act("op", office.to(Stage.PRODUCTION))  # who is no developer
    assert office.stage() is Stage.PRODUCTION


@pytest.mark.parametrize(("name", "asks"), [("vic", False), ("bo", False), ("op", True), ("cy", True)])
def test_who_may_neither_ask_nor_move_puts_no_request_before_others(office: Office, name: str, asks: bool) -> None:
    office.policy(movers=("operator",), approvals=1)
    refused = office.refused(name, office.to(Stage.PRODUCTION))
    assert [each.requested_by for each in office.read(approvals.search)] == ([name] if asks else [])
    assert ("Request" in (refused.fix or "")) is asks


def test_a_mover_needs_the_approvals_too(office: Office) -> None:
    office.policy(movers=("operator",), approvals=1)
    assert "has 0" in office.refused("cy", office.to(Stage.PRODUCTION)).message  # who may not move may ask
    office.decide("bo")
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    assert type(refused) is PolicyRefused
    assert "operator" in refused.message
    office.act("op", office.to(Stage.PRODUCTION))


def test_a_disabled_developer_moves_nothing(office: Office) -> None:
    office.act("adm", lambda tx: access.disable_principal(tx, "cy"))
    assert isinstance(office.refused("cy", office.to(Stage.PRODUCTION)), PermissionRefused)


# -- leaving, displacing, going back ------------------------------------------------------------------------


def test_leaving_a_governed_stage_needs_approval_but_no_evidence(office: Office) -> None:
    office.act("cy", office.to(Stage.PRODUCTION))
    office.policy(approvals=1, evidence=(RequiredEvidence(gate="fair"),))
    refused = office.refused("cy", office.to(Stage.ARCHIVED))
    assert "evidence" not in refused.message
    assert office.waiting().target == "stage/Archived"
    office.decide("bo")
    office.act("cy", office.to(Stage.ARCHIVED))


def test_what_is_displaced_goes_with_the_approval_of_what_displaces_it(office: Office) -> None:
    office.act("cy", office.to(Stage.PRODUCTION))
    office.policy(approvals=1)
    office.refused("cy", office.to(Stage.PRODUCTION, 2, archive_existing=True))
    asked = office.decide("bo")
    office.act("cy", office.to(Stage.PRODUCTION, 2, archive_existing=True))
    assert (office.stage(1), office.stage(2)) == (Stage.ARCHIVED, Stage.PRODUCTION)
    grounds = [change.grounds for change in office.read(lambda tx: stages.history(tx, "churn"))]
    assert grounds == ["", f"approval {asked.id}", f"approval {asked.id}"]


def test_displacing_others_is_a_change_even_of_a_version_that_stays(office: Office) -> None:
    office.act("cy", office.to(Stage.PRODUCTION))
    office.act("cy", office.to(Stage.PRODUCTION, 2))
    office.policy(approvals=1)
    refused = office.refused("cy", office.to(Stage.PRODUCTION, 1, archive_existing=True))
    assert isinstance(refused, ApprovalNeeded)
    assert office.stage(2) is Stage.PRODUCTION


def test_what_is_no_longer_the_newest_in_its_stage_may_leave_it(office: Office) -> None:
    office.act("cy", office.to(Stage.PRODUCTION))
    office.act("cy", office.to(Stage.PRODUCTION, 2))
    office.policy(approvals=1, movers=("operator",))
    assert isinstance(office.refused("cy", office.to(Stage.ARCHIVED, 1)), PolicyRefused)
    office.act("op", office.to(Stage.ARCHIVED, 1))
    assert isinstance(office.refused("op", office.to(Stage.ARCHIVED, 2)), ApprovalNeeded)


def test_going_back_asks_for_nothing_and_says_so(office: Office) -> None:
    office.policy(approvals=5)
    office.act("op", office.to(Stage.PRODUCTION, grounds=Grounds(back=True)))
    (change,) = office.read(lambda tx: stages.history(tx, "churn"))
    assert change.grounds == "rollback"


def test_a_project_s_model_moves_by_release_alone(office: Office) -> None:
    office.act("ana", lambda tx: models.declare(tx, "churn", {"name": "churn"}))
    office.act("cy", office.to(Stage.STAGING))
    refused = office.refused("cy", office.to(Stage.PRODUCTION))
    assert "only a release" in refused.message
    assert str(refused.fix) == "Start one with: headrace release churn@1"
    last = office.read(lambda tx: events.of_subject(tx, "version/churn/1"))[-1]
    assert (last.type, last.payload["approval_id"]) == ("registry.change_refused", None)
    office.act("release", office.to(Stage.PRODUCTION, grounds=Grounds(release_id="rel_1")))
    for work in (office.to(Stage.ARCHIVED), office.to(Stage.PRODUCTION, 2, archive_existing=True)):
        assert "only a release" in office.refused("cy", work).message
    office.act("release", office.to(Stage.PRODUCTION, 2, grounds=Grounds(release_id="rel_2")))
    stays = office.refused("cy", office.to(Stage.PRODUCTION, 2, archive_existing=True))
    assert "only a release" in stays.message


# -- aliases, deletion, names, words ------------------------------------------------------------------------


def test_aliases_are_governed_by_their_pattern(office: Office) -> None:
    office.policy(alias="champ*", approvals=1)
    office.act("cy", lambda tx: aliases.set_alias(tx, "churn", "best", 1))

    def crown(number: int = 1) -> Any:
        return lambda tx: aliases.set_alias(tx, "churn", "champion", number)

    assert "get the alias champion" in office.refused("cy", crown()).message
    office.decide("bo")
    office.act("cy", crown())
    office.act("cy", crown())  # it is there: nothing changes
    assert isinstance(office.refused("cy", crown(2)), ApprovalNeeded)
    office.decide("bo")
    removed = office.refused("cy", lambda tx: aliases.delete(tx, "churn", "champion"))
    assert "lose the alias champion" in removed.message
    office.decide("bo")
    office.act("cy", lambda tx: aliases.delete(tx, "churn", "champion"))
    office.act("cy", lambda tx: aliases.delete(tx, "churn", "best"))
    assert office.read(lambda tx: aliases.of_model(tx, "churn")) == ()


def test_what_is_or_was_governed_is_deleted_with_approval_alone(office: Office) -> None:
    office.policy(approvals=1)
    office.policy(alias="champion", approvals=1)
    office.act("release", office.to(Stage.PRODUCTION, grounds=Grounds(back=True)))
    assert "in production" in office.refused("cy", lambda tx: removal.delete_version(tx, "churn", 1)).message
    assert office.read(approvals.search) == ()  # that is not for anybody to approve
    office.act("release", office.to(Stage.ARCHIVED, grounds=Grounds(back=True)))
    office.act("cy", lambda tx: removal.delete_version(tx, "churn", 2))  # it never was anything
    refused = office.refused("cy", lambda tx: removal.delete_version(tx, "churn", 1))
    assert refused.message.startswith("churn@1 may not be deleted yet")
    assert isinstance(office.refused("cy", lambda tx: removal.delete_model(tx, "churn")), ApprovalNeeded)
    for asked in office.read(lambda tx: approvals.search(tx, status=ApprovalStatus.REQUESTED)):
        office.decide("bo", approval=asked)
    office.act("cy", lambda tx: removal.delete_model(tx, "churn"))
    statuses = {each.number: each.status for each in office.read(approvals.search)}
    assert statuses == {0: ApprovalStatus.USED, 1: ApprovalStatus.VOID}
    with pytest.raises(NotFound):
        office.read(lambda tx: models.get(tx, "churn"))


def test_the_approval_of_a_model_s_deletion_is_for_the_versions_that_it_had(office: Office) -> None:
    office.policy(approvals=1)
    office.act("release", office.to(Stage.PRODUCTION, grounds=Grounds(back=True)))
    office.act("release", office.to(Stage.ARCHIVED, grounds=Grounds(back=True)))
    office.refused("cy", lambda tx: removal.delete_model(tx, "churn"))
    office.decide("bo")
    file = ModelFile(path="MLmodel", digest="sha256:" + "9" * 64, size_bytes=1)
    third = RegisterVersion(model="churn", run_id="r3", files=(file,))
    office.act("cy", lambda tx: register.register_version(tx, third))
    assert isinstance(office.refused("cy", lambda tx: removal.delete_model(tx, "churn")), ApprovalNeeded)


def test_a_name_with_policies_of_its_own_is_taken_by_nobody(office: Office) -> None:
    """Else a version could enter production under a name without policies, and then get the governed name."""
    office.policy(model="fraud", approvals=1)
    refused = office.refused("cy", lambda tx: removal.rename_model(tx, "churn", "fraud"))
    assert "policies are set for the name 'fraud'" in refused.message


def test_no_model_has_the_name_that_means_all_of_them(office: Office) -> None:
    """Else it would take the policies of all models along when it is renamed."""
    office.policy(model="*", approvals=1)
    stranger = ImportModel(
        name="*", created_at=office.read(lambda tx: tx.now), updated_at=office.read(lambda tx: tx.now)
    )
    for work in (
        lambda tx: models.create(tx, "*"),
        lambda tx: models.ensure(tx, "*"),
        lambda tx: removal.rename_model(tx, "churn", "*"),
        lambda tx: take_model(tx, stranger),
    ):
        assert isinstance(office.refused("cy", work), InvalidInput)
    assert isinstance(office.refused("cy", office.to(Stage.PRODUCTION)), ApprovalNeeded)


def test_a_governed_model_is_renamed_with_approval_alone(office: Office) -> None:
    office.policy(stage=Stage.STAGING, approvals=1)
    office.act("release", office.to(Stage.STAGING, grounds=Grounds(release_id="rel_1")))
    refused = office.refused("cy", lambda tx: removal.rename_model(tx, "churn", "leaving"))
    assert "churn may not be renamed to leaving yet" in refused.message
    office.decide("bo")
    assert isinstance(office.refused("cy", lambda tx: removal.rename_model(tx, "churn", "other")), ApprovalNeeded)
    office.act("cy", lambda tx: removal.rename_model(tx, "churn", "leaving"))


def test_words_about_what_is_governed_are_the_movers_to_change(office: Office) -> None:
    office.act("cy", office.to(Stage.PRODUCTION))
    office.policy(movers=("operator",))
    office.act("cy", lambda tx: versions.describe(tx, "churn", 2, description="free"))

    def describe(text: str) -> Any:
        return lambda tx: versions.describe(tx, "churn", 1, description=text)

    office.act("op", describe("by an operator"))
    assert isinstance(office.refused("cy", describe("by cy")), ApprovalNeeded)
    asked = office.waiting()
    assert (asked.needed, asked.details["description"]) == (1, "by cy")
    office.decide("bo")
    assert isinstance(office.refused("cy", describe("other words")), ApprovalNeeded)  # than those approved
    office.act("cy", describe("by cy"))
    assert office.read(lambda tx: versions.get(tx, "churn", 1)).description == "by cy"
    assert isinstance(
        office.refused("cy", lambda tx: models.describe(tx, "churn", tags={"a": "b"})), ApprovalNeeded
    )


def test_words_without_movers_need_what_a_move_needs(office: Office) -> None:
    office.act("cy", office.to(Stage.PRODUCTION))
    office.policy(approvals=2)
    assert (
        "2 approvals" in office.refused("cy", lambda tx: versions.describe(tx, "churn", 1, tags={"a": "b"})).message
    )
