"""A release is held to the registry's policies: before anybody is asked, and when it moves into production."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.delivery.conftest import RAVI, Traffic, add_version, declaration, declare

from headrace.delivery import canary, clearance, deadlines, pipelines, releases, rollback
from headrace.delivery.machine import Phase, ReportGates, ReportStaging
from headrace.delivery.nouns import (
    OpenRelease,
    Pipeline,
    PipelineStatus,
    Release,
    ReleaseAction,
    ReleaseCommand,
    RollbackRequest,
    Train,
)
from headrace.errors import ApprovalNeeded, PolicyRefused
from headrace.kernel import access, events, subscriptions
from headrace.kernel.access import Principal, Role, create_principal
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Blocking, Database, Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.checks import schema
from headrace.project.declaration import definition
from headrace.project.gates import at_least, not_worse_than_production
from headrace.project.rollout import Canary
from headrace.project.shadow import Shadow
from headrace.registry import approvals, evidence, models, policies, stages, versions
from headrace.registry.approval import Approval, Decision, Revocation
from headrace.registry.bounds import Bounds, RolloutBounds
from headrace.registry.nouns import ApprovalStatus, Evidence, Stage, Verdict
from headrace.registry.rules import Policy, RequiredEvidence

OpenTo = Callable[[int], Release]
YES = Decision(grant=True, meaning="I have reviewed the evidence and accept the risk.")
EVE = Principal(id="eve", name="eve", roles=(Role.APPROVER,))


def policy(database: Database, **fields: object) -> None:
    given = Policy(**({"model": "churn", "stage": Stage.PRODUCTION} | fields))  # type: ignore[arg-type]
    database.write(lambda tx: policies.put(tx, given), actor="local")


def open_release(database: Database, number: int = 1, actor: str = "cy") -> Release:
    return database.write(
        lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=number)), actor=actor
    )


def prove(database: Database, release: Release, staging: bool = True) -> Release:
    def work(tx: Tx) -> Release:
        releases.execute(tx, release.id, ReportGates(attempt=1, passed=True))
        if staging:
            releases.execute(tx, release.id, ReportStaging(attempt=2, passed=True))
        return releases.get(tx, release.id)

    return database.write(work, actor="cy")


def request_of(database: Database, release: Release) -> Approval:
    """The newest request of a release."""
    return database.read(lambda tx: approvals.search(tx, release_id=release.id))[0]


def decide(database: Database, release: Release, who: Principal, decision: Decision = YES) -> None:
    """Somebody decides, and the release hears of it."""
    asked = request_of(database, release)
    database.write(lambda tx: approvals.decide(tx, asked.id, decision, who), actor=who.id)
    (told,) = database.read(lambda tx: events.of_subject(tx, f"approval/{asked.id}"))[-1:]
    database.write(lambda tx: releases.on_approval_decided(tx, told), actor="system")


def look_up(database: Database, release: Release) -> Release:
    return database.read(lambda tx: releases.get(tx, release.id))


def judge(traffic: Traffic, clock: ManualClock, release: Release) -> Release:
    """Clean traffic for as long as a step takes, and a look at the canary and at deadlines."""
    traffic.report(release, release.number, units=400)
    clock.advance(timedelta(minutes=1))
    traffic.database.write(canary.evaluate_open, actor="system")
    traffic.database.write(deadlines.lapse, actor="system")
    return look_up(traffic.database, release)


@pytest.fixture
def shop(churn: SqliteDatabase) -> SqliteDatabase:
    churn.write(lambda tx: create_principal(tx, EVE.id, EVE.roles), actor="local")
    return churn


def test_the_policy_adds_to_the_approval_of_the_project(shop: SqliteDatabase) -> None:
    policy(shop, approvals=2, expires="1d")
    release = prove(shop, open_release(shop))
    asked = request_of(shop, release)
    assert (asked.needed, asked.role, asked.four_eyes, asked.signed) == (2, "approver", True, True)
    assert asked.expires_at - asked.requested_at == timedelta(days=1)  # the shorter of the two
    assert asked.governed_by == ("churn: stage/Production", "the project")
    decide(shop, release, RAVI)
    assert look_up(shop, release).phase is Phase.AWAITING_APPROVAL
    decide(shop, release, EVE)
    assert look_up(shop, release).phase is Phase.ROLLING_OUT


def test_a_model_without_a_project_waits_for_the_approvals_of_the_policy(database: SqliteDatabase) -> None:
    def make(tx: Tx) -> None:
        create_principal(tx, RAVI.id, RAVI.roles)
        models.create(tx, "churn")

    database.write(make, actor="ana")
    add_version(database, "r1")
    policy(database, approvals=1)
    release = open_release(database)
    assert release.phase is Phase.AWAITING_APPROVAL
    decide(database, release, RAVI)
    assert look_up(database, release).phase is Phase.ROLLING_OUT


def test_an_approval_is_used_up_by_the_promotion(
    shop: SqliteDatabase, traffic: Traffic, clock: ManualClock, release_to_traffic: OpenTo
) -> None:
    release = judge(traffic, clock, release_to_traffic(1))
    assert release.phase is Phase.COOLING
    assert request_of(shop, release).status is ApprovalStatus.USED
    (change,) = [
        each for each in shop.read(lambda tx: stages.history(tx, "churn")) if each.after is Stage.PRODUCTION
    ]
    assert change.grounds == f"release {release.id}"


def lose_role(database: Database) -> None:
    database.write(lambda tx: access.revoke_role(tx, "ravi", Role.APPROVER), actor="local")


def lose_account(database: Database) -> None:
    database.write(lambda tx: access.disable_principal(tx, "ravi"), actor="local")


def take_back(database: Database) -> None:
    asked = database.read(approvals.search)[0]
    database.write(lambda tx: approvals.revoke(tx, asked.id, Revocation(), RAVI), actor="ravi")


@pytest.mark.parametrize("loss", [lose_role, lose_account, take_back])
def test_an_approval_that_falls_while_there_is_traffic_holds_the_release_until_it_is_given_again(
    shop: SqliteDatabase,
    traffic: Traffic,
    clock: ManualClock,
    release_to_traffic: OpenTo,
    loss: Callable[[Database], None],
) -> None:
    access_lost = approvals.SUBSCRIBERS[0]
    shop.write(lambda tx: subscriptions.enroll(tx, [access_lost]), actor="system")
    release = release_to_traffic(1)
    loss(shop)
    held = judge(traffic, clock, release)
    assert (held.phase, held.state.paused, held.state.approval_open) == (Phase.ROLLING_OUT, True, True)
    assert "it needs 1 approval of the role approver and has 0" in held.reason
    assert shop.read(lambda tx: stages.production(tx, "churn")) is None
    shop.write(lambda tx: subscriptions.advance(tx, access_lost), actor="system")
    assert judge(traffic, clock, held) == held  # nothing happens by itself
    decide(shop, release, EVE, Decision(grant=True))
    assert judge(traffic, clock, look_up(shop, release)).phase is Phase.COOLING
    kinds = [event.type for event in shop.read(lambda tx: events.of_subject(tx, f"release/{release.id}"))]
    assert kinds[-3:] == [
        "delivery.release_approval_lost",
        "delivery.release_resumed",
        "delivery.release_promoted",
    ]


@pytest.mark.parametrize("loss", [lose_role, lose_account, take_back])
def test_a_grant_that_fell_before_the_release_heard_of_it_starts_no_traffic(
    shop: SqliteDatabase, loss: Callable[[Database], None]
) -> None:
    access_lost = approvals.SUBSCRIBERS[0]
    shop.write(lambda tx: subscriptions.enroll(tx, [access_lost]), actor="system")
    release = prove(shop, open_release(shop))
    asked = request_of(shop, release)
    shop.write(lambda tx: approvals.decide(tx, asked.id, YES, RAVI), actor="ravi")
    granted = shop.read(lambda tx: events.of_subject(tx, f"approval/{asked.id}"))[-1]
    assert granted.type == "registry.approval_granted"
    loss(shop)
    shop.write(lambda tx: releases.on_approval_decided(tx, granted), actor="system")
    assert look_up(shop, release).phase is Phase.AWAITING_APPROVAL
    shop.write(lambda tx: subscriptions.advance(tx, access_lost), actor="system")
    decide(shop, release, EVE)
    assert look_up(shop, release).phase is Phase.ROLLING_OUT


def test_refusing_what_was_lost_rolls_the_traffic_back(
    shop: SqliteDatabase, traffic: Traffic, clock: ManualClock, release_to_traffic: OpenTo
) -> None:
    release = release_to_traffic(1)
    take_back(shop)
    judge(traffic, clock, release)
    decide(shop, release, EVE, Decision(grant=False, reason="never"))
    ended = look_up(shop, release)
    assert (ended.phase, ended.reason) == (Phase.ROLLED_BACK, "never")


def test_a_request_that_lapses_while_there_is_traffic_is_asked_again_when_it_is_resumed(
    shop: SqliteDatabase, traffic: Traffic, clock: ManualClock, release_to_traffic: OpenTo
) -> None:
    release = release_to_traffic(1)
    take_back(shop)
    held = judge(traffic, clock, release)
    first = request_of(shop, release)
    clock.advance(timedelta(days=8))
    lapsed = judge(traffic, clock, held)
    assert (lapsed.state.paused, lapsed.state.approval_open) == (True, False)
    resume = ReleaseCommand(command=ReleaseAction.RESUME)
    shop.write(lambda tx: releases.command(tx, release.id, resume), actor="op")
    assert judge(traffic, clock, look_up(shop, release)).state.approval_open
    assert request_of(shop, release).id != first.id
    decide(shop, release, EVE, Decision(grant=True))
    assert judge(traffic, clock, look_up(shop, release)).phase is Phase.COOLING


def test_a_grant_that_ends_before_the_promotion_is_asked_for_again(
    shop: SqliteDatabase, traffic: Traffic, clock: ManualClock
) -> None:
    policy(shop, approvals=1, valid_for="1h")
    release = prove(shop, open_release(shop))
    decide(shop, release, RAVI)
    clock.advance(timedelta(hours=1))
    assert judge(traffic, clock, look_up(shop, release)).state.approval_open
    decide(shop, release, RAVI)
    assert judge(traffic, clock, look_up(shop, release)).phase is Phase.COOLING


def test_a_policy_that_grew_stricter_binds_a_release_under_way(
    shop: SqliteDatabase, traffic: Traffic, clock: ManualClock, release_to_traffic: OpenTo
) -> None:
    release = release_to_traffic(1)
    policy(shop, approvals=2)
    held = judge(traffic, clock, release)
    assert "needs 2 approvals of the role approver and has 1" in held.reason
    decide(shop, release, EVE)
    assert judge(traffic, clock, look_up(shop, release)).phase is Phase.COOLING


def test_nobody_is_asked_before_the_evidence_is_there(shop: SqliteDatabase) -> None:
    policy(shop, evidence=(RequiredEvidence(gate="at_least"),))
    ended = prove(shop, open_release(shop))
    assert (ended.phase, ended.reason) == (
        Phase.BLOCKED,
        "the policy of Production: there is no evidence of at_least",
    )
    assert shop.read(approvals.search) == ()


def test_evidence_of_the_gates_and_of_staging_lets_it_go_on(shop: SqliteDatabase) -> None:
    policy(shop, evidence=(RequiredEvidence(gate="at_least"), RequiredEvidence(gate="replay")))
    release = open_release(shop)
    for gate in ("at_least", "replay"):
        record(shop, gate)
    assert prove(shop, release).phase is Phase.AWAITING_APPROVAL


def record(database: Database, gate: str) -> None:
    found = Evidence(model="churn", number=1, kind="gate", name=gate, gate=gate, verdict=Verdict.PASS)
    database.write(lambda tx: evidence.record(tx, found), actor="system")


def test_a_release_that_cannot_make_the_evidence_is_not_opened(database: SqliteDatabase) -> None:
    database.write(lambda tx: models.create(tx, "churn"), actor="ana")
    add_version(database, "r1")
    policy(database, evidence=(RequiredEvidence(gate="fair"),))
    with pytest.raises(PolicyRefused, match="there is no evidence of fair"):
        open_release(database)
    assert database.read(releases.search) == ()
    record(database, "fair")
    assert open_release(database).phase is Phase.ROLLING_OUT


def strictly(value: float, **bounds: object) -> RequiredEvidence:
    given = Bounds(value=value, **bounds)  # type: ignore[arg-type]
    return RequiredEvidence(gate="at_least", metric="roc_auc", bounds=given)


def test_a_release_whose_gates_are_too_lax_is_not_opened(shop: SqliteDatabase) -> None:
    policy(shop, evidence=(strictly(0.75),))
    with pytest.raises(
        PolicyRefused, match=r"there is no evidence of at_least of roc_auc; .* value=0\.7"
    ) as refused:
        open_release(shop)
    assert "asks for no laxer than value=0.75" in refused.value.message
    assert "headrace apply" in str(refused.value.fix)
    assert shop.read(releases.search) == ()
    declare(shop, declaration(gates=[at_least("roc_auc", 0.8)], checks=[schema()]))
    assert open_release(shop).phase is Phase.GATING


def test_a_check_that_a_version_was_not_trained_under_comes_no_more(shop: SqliteDatabase) -> None:
    declare(shop, declaration(checks=[schema()]))
    policy(shop, evidence=(RequiredEvidence(gate="schema"),))
    with pytest.raises(PolicyRefused, match="there is no evidence of schema; training sets are checked before"):
        open_release(shop)


def test_what_was_judged_too_laxly_blocks_a_release_under_way(shop: SqliteDatabase) -> None:
    """A policy that grows stricter in between counts at the next step."""
    release = open_release(shop)
    gates = [at_least("roc_auc", 0.7), not_worse_than_production("roc_auc", margin=0.005)]
    for gate in gates:
        found = Evidence(
            model="churn", number=1, release_id=release.id, attempt=1, kind="gate", name="gate", metric="roc_auc",
            gate=str(gate.__struct_config__.tag), declaration=definition(gate), verdict=Verdict.PASS,
        )  # fmt: skip
        shop.write(lambda tx, found=found: evidence.record(tx, found), actor="system")  # type: ignore[misc]
    policy(shop, evidence=(strictly(0.75),))
    ended = prove(shop, release)
    assert ended.phase is Phase.BLOCKED
    assert ended.reason == (
        "the policy of Production: the evidence of at_least of roc_auc was judged by value=0.7, and the policy"
        " churn: stage/Production asks for no laxer than value=0.75"
    )


def test_a_rollout_that_is_laxer_than_the_policy_opens_no_release(shop: SqliteDatabase) -> None:
    policy(shop, rollout=RolloutBounds(first_share=1, minimum_time="1h", cooling="1h"))
    with pytest.raises(PolicyRefused) as refused:
        open_release(shop)
    assert (
        "the rollout is declared with first_share=5, minimum_time=10s, and the policy churn: stage/Production asks"
        " for no laxer than first_share=1, minimum_time=1h" in refused.value.message
    )
    declare(shop, declaration(rollout=Canary([1, 100], minimum_time="2h", cooling="1h")))
    assert open_release(shop).phase is Phase.GATING


def test_a_policy_on_rollouts_that_came_meanwhile_holds_the_promotion(
    shop: SqliteDatabase, traffic: Traffic, clock: ManualClock, release_to_traffic: OpenTo
) -> None:
    release = release_to_traffic(1)
    policy(shop, approvals=1, rollout=RolloutBounds(minimum_time="1h"))
    held = judge(traffic, clock, release)
    assert (held.phase, held.state.paused, held.state.approval_open) == (Phase.ROLLING_OUT, True, False)
    assert "the rollout is declared with minimum_time=10s" in held.reason
    promote = ReleaseCommand(command=ReleaseAction.PROMOTE, reason="urgent")
    with pytest.raises(PolicyRefused, match="minimum_time=1h"):
        shop.write(lambda tx: releases.command(tx, release.id, promote), actor="op")
    policy(shop, approvals=1)
    resume = ReleaseCommand(command=ReleaseAction.RESUME)
    shop.write(lambda tx: releases.command(tx, release.id, resume), actor="op")
    assert judge(traffic, clock, look_up(shop, release)).phase is Phase.COOLING


def test_a_person_cannot_pass_over_the_time_that_a_policy_asks_of_the_rollout(
    shop: SqliteDatabase, clock: ManualClock, release_to_traffic: OpenTo
) -> None:
    declare(shop, declaration(rollout=Canary([5, 100], minimum_time="1h")))
    policy(shop, rollout=RolloutBounds(first_share=5, minimum_time="1h"))
    release = release_to_traffic(1)
    promote = ReleaseCommand(command=ReleaseAction.PROMOTE, reason="urgent")
    clock.advance(timedelta(minutes=59))
    people = Blocking(shop, actor="op")
    with pytest.raises(PolicyRefused, match="it has been at 100 % for 59m") as refused:
        people.write(lambda tx: releases.command(tx, release.id, promote))
    assert "roll_back" in str(refused.value.fix)
    assert look_up(shop, release) == release  # nothing is held up by it
    assert [each.actor for each in shop.read(events.recent) if each.type == "registry.change_refused"] == ["op"]
    clock.advance(timedelta(minutes=1))
    people.write(lambda tx: releases.command(tx, release.id, promote))
    assert look_up(shop, release).phase is Phase.COOLING


def test_a_person_cannot_pass_over_the_first_share(
    shop: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    declare(shop, declaration(shadow=Shadow(units=10)))
    policy(shop, rollout=RolloutBounds(first_share=5))
    release = release_to_traffic(2)
    assert release.in_shadow
    promote = ReleaseCommand(command=ReleaseAction.PROMOTE, reason="urgent")
    with pytest.raises(PolicyRefused, match="it has answered nobody yet"):
        shop.write(lambda tx: releases.command(tx, release.id, promote), actor="op")


def test_what_production_was_released_by_counts_for_what_is_declared(
    shop: SqliteDatabase, complete: OpenTo
) -> None:
    """The release after a strict one is held to the same gates, so a looser declaration does no harm yet."""
    complete(1)
    declare(shop, declaration(gates=[at_least("roc_auc", 0.1)]))
    policy(shop, evidence=(strictly(0.7),))
    assert open_release(shop, 2).phase is Phase.GATING


def test_nothing_is_trained_that_no_release_could_bring_into_production(shop: SqliteDatabase) -> None:
    policy(shop, evidence=(strictly(0.75), RequiredEvidence(gate="schema")), rollout=RolloutBounds(first_share=1))
    with pytest.raises(PolicyRefused, match="no version of churn could be released") as refused:
        shop.write(lambda tx: pipelines.train(tx, Train(model="churn")), actor="dana")
    for told in ("value=0.7", "nothing declares schema", "first_share=5"):
        assert told in refused.value.message
    assert "--no-release" in str(refused.value.fix)
    clear = declaration(gates=[at_least("roc_auc", 0.75)], checks=[schema()], rollout=Canary([1, 100]))
    declare(shop, clear)
    assert shop.read(lambda tx: clearance.shortfalls(tx, "churn", clear.policy)) == ()


def test_evidence_that_grew_too_old_pauses_the_promotion(
    shop: SqliteDatabase, traffic: Traffic, clock: ManualClock, release_to_traffic: OpenTo
) -> None:
    record(shop, "fair")
    policy(shop, evidence=(RequiredEvidence(gate="fair", max_age="1h"),))
    release = release_to_traffic(1)
    clock.advance(timedelta(hours=2))
    held = judge(traffic, clock, release)
    assert (held.state.paused, held.state.approval_open) == (True, False)
    assert "2h old, and may be 1h old; resume the release to try again" in held.reason
    record(shop, "fair")
    resume = ReleaseCommand(command=ReleaseAction.RESUME)
    shop.write(lambda tx: releases.command(tx, release.id, resume), actor="op")
    assert judge(traffic, clock, look_up(shop, release)).phase is Phase.COOLING


def test_promoting_by_hand_skips_no_policy(shop: SqliteDatabase, release_to_traffic: OpenTo) -> None:
    release = release_to_traffic(1)
    take_back(shop)
    promote = ReleaseCommand(command=ReleaseAction.PROMOTE, reason="urgent")
    people = Blocking(shop, actor="op", address=lambda: "https://headrace.example")
    with pytest.raises(ApprovalNeeded, match="has 0") as refused:
        people.write(lambda tx: releases.command(tx, release.id, promote))
    asked = request_of(shop, release)
    assert f"https://headrace.example/approvals/{asked.id}" in str(refused.value.fix)
    held = look_up(shop, release)
    assert (held.phase, held.state.paused, held.state.approval_open) == (Phase.ROLLING_OUT, True, True)
    decide(shop, release, EVE, Decision(grant=True))
    people.write(lambda tx: releases.command(tx, release.id, promote))
    assert look_up(shop, release).phase is Phase.COOLING


def test_who_opens_a_release_makes_its_move(shop: SqliteDatabase) -> None:
    policy(shop, movers=("operator",))
    shop.write(lambda tx: create_principal(tx, "dana", [Role.DEVELOPER]), actor="local")
    shop.write(lambda tx: create_principal(tx, "oda", [Role.DEVELOPER, Role.OPERATOR]), actor="local")
    asked = OpenRelease(model="churn", number=1)
    with pytest.raises(PolicyRefused, match="it is for the role operator to make, which dana has not got"):
        Blocking(shop, actor="dana").write(lambda tx: releases.open_release(tx, asked))
    (kept,) = [event for event in shop.read(events.recent) if event.type == "registry.change_refused"]
    assert (kept.actor, kept.payload["target"]) == ("dana", "stage/Production")
    assert open_release(shop, actor="oda").phase is Phase.GATING


def test_who_lost_the_mover_s_role_makes_no_move(
    shop: SqliteDatabase, traffic: Traffic, clock: ManualClock
) -> None:
    policy(shop, movers=("operator",))
    shop.write(lambda tx: create_principal(tx, "oda", [Role.DEVELOPER, Role.OPERATOR]), actor="local")
    release = prove(shop, open_release(shop, actor="oda"))
    decide(shop, release, RAVI, Decision(grant=True))
    shop.write(lambda tx: access.revoke_role(tx, "oda", Role.OPERATOR), actor="local")
    held = judge(traffic, clock, look_up(shop, release))
    assert (held.phase, held.state.paused) == (Phase.ROLLING_OUT, True)
    assert "which oda has not got" in held.reason


@pytest.mark.parametrize(("movers", "opens"), [(("operator",), False), (("operator", "system"), True)])
def test_a_pipeline_that_may_not_open_the_release_says_so(
    shop: SqliteDatabase, movers: tuple[str, ...], opens: bool
) -> None:
    policy(shop, movers=movers)
    pipeline = Pipeline(
        id="pip_1",
        model="churn",
        status=PipelineStatus.RUNNING,
        trigger="drift",
        as_of=shop.read(lambda tx: tx.now),
        ready_at=shop.read(lambda tx: tx.now),
        release=True,
        requested_by="system",
        requested_at=shop.read(lambda tx: tx.now),
    )

    def settle(tx: Tx) -> tuple[str | None, str]:
        return pipelines._open(tx, pipeline, versions.get(tx, "churn", 1))

    opened, note = shop.write(settle, actor="system")
    assert (opened is not None) == opens
    assert ("its release was not opened: churn@1 may not move to Production" in note) != opens


def test_where_staging_is_governed_a_release_does_not_move_the_version_there(shop: SqliteDatabase) -> None:
    policy(shop, stage=Stage.STAGING, approvals=1)
    release = prove(shop, open_release(shop))
    assert release.phase is Phase.AWAITING_APPROVAL
    assert shop.read(lambda tx: versions.get(tx, "churn", 1)).stage is Stage.NONE
    (asked,) = shop.read(approvals.search)
    assert asked.target == "stage/Production"


def test_going_back_needs_nobody_and_is_on_record(
    shop: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    complete(2)
    policy(shop, approvals=5, evidence=(RequiredEvidence(gate="fair"),), movers=("admin",))
    shop.write(lambda tx: rollback.roll_back(tx, "churn", RollbackRequest(expected=2)), actor="op")
    production = shop.read(lambda tx: stages.production(tx, "churn"))
    assert production is not None
    assert production.number == 1
    last = shop.read(lambda tx: stages.history(tx, "churn"))[-1]
    assert (last.number, last.after, last.grounds, last.actor) == (1, Stage.PRODUCTION, "rollback", "op")


def test_giving_a_release_up_needs_nobody(shop: SqliteDatabase, release_to_traffic: OpenTo) -> None:
    release = release_to_traffic(1)
    policy(shop, approvals=5)
    back = ReleaseCommand(command=ReleaseAction.ROLL_BACK, reason="no")
    shop.write(lambda tx: releases.command(tx, release.id, back), actor="op")
    version = shop.read(lambda tx: versions.get(tx, "churn", 1))
    assert version.stage is Stage.ARCHIVED
    last = shop.read(lambda tx: stages.history(tx, "churn"))[-1]
    assert last.grounds == f"rollback of release {release.id}"
    assert request_of(shop, release).status is ApprovalStatus.WITHDRAWN


@pytest.fixture
def foreign(database: SqliteDatabase) -> SqliteDatabase:
    """A model that no project declares: version 1 is in production, 2 and 3 are not, and a policy governs that."""

    def make(tx: Tx) -> None:
        for who in (RAVI, EVE):
            create_principal(tx, who.id, who.roles)
        create_principal(tx, "cy", [Role.DEVELOPER])
        models.create(tx, "churn")

    database.write(make, actor="ana")
    for run in ("r1", "r2", "r3"):
        add_version(database, run)
    database.write(lambda tx: stages.transition(tx, "churn", 1, Stage.PRODUCTION), actor="cy")
    policy(database, approvals=1)
    return database


def move_with_approval(database: Database, number: int) -> None:
    """What an MLflow client does: call, be refused, and call again when it is granted."""
    client = Blocking(database, actor="cy")

    def move(tx: Tx) -> None:
        stages.transition(tx, "churn", number, Stage.PRODUCTION, archive_existing=True)

    with pytest.raises(ApprovalNeeded):
        client.write(move)
    (asked,) = [
        each
        for each in database.read(lambda tx: approvals.search(tx, status=ApprovalStatus.REQUESTED))
        if each.release_id is None
    ]
    database.write(lambda tx: approvals.decide(tx, asked.id, YES, RAVI), actor=RAVI.id)
    client.write(move)


def in_production(database: Database) -> list[int]:
    standing = database.read(lambda tx: versions.standings(tx, [("churn", number) for number in (1, 2, 3)]))
    return [each.number for each in standing.values() if each.stage is Stage.PRODUCTION]


@pytest.mark.parametrize("own", [False, True])
def test_a_release_that_ends_leaves_what_was_approved_for_production_meanwhile(
    foreign: SqliteDatabase, own: bool
) -> None:
    release = open_release(foreign, 2)
    assert (release.phase, release.champion) == (Phase.AWAITING_APPROVAL, 1)
    approved = 2 if own else 3
    move_with_approval(foreign, approved)
    assert in_production(foreign) == [approved]
    decide(foreign, release, EVE, Decision(grant=False, reason="never"))
    assert look_up(foreign, release).phase is Phase.REFUSED
    assert in_production(foreign) == [approved]  # and not version 1, for which nobody granted anything


def test_a_release_that_is_rolled_back_restores_what_it_replaced_and_nothing_else(foreign: SqliteDatabase) -> None:
    release = open_release(foreign, 2)
    decide(foreign, release, RAVI)
    promote, back = (
        ReleaseCommand(command=action, reason="now") for action in (ReleaseAction.PROMOTE, ReleaseAction.ROLL_BACK)
    )
    foreign.write(lambda tx: releases.command(tx, release.id, promote), actor="op")
    assert in_production(foreign) == [2]
    foreign.write(lambda tx: releases.command(tx, release.id, back), actor="op")
    assert in_production(foreign) == [1]
    again = open_release(foreign, 2)
    decide(foreign, again, RAVI)
    foreign.write(lambda tx: releases.command(tx, again.id, promote), actor="op")
    move_with_approval(foreign, 3)
    foreign.write(lambda tx: releases.command(tx, again.id, back), actor="op")
    assert in_production(foreign) == [3]


def test_without_any_policy_a_release_is_as_its_project_says(shop: SqliteDatabase) -> None:
    declare(shop, declaration(approval=None))
    assert prove(shop, open_release(shop)).phase is Phase.ROLLING_OUT
