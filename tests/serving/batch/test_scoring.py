"""Batch scoring: the answers and refusals of the online door, each row once, however often a run is killed."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serving import models
from tests.serving.conftest import Bench, route

from headrace.errors import Conflict, HeadraceError, ModelFault, NotFound, SchemaMismatch
from headrace.kernel.lake import Lake
from headrace.sdk.scoring import score as score_model
from headrace.serving.batch.scoring import Alone, Scoring, score
from headrace.serving.batch.scoring_inputs import ParquetSource, open_source
from headrace.serving.batch.scoring_outputs import Folder, Manifest
from headrace.serving.forms.arrow_forms import from_arrow, from_texts, values
from headrace.serving.forms.inputs import row_values
from headrace.serving.forms.json_forms import Forms
from headrace.serving.forms.signature import Column, Signature
from headrace.serving.gateway.csv_forms import from_csv
from headrace.serving.loading.predictor import Predictor
from headrace.serving.nouns import FieldPolicy, ServedVersion
from headrace.serving.runtimes.loaders import prepare_thread

Run = Callable[[Coroutine[Any, Any, None]], None]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
VERSION = ServedVersion(model="churn", number=1, digest="", files=())


def predictor(folder: Path, estimator: Any, **more: Any) -> Predictor:
    return Predictor(VERSION, models.loaded(models.write_model(folder / "model", estimator, **more)))


def manifest(**more: Any) -> Manifest:
    fields: dict[str, Any] = {
        "run_id": "prd_run",
        "model": "churn",
        "version": 1,
        "digest": "d",
        "input": {},
        "settings": {},
    }
    return Manifest(**(fields | more))


def run_score(model: Predictor, rows: Path | str, out: Path, kind: str = "parquet", **how: Any) -> Manifest:
    source = open_source(str(rows), Lake(out.parent / "lake"))
    wanted = manifest(input=source.identity)
    with ThreadPoolExecutor(1, initializer=prepare_thread) as pool:
        scoring, folder = Scoring(**how), Folder(out, kind)
        return pool.submit(score, Alone(model), source, folder, wanted, scoring, now=lambda: NOW).result()


def answered(out: Path) -> dict[int, Any]:
    tables = [pq.read_table(path) for path in sorted(out.glob("part-*.parquet"))]
    found = [row for table in tables for row in table.to_pylist()]
    rows = {row["row"]: row["prediction"] for row in found}
    assert len(rows) == len(found), "a row twice"
    return rows


def rejected(out: Path) -> dict[int, str]:
    tables = [pq.read_table(path) for path in sorted(out.glob("_rejects-*.parquet"))]
    return {row["row"]: row["reason"] for table in tables for row in table.to_pylist()}


def write_rows(path: Path, rows: int = 1_000) -> Path:
    features = models.features(rows)
    pq.write_table(pa.table(dict(zip(models.NAMES, features.T, strict=True))), path, row_group_size=64)
    return path


NUMBER = st.none() | st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, float("nan"), float("inf")])

KINDS = st.sampled_from(["parquet", "csv"])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=12), kind=st.sampled_from(["parquet", "csv"]))
@pytest.mark.parametrize(
    "make", [models.binary_model, models.forest, models.three_class_model, models.raising_model]
)
def test_what_is_answered_online_is_answered_alike_and_what_is_refused_is_rejected(
    bench: Bench, run: Run, tmp_path: Path, make: Callable[[], Any], rows: list[Any], kind: str
) -> None:
    estimator = make()
    folder = tmp_path / os.urandom(8).hex()
    folder.mkdir()
    path = folder / f"rows.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(models.NAMES)
            writer.writerows([["" if value is None else repr(value) for value in row] for row in rows])
    else:
        columns = zip(models.NAMES, zip(*rows, strict=True), strict=True)
        pq.write_table(pa.table({name: pa.array(column, pa.float64()) for name, column in columns}), path)
    run_score(predictor(folder, estimator), path, folder / "out", "parquet")
    batch, reasons = answered(folder / "out"), rejected(folder / "out")
    assert sorted([*batch, *reasons]) == list(range(len(rows)))

    async def online() -> None:
        await bench.settle(route(bench.version(1, estimator, lookup=False), champion=1))
        for place, row in enumerate(rows):
            if kind == "csv":
                cells = ",".join("" if value is None else repr(value) for value in row)
                body, given_type = f"{','.join(models.NAMES)}\n{cells}\n".encode(), "text/csv"
            else:
                sink = pa.BufferOutputStream()
                one = {name: pa.array([value], pa.float64()) for name, value in zip(models.NAMES, row, strict=True)}
                pq.write_table(pa.table(one), sink)
                body, given_type = sink.getvalue().to_pybytes(), "application/vnd.apache.parquet"
            answer = await bench.post("/models/churn/invocations", body, content_type=given_type)
            if place in batch:
                assert answer.status == 200, answer.body
                assert np.allclose(answer.body["predictions"][0], batch[place], rtol=1e-12, atol=0)
            else:
                assert answer.status in {400, 500}

    with ThreadPoolExecutor(1, initializer=prepare_thread) as pool:  # as a gateway's main thread is
        pool.submit(run, online()).result()


ARROW = st.sampled_from([pa.float64(), pa.float32(), pa.int64(), pa.int8(), pa.uint32(), pa.bool_(), pa.string()])
TYPES = st.sampled_from(["double", "float", "long", "integer", "boolean"])


@settings(max_examples=150, deadline=None)
@given(
    columns=st.lists(st.tuples(TYPES, st.booleans(), ARROW, st.lists(st.none() | st.integers(0, 1))), min_size=1),
    extra=st.booleans(),
)
def test_arrays_are_read_as_values_are(columns: list[Any], *, extra: bool) -> None:
    """The short way is no other way: the same rows are taken, as the same numbers."""
    length = min(len(cells) for *_, cells in columns)
    table = pa.table(
        {
            f"c{place}": pa.array([None if cell is None else str(cell) for cell in cells[:length]]).cast(
                pa.string()
            )
            if kind == pa.string()
            else pa.array(cells[:length], pa.int8()).cast(kind)
            for place, (_, _, kind, cells) in enumerate(columns)
        }
    )
    if extra:
        table = table.append_column("extra", pa.nulls(length, pa.float64()))
    forms = Forms(
        Signature(
            [
                Column(name=f"c{place}", type=kind, required=needed)
                for place, (kind, needed, *_) in enumerate(columns)
            ]
        )
    )

    def taken(read: Callable[[], Any]) -> Any:
        try:
            return np.array(row_values(read(), forms.signature.names), dtype=float)
        except HeadraceError as refused:
            return (refused.message, refused.where)

    fast = taken(lambda: from_arrow(forms, table, "parquet"))
    slow = taken(
        lambda: forms.columns({name: values(table.column(name)) for name in table.schema.names}, "parquet")
    )
    np.testing.assert_array_equal(fast, slow)


CELL = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**16), 10**16).map(str),
    st.sampled_from(["", "1", "0", "-0", "1.", ".5", "007", "1e5", "1E+05", "+1", " 1", "1e999", "0x10", "1_0"]),
    st.text("0123456789.eE+-", max_size=6),
)


@settings(max_examples=300, deadline=None)
@given(kinds=st.lists(TYPES, min_size=2, max_size=3), data=st.data())
def test_texts_are_read_as_the_online_door_reads_them(kinds: list[str], data: st.DataObject) -> None:
    """The short way of CSV takes nothing that the other refuses, and finds the same numbers."""
    names = [f"c{place}" for place in range(len(kinds))]
    columns = [Column(name=name, type=kind) for name, kind in zip(names, kinds, strict=True)]
    forms = Forms(Signature(columns))
    cells = data.draw(st.lists(st.tuples(*[CELL] * len(kinds)), min_size=1, max_size=4))
    found = from_texts(forms.signature, dict(zip(names, zip(*cells, strict=True), strict=True)))
    if found is not None:
        lines = "".join(",".join(row) + "\n" for row in [names, *cells])
        np.testing.assert_array_equal(found, from_csv(forms, lines.encode()).rows)


def test_plain_texts_take_the_short_way() -> None:
    signature = Signature([Column(name="spend", type="double"), Column(name="visits", type="long")])
    found = from_texts(signature, {"visits": ["3", "-4"], "spend": ["", "1.5e3"]})
    np.testing.assert_array_equal(found, [[np.nan, 3], [1500, -4]])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5), size=st.integers(1, 12), first=st.integers(0, 6))
def test_parts_are_the_rows_in_their_order_from_any_part_on(
    tmp_path: Path, sizes: list[int], size: int, first: int
) -> None:
    folder = tmp_path / os.urandom(8).hex()
    folder.mkdir()
    start = 0
    for place, rows in enumerate(sizes):
        pq.write_table(
            pa.table({"x": pa.array(range(start, start + rows), pa.int64())}),
            folder / f"{place}.parquet",
            row_group_size=2,
        )
        start += rows
    source = ParquetSource(sorted(folder.glob("*.parquet")))
    parts = [part.table(["x"])["x"].to_pylist() for part in source.parts(size, first)]
    every = list(range(start))
    assert parts == [every[at : at + size] for at in range(first * size, start, size)]
    assert source.rows == start


def test_rows_that_a_model_fails_on_are_put_aside_one_by_one(tmp_path: Path) -> None:
    rows = tmp_path / "rows.parquet"
    bad = {3, 500, 999}
    columns = {name: [2.0 if row in bad else float(row % 2) for row in range(1_000)] for name in models.NAMES}
    pq.write_table(pa.table(columns | {"id": [f"c{row}" for row in range(1_000)]}), rows)
    done = run_score(
        predictor(tmp_path, models.raising_model()), rows, tmp_path / "out", keep=("id",), part_rows=400
    )
    assert (done.rows, done.rejected, done.parts, done.complete) == (1_000, 3, 3, True)
    assert rejected(tmp_path / "out") == dict.fromkeys(bad, "the model failed on the row (ValueError)")
    kept = pq.read_table(tmp_path / "out" / "part-000001.parquet")
    assert kept["id"].to_pylist() == [f"c{row}" for row in range(400, 800) if row not in bad]
    with pytest.raises(ModelFault) as failed:
        run_score(
            predictor(tmp_path, models.raising_model()), rows, tmp_path / "strict", keep=("id",), reject=False
        )
    assert failed.value.where == "row 3"


def test_unknown_columns_are_refused_or_left_out(tmp_path: Path) -> None:
    rows = tmp_path / "rows.parquet"
    table = pq.read_table(write_rows(rows, 10)).append_column("extra", pa.array(range(10)))
    pq.write_table(table, rows)
    model = predictor(tmp_path, models.binary_model())
    assert run_score(model, rows, tmp_path / "refused").rejected == 10
    lenient = msgspec.structs.replace(VERSION, fields=FieldPolicy(unknown="ignore"))
    loaded = models.loaded(tmp_path / "model")
    assert run_score(Predictor(lenient, loaded), rows, tmp_path / "ignored").rejected == 0
    assert answered(tmp_path / "ignored")[3] == pytest.approx(
        models.binary_model().predict_proba(models.features(10)[3:4])[0, 1]
    )
    with pytest.raises(SchemaMismatch):
        run_score(model, rows, tmp_path / "none", keep=("nothing",))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_folder_takes_one_run_of_one_thing(tmp_path: Path, kind: str) -> None:
    rows, out = write_rows(tmp_path / "rows.parquet"), tmp_path / "out"
    model = predictor(tmp_path, models.binary_model())
    first = run_score(model, rows, out, kind, part_rows=300)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != ".lock"}
    assert run_score(model, rows, out, kind, part_rows=300) == first
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != ".lock"} == before
    other = write_rows(tmp_path / "others.parquet")
    with pytest.raises(Conflict, match="something else"):
        run_score(model, other, out, kind, part_rows=300)
    holder = Folder(tmp_path / "held", kind)
    holder.begin(manifest())
    with pytest.raises(Conflict, match="another run"):
        run_score(model, rows, tmp_path / "held", kind)
    holder.end()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").touch()
    with pytest.raises(Conflict, match="other files"):
        run_score(model, rows, tmp_path / "used", kind)
    with pytest.raises(NotFound):
        run_score(model, tmp_path / "nothing.parquet", tmp_path / "x", kind)


def test_answers_are_logged_and_appended_once_though_a_run_dies_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(tmp_path / "lake")
    features = models.features(1_000)
    lake.append("raw/rows", pa.table(dict(zip(models.NAMES, features.T, strict=True))), operation="o")
    model = predictor(tmp_path, models.three_class_model())
    how: dict[str, Any] = {"part_rows": 300, "log": lake, "table": "scores/churn", "tables": lake}
    how["business_at"] = replayed = datetime(1997, 8, 1, tzinfo=UTC)
    write, calls = Folder.write, []

    def dies(folder: Folder, part: int, *tables: pa.Table) -> None:
        calls.append(part)
        if len(calls) in {2, 4}:
            raise KeyboardInterrupt
        write(folder, part, *tables)

    monkeypatch.setattr(Folder, "write", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_score(model, "lake:raw/rows", tmp_path / "out", **how)
    done = run_score(model, "lake:raw/rows", tmp_path / "out", **how)
    assert (done.complete, done.rows, calls) == (True, 1_000, [0, 1, 1, 2, 2, 3])
    logged = lake.read(lake.snapshot("predictions/churn")).sort_by("prediction_id").to_pylist()
    assert len({row["prediction_id"] for row in logged}) == len(logged) == 1_000
    assert {(row["purpose"], row["version"], row["arm"]) for row in logged} == {("batch", 1, "pinned")}
    assert {(row["business_at"], row["at"] > replayed) for row in logged} == {(replayed, True)}
    batch = answered(tmp_path / "out")
    for row in logged:
        place = int(row["prediction_id"].rpartition(".")[2])
        assert row["outputs"] == batch[place]
        assert [row["feature.purchases"], row["feature.spend"]] == features[place].tolist()
    scores = lake.read(lake.snapshot("scores/churn"))
    assert sorted(scores["row"].to_pylist()) == list(range(1_000))


KILLED = """
import os, signal, sys
from pathlib import Path
from headrace.sdk.scoring import score
moment, model, rows, out = int(sys.argv[1]), *sys.argv[2:]
replaced = 0
plain = Path.replace
def replace(self, target):
    global replaced
    replaced += 1
    if replaced == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    found = plain(self, target)
    if replaced == -moment:
        os.kill(os.getpid(), signal.SIGKILL)
    return found
