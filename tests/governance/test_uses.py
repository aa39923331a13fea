"""Which versions used this table, this feature, this commit, this package below x.y."""

from typing import Any

import pytest

from headrace.errors import InvalidInput, NotFound
from headrace.governance.nouns import Uses, UsesPage
from headrace.governance.uses import versions_using
from headrace.kernel.database import Database
from headrace.registry import removal, stages
from headrace.registry.nouns import FeatureUse, Stage

pytestmark = pytest.mark.both_databases

Shop = Any


def ask(database: Database, limit: int = 100, cursor: str = "", **asked: Any) -> UsesPage:
    return database.read(lambda tx: versions_using(tx, Uses(**asked), limit=limit, cursor=cursor))


def names(page: UsesPage) -> list[str]:
    return [f"{use.model}@{use.number}" for use in page.versions]


@pytest.fixture
def several(shop: Shop) -> Shop:
    """churn@1..3 and other@1, which differ in what they use."""
    shop.train()
    shop.train(table="lake/sources/purchases@4", code_commit=shop.OTHER_COMMIT, environment_digest=shop.OLD.digest)
    spend = (FeatureUse(view="activity", version=3, columns=("spend",)),)
    shop.train(feature_views=spend, environment_digest=shop.LOOSE.digest)
    run = shop.run()
    shop.reads(run, "purchases", "9f")
    shop.reads(run, "team/holidays")
    shop.train("other", table="", run=run, environment_digest=shop.OLD.digest, feature_views=())
    return shop


def test_tables(several: Shop, database: Database) -> None:
    assert names(ask(database, table="sources/purchases")) == ["churn@3", "churn@2", "churn@1"]
    assert names(ask(database, table="sources/purchases@4")) == ["churn@2"]
    both = ask(database, table="purchases")  # the source, and the dataset that a run logged under this name
    assert names(both) == ["other@1", "churn@3", "churn@2", "churn@1"]
    assert both.found == ("dataset/purchases@9f", "lake/sources/purchases", "source/purchases/1")
    assert [each.subject for each in both.versions[0].through] == ["dataset/purchases@9f"]
    assert names(ask(database, table="team/holidays")) == ["other@1"]
    assert names(ask(database, table="purchases@9f")) == ["other@1"]


def test_features_and_views(several: Shop, database: Database) -> None:
    assert names(ask(database, feature="activity.spend")) == ["churn@3", "churn@2", "churn@1"]
    assert names(ask(database, feature="activity.visits")) == ["churn@2", "churn@1"]
    assert names(ask(database, view="activity")) == ["churn@3", "churn@2", "churn@1"]
    assert names(ask(database, view="activity@3")) == ["churn@3"]


def test_commits(several: Shop, database: Database) -> None:
    assert names(ask(database, commit=several.COMMIT)) == ["other@1", "churn@3", "churn@1"]
    assert names(ask(database, commit="3AC99F")) == ["churn@2"]
    assert names(ask(database, commit="3ac9")) == ["churn@2"]
    every = ask(database, commit="3ac4"), ask(database, commit=several.COMMIT[:6])
    assert [names(page) for page in every] == [["other@1", "churn@3", "churn@1"]] * 2


def test_packages(several: Shop, database: Database) -> None:
    below = ask(database, package="numpy<2.1")
    assert names(below) == ["other@1", "churn@2"]
    assert [each.detail for each in below.versions[0].through] == ["1.26.4"]
    assert below.unpinned  # churn@3 says only numpy>=1.20
    open_ones = ask(database, package="numpy<2.1", unpinned=True)
    assert names(open_ones) == ["churn@3"]
    assert open_ones.versions[0].through[0].detail == "numpy>=1.20"
    assert names(ask(database, package="python>=3.12")) == ["churn@1"]
    assert names(ask(database, package="numpy")) == ["other@1", "churn@3", "churn@2", "churn@1"]
    nothing = ask(database, package="torch<9")
    assert (nothing.versions, nothing.unpinned, nothing.found) == ((), False, ())


