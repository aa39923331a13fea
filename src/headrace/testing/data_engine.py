"""The contract of the DataEngine seam, as tests that every back end passes.

class TestMyEngine(DataEngineContract):
    @pytest.fixture
    def engine(self): return MyEngine(...)
"""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from headrace.errors import InvalidInput, SchemaMismatch
from headrace.features.engine import DataEngine, DataFile
from headrace.features.join import point_in_time
from headrace.features.labels import label_values
from headrace.features.windows import SUM_TOLERANCE
from headrace.kernel.lake import Lake
from headrace.testing import feature_cases as cases
from headrace.testing import feature_oracle as oracle

SAME_FIXTURES = (HealthCheck.function_scoped_fixture, HealthCheck.differing_executors)


class DataEngineContract:
    """What `DataEngine` promises, and that the point-in-time join on it is right; `engine` is the back end."""

    @pytest.fixture
    def engine(self) -> DataEngine:
        """A fresh engine."""
        raise NotImplementedError

    def test_inputs_are_tables_under_their_names(self, engine: DataEngine) -> None:
        """Rows come in the order that the query asks for."""
        left, right = pa.table({"a": [1, 2, 3]}), pa.table({"a": [2, 3, 4], "b": ["x", "y", None]})
        sql = "SELECT a, b FROM one JOIN two USING (a) ORDER BY a DESC"
        result = engine.query(sql, {"one": left, "two": right})
        assert result.to_pylist() == [{"a": 3, "b": "y"}, {"a": 2, "b": "x"}]

    def test_files_and_tables_tell_their_columns(self, engine: DataEngine, tmp_path: Path) -> None:
        """Without their rows being read."""
        pq.write_table(pa.table({"day": pa.array([1], pa.date32()), "n": [1]}), tmp_path / "it's.parquet")
        (tmp_path / "f.csv").write_text("day,n\n1997-01-01,1\n1997-01-02,2\n")
        parquet = DataFile(path=tmp_path / "it's.parquet", format="parquet")
        csv = DataFile(path=tmp_path / "f.csv", format="csv")
        for file, rows in ((parquet, 1), (csv, 2)):
            assert engine.schema(file).names == ["day", "n"]
            assert engine.schema(file).field("day").type == pa.date32()
            assert engine.query("SELECT * FROM f", {"f": file}).num_rows == rows

    def test_snapshots_are_read_under_the_tables_own_schema(self, engine: DataEngine, tmp_path: Path) -> None:
        """Whatever columns a file has or lacks, and without any file."""
        lake = Lake(tmp_path / "lake with blanks")
        lake.append("t", pa.table({"n": pa.array([], pa.int16())}), operation="0")
        assert engine.query("SELECT n FROM t", {"t": lake.snapshot("t")}).num_rows == 0
        first = lake.append("t", pa.table({"n": pa.array([1], pa.int16())}), operation="1")
        last = lake.append("t", pa.table({"n": pa.array([2], pa.int16()), "s": ["x"]}), operation="2")
        result = engine.query("SELECT * FROM t ORDER BY n", {"t": lake.snapshot("t")})
        assert result.to_pylist() == [{"n": 1, "s": None}, {"n": 2, "s": "x"}]
        assert result.schema.field("n").type == pa.int16()
        assert engine.query("SELECT * FROM t", {"t": lake.snapshot("t", first)}).schema.names == ["n"]
        lake.append("t", pa.table({"n": pa.array([3], pa.int16())}), operation="3")
        added = lake.added("t", last, lake.snapshot("t").version)
        assert engine.query("SELECT * FROM t", {"t": added}).to_pylist() == [{"n": 3, "s": None}]

    def test_errors_are_the_platforms(self, engine: DataEngine, tmp_path: Path) -> None:
        """A missing column, a missing file, a file of something else."""
        with pytest.raises(SchemaMismatch):
            engine.query("SELECT absent FROM t", {"t": pa.table({"n": [1]})})
        (tmp_path / "broken.parquet").write_bytes(b"this is not Parquet")
        for name in ("absent.parquet", "broken.parquet"):
            with pytest.raises(InvalidInput):
                engine.schema(DataFile(path=tmp_path / name, format="parquet"))

    def test_queries_of_several_threads_do_not_meet(self, engine: DataEngine) -> None:
        """Each sees its own inputs, though they have the same name."""
        seen: dict[int, list[int]] = {}

        def ask(number: int) -> None:
            for _ in range(10):
                rows = engine.query("SELECT n FROM t", {"t": pa.table({"n": [number]})})["n"].to_pylist()
                seen.setdefault(number, []).extend(rows)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == {number: [number] * 10 for number in range(4)}

    @settings(max_examples=200, deadline=None, suppress_health_check=SAME_FIXTURES)
    @given(events=cases.events, asked=cases.asked)
    def test_the_join_says_what_the_oracle_says(
        self, engine: DataEngine, tmp_path: Path, events: list[dict[str, Any]], asked: list[Any]
    ) -> None:
        """Ties, duplicates, nulls and boundaries included; rows and order are the frame's."""
        frame = cases.frame_of(asked)
        views = [cases.VIEW, cases.RECENT]
        result = point_in_time(engine, views, {"purchases": cases.snapshot_of(events, tmp_path)}, frame)
        assert result.select(frame.schema.names).equals(frame)
        rows = result.to_pylist()
        for view in views:
            assert {result.schema.field(name).type for name in view.features} == {pa.float64()}
            for (key, at), row in zip(asked, rows, strict=True):
                expected = oracle.features(view, events, key, at)
                oracle.assert_same([row[name] for name in view.features], expected, view, events, key, at)

    @settings(max_examples=100, deadline=None, suppress_health_check=SAME_FIXTURES)
    @given(events=cases.events, asked=cases.asked)
    def test_labels_say_what_the_oracle_says(
        self, engine: DataEngine, tmp_path: Path, events: list[dict[str, Any]], asked: list[Any]
    ) -> None:
        """One value for each row of the frame, from what came after its moment."""
        late = datetime(1998, 1, 1, tzinfo=UTC)
        labels = label_values(
            engine,
            cases.LABEL,
            cases.snapshot_of(events, tmp_path),
            cases.frame_of(asked),
            business_now=late,
            ingested_through=late,
        )
        assert labels.to_pylist() == [oracle.label(cases.LABEL, events, key, at) for key, at in asked]

    def test_the_same_data_give_the_same_bits(self, engine: DataEngine, tmp_path: Path) -> None:
        """A training set is found again by the hash of its content."""
        times = [cases.START + timedelta(seconds=second % 977) for second in range(20_000)]
        events = [
            {"customer_id": place % 7, "event_ts": at, "amount": ((place * 7919) % 10_007) / 3.0, "items": 1}
            for place, at in enumerate(times)
        ]
        snapshot = cases.snapshot_of(events, tmp_path)
        asked = cases.frame_of([(key, cases.START + timedelta(days=1)) for key in range(7)])
        first = point_in_time(engine, [cases.VIEW], {"purchases": snapshot}, asked)
        assert first["sum_2d"][0].as_py() > SUM_TOLERANCE
        for _ in range(3):
            assert point_in_time(engine, [cases.VIEW], {"purchases": snapshot}, asked).equals(first)
