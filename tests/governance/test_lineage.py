"""Lineage around one thing: what is shown, what is said of it, and what is said when it is cut."""

from typing import Any

import pytest

from headrace.delivery import releases
from headrace.delivery.nouns import OpenRelease
from headrace.errors import InvalidInput, NotFound
from headrace.governance import lineage
from headrace.governance.lineage import View, around
from headrace.governance.nouns import Lineage, Node
from headrace.kernel.access import Principal, Role
from headrace.kernel.database import Database, Tx
from headrace.registry import aliases, approvals, evidence, models, removal, stages
from headrace.registry.approval import Decision, RequestApproval
from headrace.registry.nouns import (
    Estimate,
    Evidence,
    Stage,
    Verdict,
)
from headrace.serving import reports, routing
from headrace.serving.nouns import GatewayReport, RouteChange, VersionCounts
from headrace.tracking import lifecycle

pytestmark = pytest.mark.both_databases

Shop = Any  # the fixture's class lives in conftest.py, which is no module to import from


def look(database: Database, name: str, **view: Any) -> Lineage:
    return database.read(lambda tx: around(tx, name, View(**view)))


def node(found: Lineage, subject: str) -> Node:
    return next(each for each in found.nodes if each.subject == subject)


def test_from_the_table_to_the_predictions(shop: Shop, database: Database) -> None:
    auc = Estimate(value=0.8, low=0.7, high=0.9)
    version = shop.train(metrics={"auc": auc}, code_dirty=True, feature_views=())

    def release(tx: Tx) -> str:
        opened = releases.open_release(tx, OpenRelease(model="churn", number=1))
        told = Evidence(model="churn", number=1, release_id=opened.id, kind="gate", name="g", verdict=Verdict.PASS)
        evidence.record(tx, told)
        asked = RequestApproval(model="churn", number=1, release_id=opened.id, expires_s=60)
        ravi = Principal(id="ravi", name="ravi", roles=(Role.APPROVER,))
        approvals.decide(tx, approvals.request(tx, asked).id, Decision(grant=True), ravi)
        change = RouteChange(model="churn", champion=None, challenger=1, release_id=opened.id, step=0)
        routing.set_route(tx, change)
        counts = VersionCounts(
            model="churn", version=1, requests=12, faults=1, units=0, failed_units=0, latency_us_sum=0
        )
        report = GatewayReport(
            gateway="g", boot="b", booted_at=tx.now, url="http://g", applied_sequence=1, counts=(counts,)
        )
        reports.record(tx, report)
        aliases.set_alias(tx, "churn", "champion", 1)
        return opened.id

    release_id = database.write(release, actor="ana")
    found = look(database, "churn@champion")
    assert found.subject == "version/churn/1"
    assert found.notes == ()
    assert {each.subject for each in found.nodes} == {
        "version/churn/1",
        f"run/{version.run_id}",
        f"training-set/of-{version.run_id}",
        "lake/sources/purchases@3",
        "lake/sources/purchases",
        "source/purchases/1",
        f"environment/{shop.NEW.digest}",
        f"commit/{shop.COMMIT}",
        f"release/{release_id}",
        "predictions/churn/1",
    }
    assert found.nodes[0].subject == "version/churn/1"
    sentences = {f"{edge.upstream} {edge.relation} {edge.downstream}" for edge in found.edges}
    assert f"run/{version.run_id} registered as version/churn/1" in sentences
    assert f"release/{release_id} answered with predictions/churn/1" in sentences
    facts = found.nodes[0].facts
    assert (facts["aliases"], facts["owner"], facts["code_dirty"]) == (["champion"], "ana", True)
    assert facts["metrics"]["auc"] == auc
    told = node(found, f"release/{release_id}").facts
    assert (told["verdicts"], told["approved_by"], told["opened_by"]) == ({"PASS": 1}, ["ravi"], "ana")
    assert node(found, "predictions/churn/1").facts == {"requests": 12, "faults": 1}
    assert node(found, f"environment/{shop.NEW.digest}").facts == {"python": "3.13.0", "packages": 1}
    run = node(found, f"run/{version.run_id}").facts
    assert (run["experiment"], run["status"], run["deleted"]) == ("churn", "RUNNING", False)


def test_one_direction_alone(shop: Shop, database: Database) -> None:
    version = shop.train()
    up = look(database, f"run/{version.run_id}", down=False)
    down = look(database, f"run/{version.run_id}", up=False)
    assert "version/churn/1" not in {each.subject for each in up.nodes}
    views = look(database, "churn@1", down=False, depth=1)
    assert "view/activity/2" in {each.subject for each in views.nodes}  # and no feature by itself
    assert not [each for each in views.nodes if each.kind == "feature"]
    assert views.nodes[0].facts["features"] == {"activity@2": ("spend", "visits")}
    assert [each.subject for each in down.nodes] == [f"run/{version.run_id}", "version/churn/1"]


