"""The join: feedback finds its prediction in any model's log, and reaches the lake once."""

from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import pytest
from tests.predictions import table_of
from tests.serving.gateway.test_prediction_log import MAY
from tests.serving.log.test_compaction import Control, ctx  # noqa: F401 - a fixture

from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.serving.feedback_nouns import Joined, JoinRequest, Stored
from headrace.serving.log.compaction import predictions_table
from headrace.serving.log.feedback_join import feedback_table, run_join
from headrace.serving.nouns import Arm, PredictionRecord, Purpose

T = TypeVar("T")


class FeedbackControl(Control):
    """Hands out a batch of feedback."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Stored] = []

    def call(self, method: str, path: str, body: Any = None, *, returns: type[T]) -> T:
        assert (method, path) == ("GET", "/api/v1/feedback/batches/7")
        return msgspec.convert(msgspec.to_builtins(self.waiting), returns)


@pytest.fixture
def control() -> FeedbackControl:
    return FeedbackControl()


def stored(sequence: int, prediction_id: str, value: Any = 1) -> Stored:
    return Stored(
        sequence=sequence,
        prediction_id=prediction_id,
        name="label",
        value=value,
        at=MAY,
        received_at=MAY,
        by="ana",
        metadata={"from": "crm"},
        effective=True,
    )


def predicted(lake: Lake, model: str, *ids: str) -> None:
    records = [predicted_as(model, prediction_id, place) for place, prediction_id in enumerate(ids)]
    lake.append(predictions_table(model), table_of(records), operation="test")


def predicted_as(model: str, prediction_id: str, place: int) -> PredictionRecord:
    return PredictionRecord(
        prediction_id=prediction_id,
        business_at=MAY + timedelta(days=place),
        at=MAY,
        model=model,
        version=place + 1,
        arm=Arm.CHALLENGER,
        propensity=0.25,
        release_id="rel_1",
        step=2,
        entity=None,
        names=("spend",),
        features=(1.0,),
        output=0.5,
        latency_us=1,
        fault=None,
        purpose=Purpose.LIVE,
    )


def join(ctx: WorkContext) -> Joined:  # noqa: F811
    return run_join(ctx, JoinRequest(batch=7))


def kept(ctx: WorkContext, model: str) -> list[tuple[int, str, str]]:  # noqa: F811
    if not ctx.lake.exists(feedback_table(model)):
        return []
    rows = ctx.lake.read(ctx.lake.snapshot(feedback_table(model))).to_pylist()
    return sorted((row["sequence"], row["prediction_id"], row["value"]) for row in rows)


def test_each_piece_finds_its_model_and_version(ctx: WorkContext, control: FeedbackControl) -> None:  # noqa: F811
    predicted(ctx.lake, "churn", "prd_1", "prd_2")
    predicted(ctx.lake, "Größe/2", "prd_3")
    control.waiting = [stored(1, "prd_2"), stored(2, "prd_3", "tall"), stored(3, "prd_0"), stored(4, "prd_2", 0)]
    joined = join(ctx)
    found = {one.sequence: one.prediction for one in joined.found}
    assert joined.batch == 7
    assert set(found) == {1, 2, 4}
    assert (found[1].model, found[1].version, found[1].propensity, found[1].step) == ("churn", 2, 0.25, 2)
    assert found[1].business_at == MAY + timedelta(days=1)
    assert (found[2].model, found[2].output) == ("Größe/2", 0.5)
    assert kept(ctx, "churn") == [(1, "prd_2", "1"), (4, "prd_2", "0")]
    assert kept(ctx, "Größe/2") == [(2, "prd_3", '"tall"')]


def test_a_join_whose_answer_was_lost_writes_nothing_twice(
    ctx: WorkContext,  # noqa: F811
    control: FeedbackControl,
) -> None:
    predicted(ctx.lake, "churn", "prd_1", "prd_2")
    control.waiting = [stored(1, "prd_1")]
    first = join(ctx)
    control.waiting = [stored(1, "prd_1"), stored(2, "prd_2")]
    second = join(ctx)
    assert second.found[0] == first.found[0]
    assert kept(ctx, "churn") == [(1, "prd_1", "1"), (2, "prd_2", "1")]


def test_nothing_is_found_where_nothing_was_predicted(ctx: WorkContext, control: FeedbackControl) -> None:  # noqa: F811
    control.waiting = [stored(1, "prd_1")]
    assert join(ctx) == Joined(batch=7)
    assert ctx.lake.tables("feedback") == []
