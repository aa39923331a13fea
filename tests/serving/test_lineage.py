"""Predictions come from the release that gave their version traffic, and never from another version of its name."""

import pytest

from headrace.kernel import lineage, lineage_walks
from headrace.kernel.database import Database, Tx
from headrace.kernel.lineage import Link
from headrace.registry import models, register, removal
from headrace.registry.nouns import ModelFile, RegisterVersion
from headrace.serving import reports, routing
from headrace.serving.nouns import Counts, GatewayReport, RouteChange, VersionCounts

pytestmark = pytest.mark.both_databases

FILE = ModelFile(path="MLmodel", digest="sha256:" + "c" * 64, size_bytes=1)


def registered(tx: Tx, run_id: str) -> None:
    models.ensure(tx, "churn")
    register.register_version(tx, RegisterVersion(model="churn", run_id=run_id, files=(FILE,)))


def released(tx: Tx, number: int, release: str) -> None:
    lineage.connect(tx, [Link(f"version/churn/{number}", "released by", f"release/{release}")])


@pytest.fixture
def churn(database: Database) -> Database:
    def work(tx: Tx) -> None:
        for number in (1, 2, 3):
            registered(tx, f"r{number}")
        released(tx, 1, "rel_1")
        released(tx, 2, "rel_2")

    database.write(work, actor="ana")
    return database


def route(database: Database, **change: object) -> None:
    wanted = RouteChange(model="churn", **change)  # type: ignore[arg-type]
    database.write(lambda tx: routing.set_route(tx, wanted), actor="system")


def above(database: Database, number: int) -> list[str]:
    """What leads to a version's predictions directly."""

    def look(tx: Tx) -> list[str]:
        found = lineage.find(tx, f"predictions/churn/{number}")
        if found is None:
            return []
        page, _ = lineage_walks.page(tx, found.number, "up", before=None, limit=10)
        return sorted(subject.subject for subject, _ in page)

    return database.read(look)


def test_the_released_version_answers_by_its_release(churn: Database) -> None:
    route(churn, champion=None, challenger=1, weight_percent=100.0, release_id="rel_1", step=0, resident=(3,))
    assert (above(churn, 1), above(churn, 2), above(churn, 3)) == (["release/rel_1"], [], [])
    route(churn, champion=1)
    route(churn, champion=1, challenger=2, weight_percent=5.0, release_id="rel_2", step=0)
    assert (above(churn, 1), above(churn, 2)) == (["release/rel_1"], ["release/rel_2"])
    route(churn, champion=2, release_id="rel_2", step=0, resident=(1,))
    route(churn, champion=1, resident=(2,))
    assert (above(churn, 1), above(churn, 2)) == (["release/rel_1"], ["release/rel_2"])


def test_a_version_without_a_release_answers_by_itself(churn: Database) -> None:
    route(churn, champion=3)
    assert above(churn, 3) == ["version/churn/3"]
    version = churn.read(lambda tx: lineage_walks.above(tx, "predictions/churn/3"))
    assert "run/r3" in version


def test_a_new_version_of_an_old_name_has_predictions_of_its_own(churn: Database) -> None:
    route(churn, champion=1)
    churn.write(lambda tx: removal.delete_model(tx, "churn"), actor="ana")
    churn.write(lambda tx: registered(tx, "again"), actor="ana")
    churn.write(lambda tx: routing.remove(tx, "churn"), actor="system")
    route(churn, champion=1)
    assert above(churn, 1) == ["version/churn/1"]
    assert churn.read(lambda tx: lineage_walks.above(tx, "predictions/churn/1")) == {
        "predictions/churn/1",
        "version/churn/1",
        "run/again",
    }


def test_counts_of_a_version_add_up_over_releases(churn: Database) -> None:
    def counts(model: str, version: int, release: str | None, requests: int) -> VersionCounts:
        return VersionCounts(
            model=model,
            version=version,
            release_id=release,
            step=None if release is None else 0,
            requests=requests,
            faults=requests // 10,
            units=0,
            failed_units=0,
            latency_us_sum=0,
        )

    def report(tx: Tx, gateway: str, *found: VersionCounts) -> None:
        told = GatewayReport(
            gateway=gateway, boot="b", booted_at=tx.now, url="http://127.0.0.1:1", applied_sequence=1, counts=found
        )
        reports.record(tx, told)

    def work(tx: Tx) -> None:
        report(
            tx, "g1", counts("churn", 1, "rel_1", 100), counts("churn", 1, None, 20), counts("churn", 2, None, 7)
        )
        report(tx, "g2", counts("churn", 1, None, 3), counts("other", 1, None, 1_000))

    churn.write(work, actor="system")
    assert churn.read(lambda tx: reports.counts_of_version(tx, "churn", 1)) == Counts(requests=123, faults=12)
    assert churn.read(lambda tx: reports.counts_of_version(tx, "churn", 9)) == Counts()
