import msgspec
import pytest
from tests.delivery.conftest import add_version, declaration, declare

from headrace.delivery import releases, settling
from headrace.delivery.kinds import GATES, STAGING
from headrace.delivery.machine import Phase, ReportGates
from headrace.delivery.nouns import GatesResult, OpenRelease, Release, StagingResult
from headrace.errors import LeaseLost
from headrace.kernel import jobs
from headrace.kernel.jobs import Job, JobKind
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.gates import at_least
from headrace.registry import evidence
from headrace.registry.nouns import Evidence, Verdict

BY_KIND = {handling.kind.name: handling for handling in settling.HANDLINGS}


def found(verdict: Verdict, kind: str = "gate") -> Evidence:
    return Evidence(model="churn", number=1, kind=kind, name="auc", verdict=verdict, summary=f"auc: {verdict}")


@pytest.fixture
def release(churn: SqliteDatabase) -> Release:
    return churn.write(lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=1)), actor="cy")


def claimed(database: SqliteDatabase, kind: JobKind[msgspec.Struct, msgspec.Struct]) -> Job:
    job = database.write(lambda tx: jobs.claim(tx, "w1", [kind.name]), actor="system")
    assert job is not None
    return job


def settle(database: SqliteDatabase, job: Job, result: msgspec.Struct) -> None:
    encoded = msgspec.to_builtins(result)
    handling = BY_KIND[job.kind]
    database.write(lambda tx: jobs.settle(tx, handling, job.id, job.lease or "", encoded), actor="system")


def phase(database: SqliteDatabase, release: Release) -> tuple[Phase, str]:
    now = database.read(lambda tx: releases.get(tx, release.id))
    return now.phase, now.reason


def test_gates_that_all_pass_lead_to_staging_and_then_to_the_approval(
    churn: SqliteDatabase, release: Release
) -> None:
    settle(churn, claimed(churn, GATES), GatesResult(evidence=(found(Verdict.PASS), found(Verdict.BETTER))))  # type: ignore[arg-type]
    assert phase(churn, release)[0] is Phase.STAGING
    settle(churn, claimed(churn, STAGING), StagingResult(evidence=found(Verdict.PASS, "staging")))  # type: ignore[arg-type]
    assert phase(churn, release)[0] is Phase.AWAITING_APPROVAL
    kept = churn.read(lambda tx: evidence.of_version(tx, "churn", 1, release_id=release.id))
    assert [(one.kind, one.attempt) for one in kept] == [("gate", 1), ("gate", 1), ("staging", 2)]


@pytest.mark.parametrize("verdict", [Verdict.WORSE, Verdict.INCONCLUSIVE])
def test_one_gate_that_does_not_pass_blocks(churn: SqliteDatabase, release: Release, verdict: Verdict) -> None:
    settle(churn, claimed(churn, GATES), GatesResult(evidence=(found(Verdict.PASS), found(verdict))))  # type: ignore[arg-type]
    assert phase(churn, release) == (Phase.BLOCKED, f"auc: {verdict}")


def test_a_missing_gate_is_no_pass(churn: SqliteDatabase, release: Release) -> None:
    settle(churn, claimed(churn, GATES), GatesResult(evidence=(found(Verdict.PASS),)))  # type: ignore[arg-type]
    assert phase(churn, release)[0] is Phase.BLOCKED


def test_gates_that_cannot_be_computed_block(churn: SqliteDatabase, release: Release) -> None:
    job = claimed(churn, GATES)  # type: ignore[arg-type]
    churn.write(
        lambda tx: jobs.fail(tx, BY_KIND[job.kind], job.id, job.lease or "", "NOT_FOUND: gone", retry=False),
        actor="system",
    )
    assert phase(churn, release) == (Phase.BLOCKED, "the gates could not be computed: NOT_FOUND: gone")


def test_two_workers_with_one_job_move_the_release_once(churn: SqliteDatabase, release: Release) -> None:
    slow = claimed(churn, GATES)  # type: ignore[arg-type]
    churn.write(lambda tx: jobs.abandon(tx, "w1"), actor="system")
    fast = claimed(churn, GATES)  # type: ignore[arg-type]
    good = GatesResult(evidence=(found(Verdict.PASS), found(Verdict.PASS)))
    settle(churn, fast, good)
    with pytest.raises(LeaseLost):
        settle(churn, slow, GatesResult(evidence=(found(Verdict.WORSE),)))
    assert phase(churn, release)[0] is Phase.STAGING
    assert len(churn.read(lambda tx: evidence.of_version(tx, "churn", 1))) == 2


def test_a_result_for_a_release_that_moved_on_leaves_evidence_and_moves_nothing(
    churn: SqliteDatabase, release: Release
) -> None:
    job = claimed(churn, GATES)  # type: ignore[arg-type]
    churn.write(lambda tx: releases.execute(tx, release.id, ReportGates(attempt=1, passed=True)), actor="cy")
    settle(churn, job, GatesResult(evidence=(found(Verdict.WORSE),)))
    assert phase(churn, release)[0] is Phase.STAGING
    assert len(churn.read(lambda tx: evidence.of_version(tx, "churn", 1))) == 1


def test_rows_that_judge_release_after_release_are_counted_and_warned_of(churn: SqliteDatabase) -> None:
    declare(churn, declaration(gates=[at_least("roc_auc", 0.7)], holdout_uses=2))
    rows = "sha256:" + "a" * 64
    summaries = []
    for number in (1, 2, add_version(churn, "r3")):
        release = churn.write(
            lambda tx, number=number: releases.open_release(tx, OpenRelease(model="churn", number=number)),  # type: ignore[misc]
            actor="cy",
        )
        worse = GatesResult(evidence=(found(Verdict.WORSE),), evaluation_digest=rows)
        settle(churn, claimed(churn, GATES), worse)  # type: ignore[arg-type]
        kept = churn.read(lambda tx, release=release: evidence.of_version(tx, "churn", 1, release_id=release.id))  # type: ignore[misc]
        summaries.append((kept[0].details["holdout_uses"], kept[0].summary))
        assert phase(churn, release)[0] is Phase.BLOCKED
    assert summaries[:2] == [(1, "auc: WORSE"), (2, "auc: WORSE")]
    assert summaries[2][0] == 3
    assert "judged 3 releases" in summaries[2][1]