Path.replace = replace
score(model, rows, out, part_rows=300, strict=False)
"""


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    directory = models.write_model(tmp_path / "model", models.forest())
    rows = write_rows(tmp_path / "rows.parquet")
    arguments = [str(directory), str(rows), str(tmp_path / "out")]
    for moment in (-1, 2, -2):  # after the manifest; before a part; after the second of this life
        killed = subprocess.run([sys.executable, "-c", KILLED, str(moment), *arguments], check=False)
        assert killed.returncode == -signal.SIGKILL
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("part-*")}
    assert before
    done = score_model(*arguments, part_rows=300)
    assert (done.rows, done.rejected, done.parts, done.complete) == (1_000, 0, 4, True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in before} == before
    expected = models.forest().predict_proba(models.features(1_000))[:, 1]
    found = answered(tmp_path / "out")
    assert [found[row] for row in range(1_000)] == expected.tolist()
    assert not list((tmp_path / "out").glob(".unfinished-*"))
    assert msgspec.json.decode((tmp_path / "out" / "_manifest.json").read_bytes(), type=Manifest) == done


def test_a_part_of_csv_whose_texts_have_lines_is_known_as_done(tmp_path: Path) -> None:
    folder, rows = Folder(tmp_path / "out", "csv"), 60_000
    folder.begin(manifest())
    answers = pa.table({"row": list(range(rows)), "note": ['a\nb, "c" ' * 4] * rows, "prediction": [0.5] * rows})
    folder.write(0, answers, pa.table({"row": [1], "where": ["x"], "reason": ["bad\nvalue"]}))
    assert folder.done(0) == (rows, 1)
    next(folder.path.glob("part-*")).write_text("a,b\n1\n")
    with pytest.raises(Conflict, match="cannot be read"):
        folder.done(0)
    folder.end()
