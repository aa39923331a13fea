"""Compaction: every prediction once, however often it is tried, and none left behind that the window needs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pytest
from tests.serving.gateway.test_prediction_log import MAY, Clock, record

from headrace.kernel.blobs import open_blob_store
from headrace.kernel.jobs import Job
from headrace.kernel.lake import Lake
from headrace.kernel.settings import Settings
from headrace.kernel.work import WorkContext
from headrace.serving.assignment import Assignment
from headrace.serving.forms.json_forms import Entities
from headrace.serving.forms.signature import Column, Signature, Tensor
from headrace.serving.gateway.prediction_log import PredictionLog
from headrace.serving.loading.loader import LoadedModel
from headrace.serving.loading.predictor import Predictor
from headrace.serving.log import compaction
from headrace.serving.log.compaction import compact, compact_closed, predictions_table, run_compaction
from headrace.serving.log.feature_names import spelt
from headrace.serving.log.logged_tables import to_table
from headrace.serving.log.segments import (
    ASIDE,
    CLOSED,
    OPEN,
    Block,
    Lines,
    Logged,
    hold,
    read_blocks,
    segment_folder,
    segments,
)
from headrace.serving.nouns import Arm, Compaction, CompactRequest, Gateway, ServedVersion

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
    left = second.rename(second.with_suffix(OPEN))
    with left.open("rb") as file:
        hold(file)  # by a gateway that is stuck
        assert compact(ctx, "churn", JUNE) == 1
    assert left.exists()
    assert rows(ctx) == ["prd_1"]
    assert not first.exists()


def test_an_open_segment_of_later_predictions_is_not_waited_for(
    ctx: WorkContext, control: Control, tmp_path: Path
) -> None:
    write(tmp_path, 1)
    (path,) = segments(tmp_path / "predictions", "churn", CLOSED)["gateway-1"]
    still_open = path.rename(path.with_suffix(OPEN))
    control.logged_until = [MAY]
    with still_open.open("rb") as file:
        hold(file)
        assert compact(ctx, "churn", MAY) == 0
    assert len(control.asked) == 1


@pytest.mark.parametrize("how", [lambda ctx: compact(ctx, "churn", JUNE), compact_closed])
def test_what_a_gateway_that_is_gone_left_open_is_taken(
    ctx: WorkContext, control: Control, tmp_path: Path, how: Callable[[WorkContext], Any]
) -> None:
    control.logged_until = [JUNE]
    write(tmp_path, 1)
    write(tmp_path, 2)
    first, _ = segments(tmp_path / "predictions", "churn", CLOSED)["gateway-1"]
    left = first.rename(first.with_suffix(OPEN))
    with left.open("rb") as file:
        hold(file)
        assert compact(ctx, "churn") == 1  # a later one of the same gateway is in the lake before it
        assert left.exists()
    how(ctx)
    assert rows(ctx) == ["prd_1", "prd_2"]
    assert not list(tmp_path.rglob(f"{first.stem}.*"))
    how(ctx)
    assert rows(ctx) == ["prd_1", "prd_2"]


def test_the_table_has_the_columns_of_the_contract(tmp_path: Path) -> None:
    several = record(
        2,
        version=2,
        entities=None,
        names=("x", "y"),
        inputs=np.array([[1.0, np.nan]]),
        outputs=np.array([[0.2, 0.8]]),
        assignment=Assignment(2, Arm.CHALLENGER, 1.0),
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


def kept(root: Path, *answered: Logged) -> list[Block]:
    """What is read of what was logged."""
    path = segment_folder(root, "gateway-1", "churn") / f"1{CLOSED}"
    path.parent.mkdir(parents=True)
    lines = Lines()
    path.write_bytes(lines.of(answered))
    return [found for found in read_blocks(path) if found is not None]


def logged_by(signature: Signature, body: dict[str, Any], outputs: Any, **changes: Any) -> Logged:
    """What a gateway logs of a request to a model of this signature."""
    version = ServedVersion(model="churn", number=1, digest="sha256:" + "0" * 64, files=())
    predictor = Predictor(version, LoadedModel(signature, lambda _: np.asarray(outputs)))
    asked = predictor.forms.decode(msgspec.json.encode(body)).rows
    assert not isinstance(asked, Entities)
    facts = {"names": predictor.names, "texts": predictor.texts, "inputs": asked, "outputs": np.asarray(outputs)}
    return record(1, entities=None, **(facts | changes))


NUMBER, TEXT = Column(name="x", type="double"), Column(name="x", type="string")
BIG = 2**60 + 1


@pytest.mark.parametrize(
    ("signature", "body", "outputs", "kept"),
    [
        (Signature([NUMBER]), {"dataframe_records": [{"x": 2}]}, [0.5], {"feature.x": 2.0}),
        (
            Signature([Column(name="n", type="long"), TEXT]),
            {"dataframe_records": [{"n": BIG, "x": "a"}]},
            [0.5],
            {"feature.n": float(BIG), "feature.x": "a"},
        ),
        (
            Signature([Tensor(name="", dtype="float32", shape=(-1, 3))]),
            {"inputs": [[1, 2, 3]]},
            [0.5],
            {"feature.": "[1.0,2.0,3.0]"},
        ),
        (
            Signature(
                [Tensor(name="a", dtype="float32", shape=(-1, 1, 2)), Tensor(name="n", dtype="int64", shape=(-1,))]
            ),
            {"inputs": {"a": [[[1, 2]]], "n": [BIG]}},
            [0.5],
            {"feature.a": "[[1.0,2.0]]", "feature.n": float(BIG)},
        ),
        (Signature([NUMBER]), {"dataframe_records": [{"x": 2}]}, [BIG], {"output": float(BIG)}),
        (
            Signature([NUMBER]),
            {"dataframe_records": [{"x": 2}]},
            np.array([2**64 - 1], dtype=np.uint64),
            {"output": 2.0**64},
        ),
        (Signature([NUMBER]), {"dataframe_records": [{"x": 2}]}, [[BIG, 1]], {"outputs": [float(BIG), 1.0]}),
        (Signature([NUMBER]), {"dataframe_records": [{"x": 2}]}, [["a", "b"]], {"answer": '["a","b"]'}),
    ],
)
def test_whatever_a_signature_allows_reaches_the_lake(
    ctx: WorkContext, tmp_path: Path, signature: Signature, body: dict[str, Any], outputs: Any, kept: dict[str, Any]
) -> None:
    answer(tmp_path, logged_by(signature, body, outputs))
    assert run_compaction(ctx, CompactRequest(model="churn")) == Compaction(model="churn", segments=1, rows=1)
    (row,) = ctx.lake.read(ctx.lake.snapshot(predictions_table("churn"))).to_pylist()
    assert {name: row[name] for name in kept} == kept


@pytest.mark.parametrize("apart", [True, False])
def test_a_feature_that_changes_its_kind_has_a_column_for_each(
    ctx: WorkContext, tmp_path: Path, apart: bool
) -> None:
    values = [(NUMBER, 1.5), (TEXT, "gold"), (NUMBER, 2.5)]
    for column, value in values:
        answer(tmp_path, logged_by(Signature([column]), {"dataframe_records": [{"x": value}]}, [0.5]))
        if apart:
            assert compact(ctx, "churn") == 1
    compact(ctx, "churn")
    assert features(ctx) == [(1.5, None), (None, "gold"), (2.5, None)]


def features(ctx: WorkContext) -> list[tuple[Any, Any]]:
    table = ctx.lake.read(ctx.lake.snapshot(predictions_table("churn")))
    found = list(zip(table["feature.x"].to_pylist(), table["feature.x.text"].to_pylist(), strict=True))
    return sorted(found, key=lambda pair: pair[0] or 2.0)


def test_numbers_after_texts_have_a_column_of_their_own(ctx: WorkContext, tmp_path: Path) -> None:
    for column, value in ((TEXT, "gold"), (NUMBER, 1.5)):
        answer(tmp_path, logged_by(Signature([column]), {"dataframe_records": [{"x": value}]}, [0.5]))
        assert compact(ctx, "churn") == 1
    found = ctx.lake.read(ctx.lake.snapshot(predictions_table("churn"))).to_pylist()
    assert {(row["feature.x"], row["feature.x.number"]) for row in found} == {("gold", None), (None, 1.5)}


@pytest.mark.parametrize("apart", [True, False])
def test_features_whose_names_differ_in_case_alone_have_columns_of_their_own(
    ctx: WorkContext, tmp_path: Path, apart: bool
) -> None:
    for number, names in enumerate([("Age", "x"), ("age", "x"), ("age", "Age")], 1):
        inputs = np.array([[number, 10.0 * number]])
        answer(tmp_path, record(number, version=number, names=names, inputs=inputs))
        if apart:
            assert compact(ctx, "churn") == 1
    moved = run_compaction(ctx, CompactRequest(model="churn"))
    assert moved.set_aside == 0
    table = ctx.lake.read(ctx.lake.snapshot(predictions_table("churn"))).sort_by("prediction_id")
    second = spelt("feature.age")
    assert {name for name in table.schema.names if "age" in name.lower()} == {"feature.Age", second}
    assert table["feature.Age"].to_pylist() == [1.0, None, 30.0]
    assert table[second].to_pylist() == [None, 2.0, 3.0]


def test_a_feature_that_is_called_as_the_second_column_of_another_keeps_its_own(
    ctx: WorkContext, tmp_path: Path
) -> None:
    names = ("x", "x.text")
    answer(tmp_path, record(1, names=names, inputs=np.array([[1.0, 2.0]])))
    texts = {name: np.array([name.upper()], dtype=object) for name in names}
    answer(tmp_path, record(2, version=2, names=names, inputs=texts, texts=frozenset(names)))
    assert run_compaction(ctx, CompactRequest(model="churn")).rows == 2
    table = ctx.lake.read(ctx.lake.snapshot(predictions_table("churn"))).sort_by("prediction_id")
    assert {name: table[name].to_pylist() for name in table.schema.names if name.startswith("feature.")} == {
        "feature.x": [1.0, None],
        "feature.x.text": [None, "X"],
        "feature.x.text.number": [2.0, None],
        "feature.x.text.text": [None, "X.TEXT"],
    }


def test_a_segment_that_the_lake_refuses_is_set_aside_and_those_beside_it_taken(
    ctx: WorkContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1)
    write(tmp_path, 2)
    write(tmp_path, 3)
    refuse(monkeypatch, "prd_2")
    moved = run_compaction(ctx, CompactRequest(model="churn"))
    assert moved == Compaction(model="churn", segments=2, rows=2, set_aside=1)
    assert rows(ctx) == ["prd_1", "prd_3"]
    assert len(list(tmp_path.rglob(f"*{ASIDE}"))) == 1
    assert run_compaction(ctx, CompactRequest(model="churn")) == Compaction(model="churn", segments=0, rows=0)


def test_what_was_set_aside_is_taken_once_when_the_lake_takes_it(
    ctx: WorkContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        write(tmp_path, number)
    with monkeypatch.context() as patched:
        refuse(patched, "prd_2")
        compact(ctx, "churn")
        assert compact(ctx, "churn") == 0

    def dies(_: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:  # dies between append and removal
        patched.setattr(Path, "unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            compact(ctx, "churn")
    assert rows(ctx) == ["prd_1", "prd_2", "prd_3"]
    compact(ctx, "churn")
    assert rows(ctx) == ["prd_1", "prd_2", "prd_3"]
    assert not list(tmp_path.rglob(f"*{ASIDE}"))


def refuse(monkeypatch: pytest.MonkeyPatch, prediction_id: str, error: type[Exception] = OverflowError) -> None:
    """Have rows with this prediction fail on their way into the lake."""

    def fails(blocks: list[Block], schema: Any = None) -> Any:
        if any(prediction_id in block.rows.ids for block in blocks):
            raise error
        return to_table(blocks, schema)

    monkeypatch.setattr(compaction, "to_table", fails)


def answer(home: Path, logged: Logged) -> None:
    """Log it through a gateway's log that is then closed."""
    log = PredictionLog(home / "predictions", "gateway-1", business_time=Clock())
    log.start()
    log.append(logged)
    log.close()
