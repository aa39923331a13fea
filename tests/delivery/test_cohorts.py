from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.delivery import cohorts, releases
from headrace.delivery.nouns import OpenRelease, Release
from headrace.errors import InvalidInput, LabelsNotMature, PolicyRefused
from headrace.kernel.database import Database, Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.registry import policies, register
from headrace.registry.nouns import ModelFile, RegisterVersion, Stage
from headrace.registry.rules import Policy, RequiredEvidence
from headrace.training import register as training_sets
from headrace.training.nouns import RegisterTrainingSet

MATURITY = timedelta(days=90)


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_the_newest_mature_month_is_trained_on_and_its_hold_out_judges() -> None:
    moments = cohorts.for_training(day("1997-08-01"), MATURITY, None)
    assert (moments.as_of, moments.cohort) == (day("1997-05-01"), None)


def test_an_earlier_training_is_judged_on_the_newest_cohort_that_it_has_not_seen() -> None:
    moments = cohorts.for_training(day("1998-03-01"), MATURITY, day("1997-09-01"))
    assert (moments.cohort, moments.ready_at) == (day("1997-12-01"), day("1998-03-01"))


def test_labels_are_mature_to_the_day() -> None:
    assert cohorts.for_training(day("1997-07-30"), MATURITY, day("1997-05-01")).cohort is None
    with pytest.raises(LabelsNotMature, match="mature from 1997-07-30 on"):
        cohorts.for_training(day("1997-07-30") - timedelta(microseconds=1), MATURITY, day("1997-05-01"))


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidInput, match="time zone"):
        cohorts.for_training(day("1998-01-01"), MATURITY, datetime(1997, 1, 1))  # noqa: DTZ001


def test_a_retraining_waits_for_a_cohort_that_it_has_not_seen() -> None:
    moments = cohorts.for_retraining(day("1997-09-01"), MATURITY)
    assert moments.as_of == day("1997-09-01")
    assert moments.cohort == day("1997-12-01")
    assert moments.ready_at == day("1998-03-01")


moments_in_time = st.datetimes(
    min_value=datetime(1990, 1, 1),  # noqa: DTZ001
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(moments_in_time, st.integers(1, 1_000))
def test_no_label_of_the_training_set_reaches_into_the_verdict(window_end: datetime, days: int) -> None:
    maturity = timedelta(days=days)
    moments = cohorts.for_retraining(window_end, maturity)
    assert moments.cohort is not None
    assert moments.as_of <= window_end
    assert moments.as_of + maturity <= moments.cohort < moments.as_of + maturity + timedelta(days=32)
    assert moments.ready_at == moments.cohort + maturity
    assert cohorts.for_training(moments.ready_at, maturity, moments.as_of) == moments


@given(moments_in_time, st.integers(1, 1_000))
def test_the_newest_mature_month_is_mature_and_the_next_is_not(now: datetime, days: int) -> None:
    maturity = timedelta(days=days)
    newest = cohorts.newest_mature(now, maturity)
    assert newest + maturity <= now < cohorts.next_month(newest) + maturity


def test_a_cohort_may_begin_where_the_labels_of_the_training_set_end() -> None:
    cohorts.require_unseen(day("1997-05-01") + MATURITY, day("1997-05-01"), MATURITY)
    with pytest.raises(InvalidInput, match="labels that reach to 1997-07-30") as refused:
        cohorts.require_unseen(day("1997-07-29"), day("1997-05-01"), MATURITY)
    assert "from 1997-07-30 on" in str(refused.value.fix)


TRAINED_AS_OF = datetime(1997, 5, 1, tzinfo=UTC)


def add_trained_version(database: Database) -> int:
    """A version that says what it was trained on."""
    rows = RegisterTrainingSet(
        model="churn", purpose="training", as_of=TRAINED_AS_OF, entity_key="customer_id", features=("a",),
        label="churned", rows=4, holdout_rows=1, positives=2, holdout_fraction=0.25, seed=0,
        content_digest="sha256:" + "a" * 64, data_digest="sha256:" + "b" * 64, size_bytes=100, lake_versions=(),
    )  # fmt: skip
    files = (ModelFile(path="MLmodel", digest="sha256:" + "c" * 64, size_bytes=1),)

    def work(tx: Tx) -> int:
        training_set = training_sets.register_training_set(tx, rows)
        asked = RegisterVersion(model="churn", run_id="r9", files=files, training_set_id=training_set.id)
        return register.register_version(tx, asked).number

    return database.write(work, actor="ana")


def ask_for(database: Database, *evidence: RequiredEvidence) -> None:
    asked = Policy(model="churn", stage=Stage.PRODUCTION, evidence=evidence)
    database.write(lambda tx: policies.put(tx, asked), actor="local")


def open_on(database: Database, number: int, cohort: datetime) -> Release:
    asked = OpenRelease(model="churn", number=number, cohort=cohort)
    return database.write(lambda tx: releases.open_release(tx, asked), actor="cy")


@pytest.mark.parametrize("days", [-365, 0, 89])
def test_nobody_has_a_version_judged_on_rows_that_it_was_trained_on(churn: SqliteDatabase, days: int) -> None:
    number = add_trained_version(churn)
    with pytest.raises(InvalidInput, match="it has seen some of what a cohort of"):
        open_on(churn, number, TRAINED_AS_OF + timedelta(days=days))
    assert churn.read(releases.search) == ()
    unseen = TRAINED_AS_OF + timedelta(days=90)
    assert open_on(churn, number, unseen).cohort == unseen


def test_a_cohort_without_a_time_zone_is_refused(churn: SqliteDatabase) -> None:
    with pytest.raises(InvalidInput, match="time zone"):
        open_on(churn, add_trained_version(churn), datetime(1999, 1, 1))  # noqa: DTZ001


def test_rows_that_somebody_chose_are_no_evidence_on_a_version_of_unknown_training(churn: SqliteDatabase) -> None:
    ask_for(churn, RequiredEvidence(gate="at_least"))
    with pytest.raises(PolicyRefused, match="nobody knows what churn@1 was trained on"):
        open_on(churn, 1, TRAINED_AS_OF)
    ask_for(churn)
    assert open_on(churn, 1, TRAINED_AS_OF).cohort == TRAINED_AS_OF
