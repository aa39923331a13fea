from datetime import timedelta

import pytest

from headrace.errors import Conflict, InvalidInput, NotFound, PermissionRefused, PolicyRefused
from headrace.kernel import events
from headrace.kernel.access import LOCAL, Principal, Role, create_principal
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Blocking, Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.registry import approvals, models, register
from headrace.registry.approval import Approval, Decision, RequestApproval, Revocation
from headrace.registry.nouns import ApprovalStatus, ModelFile, RegisterVersion

YES = Decision(grant=True, reason="the evidence is good")
NO = Decision(grant=False, reason="not before the holidays")
BO = Principal(id="bo", name="bo", roles=(Role.APPROVER,))


def ask(
    database: SqliteDatabase,
    *,
    four_eyes: bool = True,
    release_id: str | None = "rel_1",
    requester: str = "cy",
    needed: int = 1,
) -> Approval:
    def work(tx: Tx) -> Approval:
        return approvals.request(
            tx,
            RequestApproval(
                model="churn", number=1, release_id=release_id, expires_s=3600, four_eyes=four_eyes, needed=needed
            ),
        )

    return database.write(work, actor=requester)


def decide(database: SqliteDatabase, approval: Approval, decision: Decision, principal: Principal) -> Approval:
    return database.write(lambda tx: approvals.decide(tx, approval.id, decision, principal), actor=principal.id)


@pytest.fixture
def churn(database: SqliteDatabase) -> SqliteDatabase:
    def work(tx: Tx) -> None:
        create_principal(tx, "bo", [Role.APPROVER])
        models.create(tx, "churn")
        register.register_version(
            tx,
            RegisterVersion(
                model="churn",
                run_id="r1",
                files=(ModelFile(path="MLmodel", digest="sha256:" + "c" * 64, size_bytes=1),),
            ),
            author="ana",
        )

    database.write(work, actor="worker")
    return database


def test_a_second_person_grants_once(churn: SqliteDatabase) -> None:
    approval = ask(churn)
    granted = decide(churn, approval, YES, BO)
    assert (granted.status, granted.decided_by, granted.reason) == (
        ApprovalStatus.GRANTED,
        "bo",
        "the evidence is good",
    )
    assert decide(churn, approval, YES, BO) == granted
    with pytest.raises(Conflict, match="already granted"):
        decide(churn, approval, NO, BO)
    kinds = [event.type for event in churn.read(lambda tx: events.of_subject(tx, f"approval/{approval.id}"))]
    assert kinds == ["registry.approval_requested", "registry.approval_granted"]


@pytest.mark.parametrize("name", ["ana", "cy", "worker"])
def test_neither_author_nor_requester_is_a_second_pair_of_eyes(churn: SqliteDatabase, name: str) -> None:
    approval = ask(churn)
    with pytest.raises(PolicyRefused, match="somebody else"):
        decide(churn, approval, YES, Principal(id=name, name=name, roles=(Role.APPROVER, Role.ADMIN)))
    assert churn.read(lambda tx: approvals.get(tx, approval.id)).status is ApprovalStatus.REQUESTED


def test_the_local_principal_decides_only_where_four_eyes_are_not_asked(churn: SqliteDatabase) -> None:
    with pytest.raises(PolicyRefused, match="without a login"):
        decide(churn, ask(churn), YES, LOCAL)
    platform = Principal(id="system", name="system", roles=(Role.SYSTEM, Role.APPROVER))
    with pytest.raises(PolicyRefused, match="without a login"):
        decide(churn, ask(churn), YES, platform)
    alone = ask(churn, four_eyes=False, release_id="rel_2", requester="local")
    assert decide(churn, alone, YES, LOCAL).status is ApprovalStatus.GRANTED


def test_deciding_needs_the_role(churn: SqliteDatabase) -> None:
    with pytest.raises(PermissionRefused, match="approver"):
        decide(churn, ask(churn), YES, Principal(id="di", name="di", roles=(Role.DEVELOPER, Role.OPERATOR)))


