import pytest

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.registry import aliases, evidence, history, models, register, stages, versions
from headrace.registry.nouns import Evidence, ModelFile, RegisterVersion, Stage, Verdict


@pytest.fixture
def churn(database: SqliteDatabase) -> SqliteDatabase:
    def work(tx: Tx) -> None:
        models.create(tx, "churn")
        for run in ["r1", "r2", "r3"]:
            register.register_version(
                tx,
                RegisterVersion(
                    model="churn",
                    run_id=run,
                    files=(ModelFile(path="MLmodel", digest="sha256:" + "c" * 64, size_bytes=1),),
                ),
            )

    database.write(work, actor="ana")
    return database


def move(database: SqliteDatabase, number: int, stage: Stage, *, archive: bool = False) -> None:
    database.write(
        lambda tx: stages.transition(tx, "churn", number, stage, "because", archive_existing=archive), actor="bo"
    )


def production(database: SqliteDatabase) -> int | None:
    version = database.read(lambda tx: stages.production(tx, "churn"))
    return None if version is None else version.number


def test_one_version_takes_the_place_of_another(churn: SqliteDatabase) -> None:
    assert production(churn) is None
    move(churn, 1, Stage.PRODUCTION)
    move(churn, 2, Stage.PRODUCTION, archive=True)
    assert production(churn) == 2
    assert churn.read(lambda tx: versions.get(tx, "churn", 1)).stage is Stage.ARCHIVED
    changes = churn.read(lambda tx: history.read(tx, "churn").changes)
    assert [(change.number, change.before, change.after, change.actor) for change in changes[::-1]] == [
        (1, "None", "Production", "bo"),
        (1, "Production", "Archived", "bo"),
        (2, "None", "Production", "bo"),
    ]


def test_a_move_to_where_it_stands_is_no_move(churn: SqliteDatabase) -> None:
    move(churn, 1, Stage.STAGING)
    head = churn.read(events.head)
    move(churn, 1, Stage.STAGING)
    assert churn.read(events.head) == head


def test_of_two_in_production_the_last_that_entered_counts(churn: SqliteDatabase) -> None:
    move(churn, 2, Stage.PRODUCTION)
    move(churn, 1, Stage.PRODUCTION)
    assert production(churn) == 1
    move(churn, 1, Stage.ARCHIVED)
    assert production(churn) == 2


def test_unknown_versions_cannot_move(churn: SqliteDatabase) -> None:
    with pytest.raises(NotFound, match="no version 9"):
        move(churn, 9, Stage.STAGING)


def test_an_alias_points_at_one_version(churn: SqliteDatabase) -> None:
    churn.write(lambda tx: aliases.set_alias(tx, "churn", "champion", 1), actor="bo")
    churn.write(lambda tx: aliases.set_alias(tx, "churn", "champion", 2), actor="bo")
    assert churn.read(lambda tx: aliases.get_version(tx, "churn", "champion")).number == 2
    churn.write(lambda tx: aliases.delete(tx, "churn", "champion"), actor="bo")
    churn.write(lambda tx: aliases.delete(tx, "churn", "champion"), actor="bo")
    with pytest.raises(NotFound):
        churn.read(lambda tx: aliases.get_version(tx, "churn", "champion"))
    kinds = [event.type for event in churn.read(lambda tx: events.of_subject(tx, "model/churn"))]
    assert kinds == ["registry.model_created", "registry.alias_set", "registry.alias_set", "registry.alias_deleted"]


@pytest.mark.parametrize("alias", ["latest", "v3", "V12", "a b", "", "a/b"])
def test_aliases_that_mean_something_else_are_refused(churn: SqliteDatabase, alias: str) -> None:
    with pytest.raises(InvalidInput):
        churn.write(lambda tx: aliases.set_alias(tx, "churn", alias, 1), actor="bo")


def test_details_show_versions_aliases_and_production(churn: SqliteDatabase) -> None:
    move(churn, 2, Stage.PRODUCTION)
    churn.write(lambda tx: aliases.set_alias(tx, "churn", "best", 3), actor="bo")
    details = churn.read(lambda tx: models.details(tx, "churn"))
    assert details.production == 2
    assert [version.number for version in details.versions] == [3, 2, 1]
    assert [alias.alias for alias in details.aliases] == ["best"]
    newest = churn.read(lambda tx: models.latest_versions(tx, "churn"))
    assert {version.stage: version.number for version in newest} == {"None": 3, "Production": 2}


def test_evidence_is_appended_with_its_event(churn: SqliteDatabase) -> None:
    found = Evidence(
        model="churn",
        number=1,
        release_id="rel_1",
        kind="gate",
        name="at_least(roc_auc, 0.7)",
        verdict=Verdict.PASS,
        value=0.75,
        low=0.74,
        high=0.76,
        scores="sha256:" + "d" * 64,
    )
    kept = churn.write(lambda tx: evidence.record(tx, found), actor="worker")
    assert churn.read(lambda tx: evidence.of_version(tx, "churn", 1)) == (kept,)
    assert churn.read(lambda tx: evidence.of_version(tx, "churn", 1, release_id="rel_2")) == ()
    last = churn.read(lambda tx: events.of_subject(tx, "version/churn/1"))[-1]
    assert (last.type, last.payload["verdict"]) == ("registry.evidence_recorded", "PASS")