def test_a_version_whose_run_tells_the_exact_version_is_not_open(several: Shop, database: Database) -> None:
    """The model's directory names a range, the run's own packages say which it was."""
    run = several.run(**{"headrace.environment": several.OLD.digest})
    several.train(run=run, environment_digest=several.LOOSE.digest)
    assert "churn@4" in names(ask(database, package="numpy<2.1"))
    assert names(ask(database, package="numpy<2.1", unpinned=True)) == ["churn@3"]


def test_anything_else(several: Shop, database: Database) -> None:
    run_id = ask(database, table="sources/purchases@4").versions[0].subject
    assert run_id == "version/churn/2"
    assert names(ask(database, subject=f"environment/{several.OLD.digest}")) == ["other@1", "churn@2"]
    assert names(ask(database, subject="churn@1")) == []


def test_only_what_is_in_production(several: Shop, database: Database) -> None:
    def promote(tx: Any) -> None:
        stages.transition(tx, "churn", 2, Stage.PRODUCTION)
        stages.transition(tx, "other", 1, Stage.PRODUCTION)

    database.write(promote, actor="ana")
    found = ask(database, table="sources/purchases", production=True)
    assert [(use.model, use.number, use.stage) for use in found.versions] == [("churn", 2, Stage.PRODUCTION)]
    assert names(ask(database, package="numpy<2.1", production=True)) == ["other@1", "churn@2"]
    assert not ask(database, package="numpy<2.1", production=True).unpinned
    assert ask(database, package="numpy<2.1").unpinned


def test_pages(several: Shop, database: Database) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = ask(database, limit=1, cursor=cursor, table="purchases")
        seen += names(page)
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == ["other@1", "churn@3", "churn@2", "churn@1"]
    first = ask(database, limit=1, table="purchases")
    with pytest.raises(InvalidInput, match="another search"):
        ask(database, cursor=first.next_cursor, view="activity")
    with pytest.raises(InvalidInput):
        ask(database, limit=1_001, table="purchases")


def test_deleted_and_renamed_versions(several: Shop, database: Database) -> None:
    def change(tx: Any) -> None:
        removal.delete_version(tx, "churn", 1)
        removal.rename_model(tx, "churn", "leaving")

    database.write(change, actor="ana")
    found = ask(database, table="sources/purchases")
    assert names(found) == ["leaving@3", "leaving@2", "leaving@1"]
    assert [use.stage for use in found.versions] == [Stage.NONE, Stage.NONE, None]
    assert [use.deleted_at is not None for use in found.versions] == [False, False, True]
    assert found.versions[2].owner == "ana"
    database.write(lambda tx: removal.delete_model(tx, "leaving"), actor="ana")
    several.train("leaving")
    again = ask(database, table="sources/purchases")
    assert [(use.model, use.number, use.deleted_at is None) for use in again.versions] == [
        ("leaving", 1, True),
        ("leaving", 3, False),
        ("leaving", 2, False),
        ("leaving", 1, False),
    ]


@pytest.mark.parametrize(
    "asked",
    [
        {"table": "nothing"},
        {"table": "purchase"},
        {"feature": "spend"},
        {"feature": "activity.nothing"},
        {"view": "activit"},
        {"view": "activity@9"},
        {"commit": "ffff"},
        {"subject": "run/none"},
        {"subject": "churn@9"},
    ],
)
def test_what_nobody_knows_is_not_found(several: Shop, database: Database, asked: dict[str, Any]) -> None:
    with pytest.raises(NotFound):
        ask(database, **asked)


def test_an_error_names_what_there_is(several: Shop, database: Database) -> None:
    with pytest.raises(NotFound) as refused:
        ask(database, feature="activity.none")
    assert refused.value.fix == "There is activity.spend, activity.visits."


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"table": "purchases", "commit": "3ac4"},
        {"commit": "abc"},
        {"commit": "main"},
        {"commit": "a" * 65},
        {"package": "numpy<"},
        {"subject": "churn"},
    ],
)
def test_what_is_no_question_is_refused(several: Shop, database: Database, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        ask(database, **asked)
