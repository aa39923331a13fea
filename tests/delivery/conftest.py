"""What delivery's tests share: a declared model with registered versions, and gateways that report counts."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from headrace.delivery import apply, canary, releases
from headrace.delivery.machine import AnswerApproval, ReportGates, ReportStaging
from headrace.delivery.nouns import OpenRelease, Release
from headrace.kernel.access import Principal, Role, create_principal
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.approval import Approval
from headrace.project.bundle import Bundle, BundleFile
from headrace.project.entity import Entity
from headrace.project.environment import EnvironmentLock
from headrace.project.feature import count
from headrace.project.feature_view import FeatureView
from headrace.project.gates import at_least, not_worse_than_production
from headrace.project.label import Label, none_within
from headrace.project.manifest import DataFile, Manifest
from headrace.project.model import ModelDeclaration
from headrace.project.monitors import drift
from headrace.project.policy import DeliveryPolicy
from headrace.project.retrain import Retrain
from headrace.project.rollout import Canary
from headrace.project.source import Source
from headrace.project.staging import replay
from headrace.registry import approvals, register
from headrace.registry.approval import Decision
from headrace.registry.nouns import ApprovalStatus, ModelFile, RegisterVersion
from headrace.serving import reports
from headrace.serving.latencies import bucket
from headrace.serving.nouns import GatewayReport, VersionCounts

CUSTOMER = Entity("customer", key="customer_id")
PURCHASES = Source("purchases", "data/purchases.parquet", time="date")
ACTIVITY = FeatureView(
    "activity", entity=CUSTOMER, source=PURCHASES, features={"count_90d": count(window="90d")}, ttl="400d"
)
CHURNED = Label("churned", entity=CUSTOMER, source=PURCHASES, value=none_within("90d"), matures_after="90d")


def declaration(**policy: object) -> ModelDeclaration:
    fields: dict[str, object] = {
        "gates": [at_least("roc_auc", 0.7), not_worse_than_production("roc_auc", margin=0.005)],
        "staging": replay(rows=50),
        "approval": Approval(),
        "rollout": Canary([5, 100], minimum_time="10s", cooling="1h"),
        "monitors": [drift()],
        "retrain": Retrain(on=["drift"], cooldown="40d"),
    }
    return ModelDeclaration(
        name="churn",
        features=[ACTIVITY],
        label=CHURNED,
        policy=DeliveryPolicy(**(fields | policy)),  # type: ignore[arg-type]
        function="train",
    )


RAVI = Principal(id="ravi", name="ravi", roles=(Role.APPROVER,))
"""A second pair of eyes."""

ENVIRONMENT = EnvironmentLock(python="3.11.7", packages={"numpy": "2.4.6"})


def manifest(*models: ModelDeclaration, code: str = "1", project: str = "shop", data: str = "4") -> Manifest:
    """A project with purchases, their view, a label and these models; `code` and `data` stand for contents."""
    return Manifest(
        project=project,
        entities=(CUSTOMER,),
        sources=(PURCHASES,),
        feature_views=(ACTIVITY,),
        labels=(CHURNED,),
        models=models,
        data_files=(
            DataFile(source="purchases", path="data/purchases.parquet", digest="sha256:" + data * 64, size_bytes=9),
        ),
        bundle=Bundle(
            digest="sha256:" + code * 64,
            size_bytes=10,
            project_file="project.py",
            files=(BundleFile(path="project.py", digest="sha256:" + code * 64, size_bytes=10),),
            environment_digest=ENVIRONMENT.digest,
        ),
        environment=ENVIRONMENT,
        code_commit="abc",
    )


def declare(database: SqliteDatabase, declared: ModelDeclaration) -> None:
    """Apply the project as ana."""
    database.write(lambda tx: apply.apply(tx, manifest(declared), ()), actor="ana")


def add_version(database: SqliteDatabase, run_id: str) -> int:
    asked = RegisterVersion(
        model="churn",
        run_id=run_id,
        files=(ModelFile(path="MLmodel", digest="sha256:" + "c" * 64, size_bytes=1),),
    )
    return database.write(lambda tx: register.register_version(tx, asked), actor="ana").number


@pytest.fixture
def churn(database: SqliteDatabase) -> SqliteDatabase:
    """A database with a declared model and two versions, none of them released."""
    database.write(lambda tx: create_principal(tx, RAVI.id, RAVI.roles), actor="local")
    declare(database, declaration())
    add_version(database, "r1")
    add_version(database, "r2")
    return database


class Traffic:
    """One gateway that reports cumulative counts of distinct units."""

    def __init__(self, database: SqliteDatabase, booted_at: datetime) -> None:
        self.database = database
        self.booted_at = booted_at

    def report(
        self,
        release: Release,
        version: int,
        *,
        units: int,
        failed: int = 0,
        gateway: str = "g1",
        latency_us: int = 100,
        **more: Any,
    ) -> None:
        counts = VersionCounts(
            model=release.model,
            version=version,
            release_id=release.id,
            step=release.state.step,
            requests=units,
            faults=failed,
            units=units,
            failed_units=failed,
            latency_us_sum=units * latency_us,
            latency_counts={bucket(latency_us): units},
            **more,
        )
        report = GatewayReport(
            gateway=gateway,
            boot="b1",
            booted_at=self.booted_at,
            url="http://127.0.0.1:1",
            applied_sequence=1,
            counts=(counts,),
        )
        self.database.write(lambda tx: reports.record(tx, report), actor="system")


@pytest.fixture
def traffic(churn: SqliteDatabase, clock: ManualClock) -> Traffic:
    return Traffic(churn, clock.now())


@pytest.fixture
def release_to_traffic(churn: SqliteDatabase) -> Callable[[int], Release]:
    """Opens the release of a version and takes it to its first step of traffic."""

    def open_and_prove(number: int) -> Release:
        def work(tx: Tx) -> Release:
            release = releases.open_release(tx, OpenRelease(model="churn", number=number))
            releases.execute(tx, release.id, ReportGates(attempt=1, passed=True))
            releases.execute(tx, release.id, ReportStaging(attempt=2, passed=True))
            (request,) = approvals.search(tx, release_id=release.id, status=ApprovalStatus.REQUESTED)
            approvals.decide(tx, request.id, Decision(grant=True), RAVI)
            return releases.execute(tx, release.id, AnswerApproval(granted=True))

        return churn.write(work, actor="cy")

    return open_and_prove


@pytest.fixture
def complete(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, release_to_traffic: Callable[[int], Release]
) -> Callable[[int], Release]:
    """Takes a version all the way, with clean traffic."""

    def whole_way(number: int) -> Release:
        release = release_to_traffic(number)
        while not release.state.final:
            traffic.report(release, number, units=400)
            clock.advance(release.policy.rollout.cooling_duration)
            churn.write(canary.evaluate_open, actor="system")
            release = look_up(release.id)
        return release

    def look_up(release_id: str) -> Release:
        return churn.read(lambda tx: releases.get(tx, release_id))

    return whole_way