def test_what_is_cut_is_said(shop: Shop, database: Database) -> None:
    run = shop.run()
    for prefix in range(8):
        shop.train(run=run, artifact_prefix=f"m{prefix}")
    found = look(database, f"run/{run.id}", up=False, neighbours=3)
    assert len(found.nodes) == 4
    assert found.nodes[0].more_downstream == 5
    assert found.notes == (f"5 more downstream of run/{run.id} are not shown",)
    deep = look(database, "source/purchases/1", depth=1)
    assert deep.notes == ("1 more downstream of lake/sources/purchases are not shown",)
    few = look(database, f"run/{run.id}", up=False, nodes=2)
    assert len(few.nodes) == 2
    assert few.nodes[0].more_downstream == 7


def test_what_is_deleted_is_marked_and_still_there(shop: Shop, database: Database) -> None:
    version = shop.train()
    database.write(lambda tx: removal.delete_version(tx, "churn", 1), actor="ana")
    database.write(lambda tx: lifecycle.delete_run(tx, version.run_id), actor="ana")
    found = look(database, "churn@1")
    assert found.nodes[0].deleted_at is not None
    assert found.nodes[0].facts["digest"] == version.digest
    assert node(found, f"run/{version.run_id}").facts["deleted"] is True
    assert "source/purchases/1" in {each.subject for each in found.nodes}


def test_names_of_versions(shop: Shop, database: Database) -> None:
    for _ in range(3):
        shop.train()
    shop.train("odd@name")

    def name(tx: Tx) -> None:
        stages.transition(tx, "churn", 1, Stage.PRODUCTION)
        stages.transition(tx, "churn", 2, Stage.ARCHIVED)
        aliases.set_alias(tx, "churn", "archived", 3)

    database.write(name, actor="ana")
    for text, expected in {
        "churn@2": "version/churn/2",
        "churn@production": "version/churn/1",
        "churn@Production": "version/churn/1",
        "churn@archived": "version/churn/3",
        "churn@latest": "version/churn/3",
        "odd@name@1": "version/odd@name/1",
        "version/churn/2": "version/churn/2",
    }.items():
        assert look(database, text).subject == expected, text


@pytest.mark.parametrize(
    "name", ["churn@9", "churn@staging", "churn@nobody", "other@1", "run/none", "churn@99999999999"]
)
def test_what_is_not_there(shop: Shop, database: Database, name: str) -> None:
    shop.train()
    with pytest.raises(NotFound):
        look(database, name)


@pytest.mark.parametrize("name", ["churn", "", "@", "@3", "churn@"])
def test_what_is_no_name(shop: Shop, database: Database, name: str) -> None:
    shop.train()
    with pytest.raises(InvalidInput, match="names no version"):
        look(database, name)


def test_more_than_is_shown_is_refused(shop: Shop, database: Database) -> None:
    shop.train()
    for view in ({"depth": 0}, {"depth": 51}, {"neighbours": 0}, {"neighbours": 201}, {"nodes": 1_001}):
        with pytest.raises(InvalidInput):
            look(database, "churn@1", **view)


def test_neighbours_in_pages(shop: Shop, database: Database) -> None:
    run = shop.run()
    for prefix in range(5):
        shop.train(run=run, artifact_prefix=f"m{prefix}")
    seen: list[str] = []
    cursor = ""
    while True:
        page = database.read(
            lambda tx, at=cursor: lineage.neighbours(tx, f"run/{run.id}", "down", limit=2, cursor=at)  # type: ignore[misc]
        )
        seen += [each.node.name for each in page.neighbours]
        assert {each.edge.relation for each in page.neighbours} == {"registered as"}
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == [f"churn/{number}" for number in (5, 4, 3, 2, 1)]
    first = database.read(lambda tx: lineage.neighbours(tx, f"run/{run.id}", "down", limit=2))
    with pytest.raises(InvalidInput, match="another search"):
        database.read(lambda tx: lineage.neighbours(tx, "churn@1", "down", limit=2, cursor=first.next_cursor))


def test_a_model_without_versions_has_none(database: Database) -> None:
    database.write(lambda tx: models.create(tx, "empty"), actor="ana")
    for name in ("empty@latest", "empty@production", "empty@1"):
        with pytest.raises(NotFound):
            look(database, name)
