"""Feedback: kept once, corrected by what is later, and found by its prediction's id whenever that turns up."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidInput, TooLarge
from headrace.kernel import jobs
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database, Tx
from headrace.registry import models
from headrace.serving import feedback
from headrace.serving.feedback import JOIN
from headrace.serving.feedback_form import LARGEST, decode_feedback
from headrace.serving.feedback_nouns import (
    ITEMS_LIMIT,
    Feedback,
    FeedbackState,
    Found,
    Joined,
    JoinRequest,
    Prediction,
    Reward,
    Stored,
    Taken,
)
from headrace.serving.nouns import Arm, Purpose

pytestmark = pytest.mark.both_databases

P = "prd_1"
DAY = timedelta(days=1)


def said(value: Any, *, of: str = P, at: datetime | None = None, **more: Any) -> Feedback:
    return Feedback(prediction_id=of, value=value, at=at, **more)


def take(database: Database, *items: Feedback) -> Taken:
    return database.write(lambda tx: feedback.take(tx, items), actor="ana")


def kept(database: Database, prediction_id: str = P) -> list[Stored]:
    return database.read(lambda tx: feedback.of_prediction(tx, prediction_id))


def counts(database: Database, prediction_id: str = P) -> list[Any]:
    return [one.value for one in kept(database, prediction_id) if one.effective]


def prediction(version: int = 1, **more: Any) -> Prediction:
    fields: dict[str, Any] = {
        "model": "churn",
        "version": version,
        "arm": Arm.CHAMPION,
        "propensity": 0.5,
        "release_id": "rel_1",
        "step": 0,
        "purpose": Purpose.LIVE,
        "business_at": datetime.fromisoformat("1997-05-01T00:00:00+00:00"),
        "output": 0.9,
    }
    return Prediction(**(fields | more))


def join(database: Database, **found: Prediction) -> list[str]:
    """What a worker does that finds these predictions; returns the ids that it was asked for."""

    def work(tx: Tx) -> list[str]:
        feedback.ask_for_join(tx)
        job = jobs.claim(tx, "worker", [JOIN.name])
        if job is None:
            return []
        request = msgspec.json.decode(job.payload, type=JoinRequest)
        batch = feedback.batch(tx, request.batch)
        rows = tuple(
            Found(sequence=one.sequence, prediction=found[one.prediction_id])
            for one in batch
            if one.prediction_id in found
        )
        result = msgspec.to_builtins(Joined(batch=request.batch, found=rows))
        jobs.settle(tx, feedback.HANDLINGS[0], job.id, job.lease or "", result)
        return [one.prediction_id for one in batch]

    return database.write(work, actor="system")


def rewards(database: Database, since: datetime | None = None, **more: Any) -> list[Reward]:
    return database.read(lambda tx: feedback.rewards(tx, "churn", since, **more))


def test_the_same_item_is_kept_once_also_within_one_request(database: Database) -> None:
    assert take(database, said(1), said(1)) == Taken(accepted=2, new=1, corrections=0)
    assert take(database, said(1)) == Taken(accepted=1, new=0, corrections=0)
    assert [(one.value, one.by) for one in kept(database)] == [(1, "ana")]


def test_a_correction_keeps_both_and_the_newest_counts(database: Database, clock: ManualClock) -> None:
    take(database, said(1))
    clock.advance(DAY)
    assert take(database, said(0)).corrections == 1
    assert [(one.value, one.effective) for one in kept(database)] == [(1, False), (0, True)]
    assert take(database, said(1)).new == 0  # a retry of the first one takes nothing back
    assert counts(database) == [0]
    take(database, said(1, at=clock.now()))
    assert counts(database) == [1]


def test_what_is_dated_earlier_does_not_count_though_it_comes_later(database: Database, clock: ManualClock) -> None:
    now = clock.now()
    take(database, said(3, at=now), said(4, at=now - DAY))
    take(database, said(5, at=now - 2 * DAY))
    assert counts(database) == [3]
    take(database, said(6, at=now))  # of equals the last
    assert counts(database) == [6]


def test_each_name_counts_for_itself(database: Database) -> None:
    take(database, said(1), said(2.5, name="revenue"), said("angry", name="mood"))
    assert counts(database) == [1, 2.5, "angry"]


def test_values_and_metadata_come_back_as_they_were_said(database: Database) -> None:
    values: list[Any] = [True, 0, -1.5, "ß", 2**53]
    for place, value in enumerate(values):
        take(database, said(value, of=f"prd_v.{place}", metadata={"from": "crm", "row": place, "sure": None}))
        (one,) = kept(database, f"prd_v.{place}")
        assert (one.value, type(one.value)) == (value, type(value))
        assert one.metadata == {"from": "crm", "row": place, "sure": None}


def test_feedback_waits_for_its_prediction_and_is_joined_late(database: Database, clock: ManualClock) -> None:
    take(database, said(1))
    assert database.read(feedback.state) == FeedbackState(joined=0, waiting=1, oldest_waiting=clock.now())
    assert join(database) == [P]
    assert not database.read(feedback.join_is_due)
    clock.advance(feedback.FIRST_LOOK)
    assert database.read(feedback.join_is_due)
    assert join(database, prd_1=prediction(2)) == [P]
    (reward,) = rewards(database)
    assert (reward.prediction_id, reward.version, reward.value, reward.release_id) == (P, 2, 1.0, "rel_1")
    assert database.read(feedback.state) == FeedbackState(joined=1, waiting=0)
    clock.advance(DAY)
    assert join(database) == []


def test_an_id_that_never_was_is_looked_for_ever_more_seldom(database: Database, clock: ManualClock) -> None:
    take(database, said(1))
    waits = []
    for _ in range(30):
        assert join(database) == [P]
        before = clock.now()
        while not database.read(feedback.join_is_due):
            clock.advance(timedelta(seconds=10))
        waits.append(clock.now() - before)
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (feedback.FIRST_LOOK, feedback.LONGEST_LOOK)


def test_a_batch_that_nobody_answers_for_is_asked_for_anew(database: Database, clock: ManualClock) -> None:
    take(database, said(1))
    database.write(feedback.ask_for_join, actor="system")
    assert not database.read(feedback.join_is_due)
    clock.advance(feedback.PATIENCE)
    assert database.read(feedback.join_is_due)
    database.write(lambda tx: feedback.settle_join(tx, None, Joined(batch=2)), actor="system")  # type: ignore[arg-type]
    database.write(feedback.ask_for_join, actor="system")
    late = Joined(batch=2, found=(Found(sequence=1, prediction=prediction()),))
    database.write(lambda tx: feedback.settle_join(tx, None, late), actor="system")  # type: ignore[arg-type]
    assert database.read(feedback.state).waiting == 1, "a former batch's answer is nobody's"


def test_rewards_tell_what_counts_and_what_came_since(database: Database, clock: ManualClock) -> None:
    take(database, said(1), said(0, of="prd_2"), said("text", of="prd_3"), said(1, of="prd_4"))
    staging = prediction(purpose=Purpose.STAGING)
    join(database, prd_1=prediction(1), prd_2=prediction(2), prd_3=prediction(2), prd_4=staging)
    assert [(one.prediction_id, one.value) for one in rewards(database)] == [(P, 1.0), ("prd_2", 0.0)]
    clock.advance(DAY)
    since = clock.now()
    assert rewards(database, since) == []
    take(database, said(0.5))
    join(database, prd_1=prediction(1))
    assert [(one.prediction_id, one.value) for one in rewards(database, since)] == [(P, 0.5)]
    assert [one.value for one in rewards(database)] == [0.0, 0.5]
    assert rewards(database, release_id="rel_2") == rewards(database, name="revenue") == []


def test_tallies_add_up_by_version_and_name(database: Database) -> None:
    take(database, said(1), said(0, of="prd_2"), said(1, of="prd_3"), said(3.5, of="prd_1", name="revenue"))
    join(
        database,
        prd_1=prediction(1, output=0.9),
        prd_2=prediction(1, output=0.5),
        prd_3=prediction(2, output=None),
    )
    first, revenue, second = database.read(lambda tx: feedback.tallies(tx, "churn"))
    assert (first.version, first.name, first.count, first.total, first.squares) == (1, "label", 2, 1.0, 1.0)
    assert (first.compared, first.agreeing, first.accuracy) == (2, 1, 0.5)
    assert (revenue.name, revenue.total, revenue.squares) == ("revenue", 3.5, 12.25)
    assert (revenue.compared, revenue.agreeing, revenue.accuracy) == (0, 0, None), "no revenue was predicted"
    assert (second.version, second.count, second.accuracy) == (2, 1, None)


@pytest.mark.parametrize("output", [0.0, 1.0, 2.0])
def test_a_class_agrees_when_it_is_the_same(database: Database, output: float) -> None:
    take(database, said(1))
    join(database, prd_1=prediction(1, output=output))
    (tally,) = database.read(lambda tx: feedback.tallies(tx, "churn"))
    assert tally.accuracy == float(output == 1.0)


@pytest.mark.parametrize(
    ("outputs", "values", "compared"),
    [
        ((0.9, 0.2), (4, 1), 1),  # a rating is no class of a probability
        ((0.9, 0.2), (0.9, 0.5), 0),
        ((2.0, 3.0), (2, 2.5), 1),
        ((3.7, 4.0), (4, 4), 0),  # a regression, though one of its answers happens to be whole
        ((LARGEST, 1.0), (LARGEST, 1), 0),
    ],
)
def test_only_labels_that_can_be_what_was_predicted_are_compared(
    database: Database, outputs: tuple[float, float], values: tuple[float, float], compared: int
) -> None:
    take(database, said(values[0]), said(values[1], of="prd_2"))
    join(database, prd_1=prediction(1, output=outputs[0]), prd_2=prediction(1, output=outputs[1]))
    (tally,) = database.read(lambda tx: feedback.tallies(tx, "churn"))
    assert (tally.count, tally.compared) == (2, compared)


def test_feedback_under_the_name_of_the_models_label_is_a_label(database: Database) -> None:
    declaration = {"label": {"name": "gone"}}
    database.write(lambda tx: models.create(tx, "churn", declaration=declaration), actor="dana")
    take(database, said(1, name="gone"), said(1, name="opened"))
    join(database, prd_1=prediction(1, output=0.9))
    gone, opened = database.read(lambda tx: feedback.tallies(tx, "churn"))
    assert (gone.accuracy, opened.accuracy) == (1.0, None)


def test_many_at_once(database: Database) -> None:
    items = [said(1, of=f"prd_m.{row}") for row in range(1_000)]
    assert take(database, *items) == Taken(accepted=1_000, new=1_000, corrections=0)
    corrected = [said(0, of=f"prd_m.{row}") for row in range(1_000)]
    assert take(database, *items, *corrected) == Taken(accepted=2_000, new=1_000, corrections=1_000)
    found = {f"prd_m.{row}": prediction() for row in range(1_000)}
    assert len(join(database, **found)) == 2_000
    assert {reward.value for reward in rewards(database)} == {0.0}


@pytest.mark.parametrize(("value", "squares"), [(LARGEST, LARGEST**2), (-LARGEST, LARGEST**2), (1e-200, 0.0)])
def test_the_largest_and_smallest_numbers_can_be_added_up(database: Database, value: float, squares: float) -> None:
    take(database, *decode_feedback(msgspec.json.encode(said(value))))
    join(database, **{P: prediction()})
    (tally,) = database.read(lambda tx: feedback.tallies(tx, "churn"))
    assert (tally.total, tally.squares) == (value, squares)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"3", "body"),
        (b"{}", "body"),
        (b'{"prediction_id": "a", "value": null}', "value"),
        (b'{"prediction_id": "a", "value": 1e999}', "value"),
        (b'{"prediction_id": "a", "value": -1e101}', "value"),
        (b'{"prediction_id": "a", "value": 99999999999999999999}', "value"),
        (b'{"prediction_id": "a", "value": "\\u0000"}', "value"),
        (b'{"prediction_id": "a b", "value": 1}', "prediction_id"),
        (b'{"prediction_id": "a", "value": 1, "sure": 1}', "body"),
        (b'{"prediction_id": "a", "value": 1, "at": "2026-01-01T00:00:00"}', "at"),
        (b'{"prediction_id": "a", "value": 1, "at": "0001-01-01T00:00:00+14:00"}', "at"),
        (b'[{"prediction_id": "a", "value": 1}, {"prediction_id": "a", "value": [1]}]', "[1].value"),
        (b'[{"prediction_id": "a", "value": 1, "metadata": {"a": {}}}]', "[0].metadata[...]"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_place(body: bytes, where: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decode_feedback(body)
    assert refused.value.where == where


def test_bounds() -> None:
    item = b'{"prediction_id": "a", "value": 1}'
    assert len(decode_feedback(b"[" + b",".join([item] * ITEMS_LIMIT) + b"]")) == ITEMS_LIMIT
    with pytest.raises(TooLarge):
        decode_feedback(b"[" + b",".join([item] * (ITEMS_LIMIT + 1)) + b"]")
    with pytest.raises(InvalidInput):
        decode_feedback(b'{"prediction_id": "a", "value": 1, "metadata": {"a": "%s"}}' % (b"x" * 5_000))


@given(st.binary(max_size=200))
def test_no_body_breaks_the_decoder(body: bytes) -> None:
    with suppress(InvalidInput):  # anything else fails the test
        decode_feedback(body)
