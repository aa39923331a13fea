"""Removal from the lake: only what is old, or an entity's, and all of it, also when a run dies half way."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.predictions import table_of
from tests.serving.gateway.test_prediction_log import MAY
from tests.serving.log.test_compaction import control, ctx, refuse, write  # noqa: F401 - fixtures
from tests.serving.log.test_feedback_join import predicted_as
from tests.serving.log.test_prediction_sql import said

from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.serving.log.compaction import compact_closed, predictions_table
from headrace.serving.log.removing import run_removal
from headrace.serving.log.segments import ASIDE, CLOSED, OPEN, hold, segment_number
from headrace.serving.retention_nouns import HANDED_IN, DataClass, Expiry, Gone, Removed, RemoveRequest

DAY = timedelta(days=1)


def predicted(lake: Lake, model: str, *ids: str, customer: int = 1) -> None:
    """One a day, by wall time."""
    records = [
        msgspec.structs.replace(
            predicted_as(model, name, place), at=MAY + place * DAY, entity={"customer_id": customer}
        )
        for place, name in enumerate(ids)
    ]
    lake.append(predictions_table(model), table_of(records), operation=f"test-{customer}")


def left(lake: Lake, table: str) -> list[str]:
    return sorted(lake.read(lake.snapshot(table))["prediction_id"].to_pylist())


def expire(data_class: DataClass, days: int, model: str = "") -> Expiry:
    return Expiry(data_class=data_class, model=model, before=MAY + days * DAY)


def test_a_models_own_rule_goes_before_that_of_all(ctx: WorkContext) -> None:  # noqa: F811
    for model in ("churn", "other"):
        predicted(ctx.lake, model, "prd_1", "prd_2", "prd_3")
    rules = (expire(DataClass.PREDICTIONS, 2), expire(DataClass.PREDICTIONS, 1, "other"))
    removed = run_removal(ctx, RemoveRequest(expiries=rules))
    assert removed.gone == (
        Gone(data_class=DataClass.PREDICTIONS, model="churn", rows=2),
        Gone(data_class=DataClass.PREDICTIONS, model="other", rows=1),
    )
    assert left(ctx.lake, "predictions/churn") == ["prd_3"]
    assert left(ctx.lake, "predictions/other") == ["prd_2", "prd_3"]
    assert run_removal(ctx, RemoveRequest(expiries=rules)) == Removed()


def test_an_entity_is_forgotten_with_what_was_said_of_it(ctx: WorkContext) -> None:  # noqa: F811
    predicted(ctx.lake, "churn", "prd_1", "prd_2")
    predicted(ctx.lake, "churn", "prd_3", customer=12)
    said(ctx.lake, "churn", (1, "prd_1", 1.0, 0), (2, "prd_3", 1.0, 0))
    removed = run_removal(ctx, RemoveRequest(entity='{"customer_id":1}'))
    assert (set(removed.prediction_ids), removed.unfinished) == ({"prd_1", "prd_2"}, True)
    assert left(ctx.lake, "feedback/churn") == ["prd_3"]
    assert len(left(ctx.lake, "predictions/churn")) == 3  # the database has not forgotten what was said of them yet
    removed = run_removal(ctx, RemoveRequest(entity='{"customer_id":1}', told=removed.prediction_ids))
    assert (set(removed.prediction_ids), removed.unfinished) == ({"prd_1", "prd_2"}, False)
    assert left(ctx.lake, "predictions/churn") == ["prd_3"]


def test_an_open_segment_from_before_is_waited_for(ctx: WorkContext) -> None:  # noqa: F811
    segment = ctx.settings.home / "predictions" / "gateway-1" / "churn" / f"{round(MAY.timestamp() * 1e6)}{OPEN}"
    segment.parent.mkdir(parents=True)
    later = RemoveRequest(entity='{"customer_id":1}', asked_at=MAY + DAY)
    with segment.open("xb") as file:
        hold(file)  # as the gateway does that writes it
        assert run_removal(ctx, later).unfinished
        assert run_removal(ctx, msgspec.structs.replace(later, asked_at=MAY - HANDED_IN)).unfinished
        assert not run_removal(ctx, msgspec.structs.replace(later, asked_at=MAY - DAY)).unfinished
    segment.unlink()
    assert not run_removal(ctx, later).unfinished


def test_a_segment_that_is_closed_during_an_erasure_is_waited_for(
    ctx: WorkContext,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(ctx.settings.home, 1)
    (path,) = ctx.settings.home.rglob(f"*{CLOSED}")
    still_open = path.rename(path.with_name(f"{round(MAY.timestamp() * 1e6)}{OPEN}"))

    def then_the_gateway_closes_it(ctx: WorkContext) -> list[str]:
        left_out = compact_closed(ctx)
        still_open.rename(still_open.with_suffix(CLOSED))
        return left_out

    asked = RemoveRequest(entity='{"customer_id":1}', asked_at=MAY + DAY)
    with monkeypatch.context() as patched, still_open.open("rb") as file:
        hold(file)  # as the gateway does that writes it
        patched.setattr("headrace.serving.log.removing.compact_closed", then_the_gateway_closes_it)
        assert run_removal(ctx, asked).unfinished
    removed = run_removal(ctx, asked)
    assert removed.prediction_ids == ("prd_1",)
    assert not run_removal(ctx, msgspec.structs.replace(asked, told=removed.prediction_ids)).unfinished
    assert left(ctx.lake, "predictions/churn") == []


def test_an_erasure_that_died_half_way_is_finished(
    ctx: WorkContext,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predicted(ctx.lake, "churn", "prd_1")
    said(ctx.lake, "churn", (1, "prd_1", 1.0, 0))
    remove = Lake.remove

    def dies(lake: Lake, table: str, column: str, **how: Any) -> int:
        if table == "predictions/churn":
            raise KeyboardInterrupt
        return remove(lake, table, column, **how)

    monkeypatch.setattr(Lake, "remove", dies)
    asked = RemoveRequest(entity='{"customer_id":1}', told=("prd_1",))
    with pytest.raises(KeyboardInterrupt):
        run_removal(ctx, asked)
    monkeypatch.undo()
    assert run_removal(ctx, asked).prediction_ids == ("prd_1",)
    assert left(ctx.lake, "predictions/churn") == left(ctx.lake, "feedback/churn") == []


def test_files_that_the_lake_refuses_go_with_their_age(
    ctx: WorkContext,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(ctx.settings.home, 1)
    write(ctx.settings.home, 2)
    refuse(monkeypatch, "prd_1")
    run_removal(ctx, RemoveRequest(expiries=(expire(DataClass.PREDICTIONS, -999),)))
    (path,) = ctx.settings.home.rglob(f"*{ASIDE}")
    begun = datetime.fromtimestamp(segment_number(path) / 1e6, UTC)
    for model, removed in (("", False), ("other", False), ("", True)):
        before = begun + timedelta(milliseconds=1 if removed or model else -1)
        gone = run_removal(
            ctx,
            RemoveRequest(expiries=(Expiry(data_class=DataClass.PREDICTIONS, model=model, before=before),)),
        ).gone
        assert [(one.model, one.segments) for one in gone if one.segments] == ([("churn", 1)] if removed else [])
        assert path.exists() is not removed


def test_an_erasure_is_held_up_by_refused_files_that_name_the_entity(
    ctx: WorkContext,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(ctx.settings.home, 1)
    refuse(monkeypatch, "prd_1")
    other = run_removal(ctx, RemoveRequest(entity='{"customer_id":2}'))
    assert (other.held, other.unfinished) == ((), False)
    (path,) = ctx.settings.home.rglob(f"*{ASIDE}")
    asked = RemoveRequest(entity='{"customer_id":1}')
    name = str(path.relative_to(ctx.settings.home / "predictions"))
    held = run_removal(ctx, asked)
    assert (held.held, held.unfinished) == ((name,), True)
    with path.open("ab") as file:
        file.write(b"no line of a log\n")
    assert run_removal(ctx, RemoveRequest(entity='{"customer_id":2}')).held == (name,)
    monkeypatch.undo()  # the lake takes it now, and the rows are found there
    removed = run_removal(ctx, asked)
    assert (removed.held, removed.prediction_ids) == ((), ("prd_1",))
    assert run_removal(ctx, msgspec.structs.replace(asked, told=("prd_1",))).unfinished is False
    assert left(ctx.lake, "predictions/churn") == []
