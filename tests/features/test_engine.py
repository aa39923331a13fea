from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from headrace.errors import InvalidInput, SchemaMismatch
from headrace.features.engine import DataEngine, DataFile, DuckDBEngine
from headrace.testing.data_engine import DataEngineContract


class TestDuckDBEngine(DataEngineContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[DataEngine]:
        with closing(DuckDBEngine(tmp_path / "scratch")) as engine:
            yield engine


def test_a_path_is_never_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n")
    with closing(DuckDBEngine(tmp_path / "scratch")) as engine, pytest.raises(InvalidInput):
        engine.schema(DataFile(path=tmp_path / "*.csv", format="csv"))


def test_nothing_is_downloaded(tmp_path: Path) -> None:
    with closing(DuckDBEngine(tmp_path / "scratch")) as engine, pytest.raises(InvalidInput):
        engine.query("SELECT * FROM read_parquet('https://localhost:1/x.parquet')", {})


def test_variables_of_the_caller_are_not_tables(tmp_path: Path) -> None:
    numbers = pa.table({"n": [1]})
    assert numbers.num_rows == 1
    with closing(DuckDBEngine(tmp_path / "scratch")) as engine, pytest.raises(SchemaMismatch):
        engine.query("SELECT * FROM numbers", {})
