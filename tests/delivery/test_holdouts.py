"""The same rows that judge release after release are counted, once for each, and warned of."""

import pytest

from headrace.delivery import holdouts
from headrace.kernel.sqlite import SqliteDatabase
from headrace.registry.nouns import Evidence, Verdict

pytestmark = pytest.mark.both_databases

ROWS = "sha256:" + "a" * 64
OTHER_ROWS = "sha256:" + "b" * 64


def use(database: SqliteDatabase, release: str, evaluation: str = ROWS, model: str = "churn") -> int:
    return database.write(lambda tx: holdouts.use(tx, model, evaluation, release), actor="system")


def test_each_release_counts_once_for_its_rows_and_its_model(database: SqliteDatabase) -> None:
    assert [use(database, "rel_1"), use(database, "rel_1"), use(database, "rel_2")] == [1, 1, 2]
    assert use(database, "rel_3", OTHER_ROWS) == 1
    assert use(database, "rel_4", model="fraud") == 1
    assert use(database, "rel_2") == 2


def evidence(gate: str) -> Evidence:
    return Evidence(
        model="churn", number=1, kind="gate", name="auc", gate=gate, verdict=Verdict.PASS, summary="auc: PASS",
        details={"alpha": 0.05},
    )  # fmt: skip


def test_up_to_the_agreed_number_it_is_only_noted() -> None:
    noted = holdouts.noted(evidence("at_least"), ROWS, 3, warn_after=3)
    assert noted.summary == "auc: PASS"
    assert (noted.details["holdout_uses"], noted.details["evaluation_digest"]) == (3, ROWS)


def test_beyond_it_the_summary_says_what_the_chance_has_become() -> None:
    noted = holdouts.noted(evidence("at_least"), ROWS, 4, warn_after=3)
    assert "warning: these rows have judged 4 releases" in noted.summary
    assert "up to 20%" in noted.summary
    assert noted.details["warning"] in noted.summary


@pytest.mark.parametrize("gate", ["size", "latency"])
def test_gates_without_rows_are_left_as_they_are(gate: str) -> None:
    assert holdouts.noted(evidence(gate), ROWS, 99, warn_after=3) == evidence(gate)
