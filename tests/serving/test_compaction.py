"""Compaction: every prediction once, however often it is tried, and none left behind that the window needs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pytest
from tests.serving.test_prediction_log import MAY, Clock, record

from headrace.kernel.blobs import open_blob_store
from headrace.kernel.jobs import Job
from headrace.kernel.lake import Lake
from headrace.kernel.settings import Settings
from headrace.kernel.work import WorkContext
from headrace.serving import compaction
from headrace.serving.compaction import compact, predictions_table, run_compaction, to_table
from headrace.serving.nouns import Arm, CompactRequest, Gateway, PredictionRecord
from headrace.serving.prediction_log import PredictionLog
from headrace.serving.segments import CLOSED, Lines, Logged, read_segment, segment_folder, segments

T = TypeVar("T")

JUNE = MAY + timedelta(days=31)
WALL = datetime(2026, 1, 1, tzinfo=UTC)


class Control:
    """Answers as control does about the gateways, and lets the test act when it is asked."""

    def __init__(self) -> None:
        self.logged_until: list[datetime | None] = []
        self.asked: list[str] = []
        self.when_asked: Callable[[], None] = lambda: None

    def call(self, method: str, path: str, body: Any = None, *, returns: type[T]) -> T:
        assert (method, path, body) == ("GET", "/api/v1/gateways?alive=true", None)
        self.asked.append(path)
        self.when_asked()
        gateways = [
            Gateway(
                name=f"gateway-{number}",
                boot="b",
                booted_at=WALL,
                url="",
                last_seen=WALL,
                applied_sequence=1,
                logged_until=moment,
                predictions_dropped=0,
                predictions_lost=0,
                loaded=(),
                trips=(),
            )
            for number, moment in enumerate(self.logged_until)
        ]
        return msgspec.convert(msgspec.to_builtins(gateways), returns)

    def upload(self, path: str, content: bytes, *, returns: type[T]) -> T:
        raise AssertionError("compaction uploads nothing")


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def ctx(tmp_path: Path, control: Control) -> WorkContext:
    return WorkContext(
        control=control,
        blobs=open_blob_store(tmp_path),
        lake=Lake(tmp_path / "lake"),
        settings=Settings(home=tmp_path),
        business_now=JUNE,
        job=Job(
            id="job_1",
            kind="serving.compact",
            payload=msgspec.Raw(b"{}"),
            actor="ana",
            workspace="default",
            state="leased",
            attempt=1,
            max_attempts=5,
            enqueued_at=WALL,
        ),
        directory=tmp_path,
        report_progress=lambda _fraction, _note: None,
    )


def write(home: Path, *numbers: int, gateway: str = "gateway-1") -> None:
    log = PredictionLog(home / "predictions", gateway, business_time=Clock())
    log.start()
    for number in numbers:
        log.append(record(number))
    log.close()


def rows(ctx: WorkContext) -> list[str]:
    table = ctx.lake.read(ctx.lake.snapshot(predictions_table("churn")))
    return sorted(table.column("prediction_id").to_pylist())


def test_every_gateways_segments_reach_the_lake_once(ctx: WorkContext, tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    write(tmp_path, 3)
    write(tmp_path, 4, gateway="gateway-2")
    assert compact(ctx, "churn") == 4
    assert rows(ctx) == ["prd_1", "prd_2", "prd_3", "prd_4"]
    assert segments(tmp_path / "predictions", "churn", CLOSED) == {}
    assert compact(ctx, "churn") == 0
    write(tmp_path, 5)
    assert run_compaction(ctx, CompactRequest(model="churn")).rows == 1
    assert rows(ctx)[-1] == "prd_5"


def test_a_compaction_that_died_before_it_removed_is_repeated_without_a_double_row(
    ctx: WorkContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1)
    write(tmp_path, 2)

    def dies(_: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            compact(ctx, "churn")
    write(tmp_path, 3)
    assert compact(ctx, "churn") == 1
    assert rows(ctx) == ["prd_1", "prd_2", "prd_3"]


def test_many_segments_go_in_batches(ctx: WorkContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "ROWS_AT_ONCE", 1)
    for number in range(4):
        write(tmp_path, number)
    assert compact(ctx, "churn") == 4
    assert len(rows(ctx)) == 4


def test_a_torn_line_is_counted_and_the_rest_taken(ctx: WorkContext, tmp_path: Path) -> None:
    write(tmp_path, 1)
    (path,) = segments(tmp_path / "predictions", "churn", CLOSED)["gateway-1"]
    path.write_bytes(path.read_bytes() + b'["row","prd_')
    moved = run_compaction(ctx, CompactRequest(model="churn"))
    assert (moved.rows, moved.unreadable, moved.segments) == (1, 1, 1)


def test_it_waits_for_gateways_that_have_not_logged_so_far(
    ctx: WorkContext, control: Control, tmp_path: Path
) -> None:
    control.logged_until = [JUNE, MAY]

    def catch_up() -> None:
        if len(control.asked) == 2:
            write(tmp_path, 7)
            control.logged_until = [JUNE, JUNE]

    control.when_asked = catch_up
    assert compact(ctx, "churn", JUNE) == 1
    assert len(control.asked) == 2


def test_it_waits_for_an_open_segment_but_not_without_end(
    ctx: WorkContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "LOG_PATIENCE_S", 0.3)
    write(tmp_path, 1)
    write(tmp_path, 2)
    first, second = segments(tmp_path / "predictions", "churn", CLOSED)["gateway-1"]
    left = second.rename(second.with_suffix(".open"))  # by a gateway that has died
    assert compact(ctx, "churn", JUNE) == 1
    assert left.exists()
    assert rows(ctx) == ["prd_1"]
    assert not first.exists()


def test_an_open_segment_of_later_predictions_is_not_waited_for(
    ctx: WorkContext, control: Control, tmp_path: Path
) -> None:
    write(tmp_path, 1)
    (path,) = segments(tmp_path / "predictions", "churn", CLOSED)["gateway-1"]
    path.rename(path.with_suffix(".open"))
    control.logged_until = [MAY]
    assert compact(ctx, "churn", MAY) == 0
    assert len(control.asked) == 1


def test_the_table_has_the_columns_of_the_contract(tmp_path: Path) -> None:
    several = record(
        2,
        version=2,
        entities=None,
        names=("x", "y"),
        inputs=np.array([[1.0, np.nan]]),
        outputs=np.array([[0.2, 0.8]]),
        arm=Arm.CHALLENGER,
    )
    table = to_table(kept(tmp_path, record(1), several))
    first, second = table.to_pylist()
    assert first["entity"] == '{"customer_id":1}'
    assert (first["output"], first["outputs"], first["business_at"]) == (0.5, None, MAY)
    assert (second["output"], second["outputs"], second["entity"]) == (None, [0.2, 0.8], None)
    assert (second["feature.x"], second["feature.y"], first["feature.y"]) == (1.0, None, None)


def test_texts_and_labels_have_columns_of_their_own_kind(tmp_path: Path) -> None:
    inputs = {
        "city": np.array(["Rome", None], dtype=object),
        "seen": np.array(["2026-03-01", "NaT"], dtype="datetime64[us]"),
        "visits": np.array([3, 4]),
    }
    answered = record(
        ids=["prd_1.0", "prd_1.1"],
        entities=None,
        names=("city", "seen", "visits"),
        texts=frozenset({"city", "seen"}),
        inputs=inputs,
        outputs=np.array(["stays", "leaves"]),
        faults={1: "KeyError"},
    )
    first, second = to_table(kept(tmp_path, answered)).to_pylist()
    assert (first["answer"], first["output"], first["fault"]) == ('"stays"', None, None)
    assert (first["feature.city"], first["feature.visits"]) == ("Rome", 3.0)
    assert first["feature.seen"].startswith("2026-03-01")
    assert (second["answer"], second["fault"], second["feature.city"], second["feature.seen"]) == (
        None,
        "KeyError",
        None,
        None,
    )


def kept(root: Path, *answered: Logged) -> list[PredictionRecord]:
    """What is read of what was logged."""
    path = segment_folder(root, "gateway-1", "churn") / f"1{CLOSED}"
    path.parent.mkdir(parents=True)
    lines = Lines()
    path.write_bytes(b"".join(map(lines.of, answered)))
    return [found for found in read_segment(path) if found is not None]
