"""Late labels are right, final, and written once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

import headrace as hr
from headrace.errors import Unavailable
from headrace.features.nouns import ObjectDetails
from headrace.kernel.lake import Lake
from headrace.monitoring import labels
from headrace.project.model import ModelDeclaration
from headrace.serving.log.feedback_join import feedback_table
from headrace.serving.nouns import Purpose

T = datetime(1997, 7, 1, tzinfo=UTC)
UNTIL = T + timedelta(days=40)
DAY = timedelta(days=1)


@pytest.fixture
def label(declaration: Any) -> Any:
    return msgspec.convert(declaration([]), ModelDeclaration).label


def join(bench: Any, label: Any, until: datetime = UNTIL) -> int:
    context = bench.context()
    state = labels.ready_source(context, label, until)
    assert state is not None
    return labels.join(context, "churn", label, state, until)


def stored(lake: Lake) -> dict[str, float]:
    table = lake.read(lake.snapshot(labels.labels_table("churn")))
    assert table.num_rows == len(set(table["prediction_id"].to_pylist()))
    return dict(zip(table["prediction_id"].to_pylist(), table["label"].to_pylist(), strict=True))


def test_outcomes_are_those_of_the_label_window(bench: Any, label: Any) -> None:
    bench.put_source(
        {
            1: [T],  # at T itself: seen by the features, not by the label
            2: [T + timedelta(microseconds=1)],
            3: [T + 30 * DAY],
            4: [T + 30 * DAY + timedelta(microseconds=1)],
        },
        UNTIL,
    )
    ids = bench.predict([1, 2, 3, 4, 5], T)
    assert join(bench, label) == 5
    assert stored(bench.lake) == dict(zip(ids, [1.0, 0.0, 0.0, 1.0, 1.0], strict=True))


def test_a_label_is_written_once_and_late_predictions_follow(bench: Any, label: Any) -> None:
    bench.put_source({1: [T + DAY]}, UNTIL)
    first = bench.predict([1, 2], T)
    assert join(bench, label) == 2
    assert join(bench, label) == 0
    late = bench.predict([1], T + DAY)
    assert join(bench, label) == 1
    assert stored(bench.lake) == dict(zip([*first, *late], [0.0, 1.0, 1.0], strict=True))


def test_a_label_defined_anew_under_its_name_is_joined_anew(bench: Any, label: Any) -> None:
    bench.put_source({1: [T + 20 * DAY]}, UNTIL)
    bench.predict([1], T)
    shorter = msgspec.structs.replace(label, value=hr.none_within("10d"))
    assert (join(bench, label), join(bench, shorter), join(bench, shorter)) == (1, 1, 0)
    for asked, outcome in ((label, 0.0), (shorter, 1.0)):
        cohort = labels.cohort(bench.lake, "churn", asked, 1, T, T + DAY)
        assert cohort.labels.tolist() == [outcome]


def test_only_what_is_final_is_labelled(bench: Any, label: Any) -> None:
    bench.put_source({1: [T]}, UNTIL)
    final = bench.predict([1], UNTIL - 31 * DAY - timedelta(microseconds=1))
    bench.predict([1], UNTIL - 31 * DAY)
    assert join(bench, label) == 1
    assert list(stored(bench.lake)) == final


def test_staging_and_predictions_without_a_known_key_have_no_label(bench: Any, label: Any) -> None:
    bench.put_source({1: [T]}, UNTIL)
    bench.predict([1], T, purpose=Purpose.STAGING)
    bench.predict([1], T, entity=lambda customer: None)
    bench.predict([1], T, entity=lambda customer: {"shop_id": customer})
    bench.predict([1], T, entity=lambda customer: {"customer_id": "no number"})
    text = bench.predict([1], T, entity=lambda customer: {"customer_id": str(customer)})
    assert join(bench, label) == 1
    assert list(stored(bench.lake)) == text


def test_an_append_that_was_overtaken_is_repeated(bench: Any, label: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put_source({1: [T]}, UNTIL)
    ids = bench.predict([1, 2], T)
    plain = Lake.append
    overtaken: list[bool] = []

    def append(lake: Lake, table: str, data: pa.Table, *, operation: str, sequence: int = 1) -> int:
        if table == "labels/churn" and not overtaken:
            overtaken.append(True)
            plain(lake, table, data.slice(0, 1), operation=operation, sequence=sequence)
        return plain(lake, table, data, operation=operation, sequence=sequence)

    monkeypatch.setattr(Lake, "append", append)
    join(bench, label)
    assert sorted(stored(bench.lake)) == ids


def test_a_source_that_is_behind_is_waited_for_and_then_left(bench: Any, label: Any) -> None:
    bench.put_source({1: [T]}, UNTIL - timedelta(microseconds=1))
    with pytest.raises(Unavailable, match="not ingested"):
        labels.ready_source(bench.context(), label, UNTIL)
    patient = bench.context(attempt=labels.PATIENT_ATTEMPTS + 1)
    assert labels.ready_source(patient, label, UNTIL) is None
    bench.control.answers["/api/v1/features/source/purchases"] = ObjectDetails(versions=())
    with pytest.raises(Unavailable):
        labels.ready_source(bench.context(), label, UNTIL)


def test_a_cohort_is_one_versions_answered_and_labelled_predictions(bench: Any, label: Any) -> None:
    bench.put_source({1: [T + DAY]}, UNTIL)
    empty = labels.cohort(bench.lake, "churn", label, 1, T, UNTIL)
    assert len(empty.labels) == 0
    bench.predict([1, 2, 3], T, scores=[0.1, 0.9, None])
    bench.predict([1], T, version=2)
    bench.predict([1], T - DAY, scores=[0.2])
    bench.predict([1], T + DAY, scores=[0.3])
    join(bench, label)
    found = labels.cohort(bench.lake, "churn", label, 1, T, T + DAY)
    assert found.labels.tolist() == [0.0, 1.0]
    assert found.scores.tolist() == [0.1, 0.9]
    assert found.groups.tolist() == ['{"customer_id":1}', '{"customer_id":2}']
    assert np.isfinite(found.scores).all()


def test_what_somebody_said_goes_before_what_was_computed(bench: Any, label: Any) -> None:
    bench.put_source({1: [T + DAY]}, UNTIL)
    first, second, third, fourth = bench.predict([1, 2, 3, 4], T, scores=[0.1, 0.9, 0.8, 0.7])
    join(bench, label)
    said = [
        (1, first, "label", 1.0, T),
        (2, second, label.name, 1.0, T + 2 * DAY),
        (3, second, "label", 0.0, T + DAY),  # earlier: does not count
        (4, third, "revenue", 0.0, T),
        (5, fourth, "label", None, T + DAY),  # a text
        (6, fourth, "label", 0.0, T),
        (7, "prd_of_another_version", "label", 0.0, T),
    ]
    names = ("sequence", "prediction_id", "name", "number", "at")
    columns = dict(zip(names, zip(*said, strict=True), strict=True))
    bench.lake.append(feedback_table("churn"), pa.table(columns), operation="test")
    found = labels.cohort(bench.lake, "churn", label, 1, T, T + DAY)
    outcomes = dict(zip(found.scores.tolist(), found.labels.tolist(), strict=True))
    assert outcomes == {0.1: 1.0, 0.9: 1.0, 0.8: 1.0, 0.7: 1.0}


def test_feedback_alone_makes_a_cohort(bench: Any, label: Any) -> None:
    (first,) = bench.predict([1], T, scores=[0.1])
    said = {"sequence": [1], "prediction_id": [first], "name": ["label"], "number": [1.0], "at": [T]}
    bench.lake.append(feedback_table("churn"), pa.table(said), operation="test")
    found = labels.cohort(bench.lake, "churn", label, 1, T, T + DAY)
    assert (found.labels.tolist(), found.scores.tolist()) == ([1.0], [0.1])