def test_a_refused_attempt_is_recorded_after_it_was_rolled_back(churn: SqliteDatabase) -> None:
    approval = ask(churn)
    ana = Principal(id="ana", name="ana", roles=(Role.APPROVER,))
    with pytest.raises(PolicyRefused):
        Blocking(churn, actor="ana").write(lambda tx: approvals.decide(tx, approval.id, YES, ana))
    last = churn.read(lambda tx: events.of_subject(tx, f"approval/{approval.id}"))[-1]
    assert last.type == "registry.approval_attempt_refused"
    assert (last.payload["attempted_by"], last.payload["grant"]) == ("ana", True)


def expire_due(tx: Tx) -> list[Approval]:
    """What the loop closes."""
    return [approvals.expire(tx, each) for each in approvals.due(tx)]


def test_a_request_expires_in_wall_time(churn: SqliteDatabase, clock: ManualClock) -> None:
    approval = ask(churn)
    clock.advance(timedelta(seconds=3600))
    with pytest.raises(Conflict, match="time to decide is over"):
        decide(churn, approval, YES, BO)
    assert [one.id for one in churn.write(expire_due, actor="system")] == [approval.id]
    assert churn.write(expire_due, actor="system") == []
    assert churn.read(lambda tx: approvals.get(tx, approval.id)).status is ApprovalStatus.EXPIRED
    assert ask(churn).id != approval.id


def test_one_open_request_for_each_release(churn: SqliteDatabase) -> None:
    first = ask(churn)
    assert ask(churn, requester="di").id == first.id
    churn.write(lambda tx: approvals.withdraw(tx, "rel_1", "aborted"), actor="cy")
    assert churn.read(lambda tx: approvals.get(tx, first.id)).status is ApprovalStatus.WITHDRAWN
    assert churn.read(lambda tx: approvals.search(tx, status=ApprovalStatus.REQUESTED)) == ()


def test_requests_that_cannot_be_meant_are_refused(churn: SqliteDatabase) -> None:
    def request(**values: object) -> None:
        fields = {"model": "churn", "number": 1, "expires_s": 60.0} | values
        churn.write(lambda tx: approvals.request(tx, RequestApproval(**fields)), actor="cy")  # type: ignore[arg-type]

    with pytest.raises(NotFound):
        request(number=7)
    with pytest.raises(InvalidInput, match="role"):
        request(role="emperor")
    with pytest.raises(InvalidInput, match="time to live"):
        request(expires_s=0.0)


def test_who_asks_again_for_an_open_request_has_asked_for_it(churn: SqliteDatabase) -> None:
    first = ask(churn)
    again = ask(churn, requester="bo")
    assert (again.id, again.excluded) == (first.id, ("ana", "bo", "cy", "worker"))
    with pytest.raises(PolicyRefused, match="four eyes need somebody else"):
        decide(churn, again, YES, BO)
    assert ask(churn, requester="bo") == again
    told = churn.read(lambda tx: events.of_subject(tx, f"approval/{first.id}"))
    assert [(event.type, event.actor) for event in told[:2]] == [
        ("registry.approval_requested", "cy"),
        ("registry.approval_asked_again", "bo"),
    ]
    assert told[1].payload["excluded"] == list(again.excluded)
    assert sum(event.type == "registry.approval_asked_again" for event in told) == 1


def test_who_granted_before_asking_again_has_granted(churn: SqliteDatabase) -> None:
    granted = decide(churn, ask(churn, needed=2), YES, BO)
    again = ask(churn, needed=2, requester="bo")
    assert (again.granted, again.excluded) == (1, granted.excluded)
    taken_back = churn.write(lambda tx: approvals.revoke(tx, again.id, Revocation(), BO), actor="bo")
    assert taken_back.granted == 0
    assert "bo" in ask(churn, needed=2, requester="bo").excluded  # nothing of theirs counts any more


def test_without_four_eyes_who_asks_again_may_grant(churn: SqliteDatabase) -> None:
    ask(churn, four_eyes=False)
    again = ask(churn, four_eyes=False, requester="bo")
    assert decide(churn, again, YES, BO).status is ApprovalStatus.GRANTED
