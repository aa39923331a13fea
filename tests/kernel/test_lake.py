import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from headrace.errors import Conflict, InvalidInput, NotFound, SchemaMismatch
from headrace.kernel.lake import SAMPLE_ROWS, Lake, hardly_repeated, open_lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(tmp_path / "a home é")


def rows(*numbers: int) -> pa.Table:
    return pa.table({"n": pa.array(numbers, pa.int64())})


def numbers(lake: Lake, table: str, version: int | None = None) -> list[int]:
    return sorted(lake.read(lake.snapshot(table, version))["n"].to_pylist())


def test_an_operation_is_taken_once(lake: Lake) -> None:
    first = lake.append("sources/purchases", rows(1, 2), operation="job_1")
    again = lake.append("sources/purchases", rows(1, 2), operation="job_1")
    assert first == again
    assert numbers(lake, "sources/purchases") == [1, 2]
    lake.append("sources/purchases", rows(3), operation="job_2")
    lake.append("sources/purchases", rows(1, 2), operation="job_1")
    assert numbers(lake, "sources/purchases") == [1, 2, 3]


def test_a_sequence_only_goes_up(lake: Lake) -> None:
    assert lake.sequence("t", "ingest") is None
    lake.append("t", rows(1), operation="ingest", sequence=10)
    lake.append("t", rows(2), operation="ingest", sequence=20)
    lake.append("t", rows(9), operation="ingest", sequence=15)
    assert lake.sequence("t", "ingest") == 20
    assert lake.sequence("t", "other") is None
    assert numbers(lake, "t") == [1, 2]


def test_a_version_reads_the_same_for_ever(lake: Lake) -> None:
    first = lake.append("t", rows(1), operation="a")
    snapshot = lake.snapshot("t", first)
    lake.append("t", rows(2), operation="b")
    assert numbers(lake, "t", first) == [1]
    assert lake.read(snapshot)["n"].to_pylist() == [1]
    assert snapshot.rows == 1
    assert lake.snapshot("t").rows == 2


def test_what_was_added_between_versions(lake: Lake) -> None:
    first = lake.append("t", rows(1), operation="a")
    lake.append("t", rows(2, 3), operation="b")
    last = lake.append("t", rows(4), operation="c")
    added = lake.added("t", first, last)
    assert added.rows == 3
    assert sorted(lake.read(added)["n"].to_pylist()) == [2, 3, 4]
    assert lake.added("t", None, last).rows == 4
    assert lake.read(lake.added("t", last, last)).num_rows == 0


def test_an_empty_table_has_its_columns(lake: Lake) -> None:
    lake.append("t", rows(), operation="a", sequence=5)
    snapshot = lake.snapshot("t")
    table = lake.read(snapshot)
    assert (table.num_rows, table.schema.names, snapshot.rows) == (0, ["n"], 0)
    assert lake.sequence("t", "a") == 5


def test_columns_that_come_later_are_null_before(lake: Lake) -> None:
    first = lake.append("t", rows(1), operation="a")
    lake.append("t", pa.table({"n": [2], "colour": ["red"]}), operation="b")
    lake.append("t", pa.table({"colour": ["blue"], "n": [3]}), operation="c")
    table = lake.read(lake.snapshot("t"))
    assert sorted(zip(table["n"].to_pylist(), table["colour"].to_pylist(), strict=True)) == [
        (1, None),
        (2, "red"),
        (3, "blue"),
    ]
    assert lake.read(lake.snapshot("t", first)).schema.names == ["n"]
    assert lake.read(lake.snapshot("t"), ["colour"]).schema.names == ["colour"]
    with pytest.raises(SchemaMismatch):
        lake.read(lake.snapshot("t"), ["absent"])


def test_types_are_those_of_the_table_or_refused(lake: Lake) -> None:
    lake.append("t", pa.table({"n": pa.array([1], pa.int32())}), operation="a")
    lake.append("t", pa.table({"n": pa.array([2], pa.int64())}), operation="b")
    assert lake.snapshot("t").schema.field("n").type == pa.int32()
    for unfit in (pa.array([2**40], pa.int64()), pa.array(["x"]), pa.array([1.5])):
        with pytest.raises(SchemaMismatch):
            lake.append("t", pa.table({"n": unfit}), operation="c")
    assert numbers(lake, "t") == [1, 2]


def test_types_that_delta_lacks_are_stored_as_the_next_wider(lake: Lake) -> None:
    data = pa.table(
        {
            "u": pa.array([1], pa.uint16()),
            "d": pa.array(["red"]).dictionary_encode(),
            "s": pa.array(["x"], pa.large_string()),
            "h": pa.array([1.5], pa.float16()),
            "naive": pa.array([datetime(1997, 1, 1)], pa.timestamp("us")),  # noqa: DTZ001 - a zoneless column
            "ns": pa.array([-1], pa.timestamp("ns")),
        }
    )  # fmt: skip
    lake.append("t", data, operation="a")
    table = lake.read(lake.snapshot("t"))
    assert [str(kind) for kind in table.schema.types] == [
        "int32", "string", "string", "float", "timestamp[us, tz=UTC]", "timestamp[us, tz=UTC]",
    ]  # fmt: skip
    assert table["naive"].to_pylist() == [datetime(1997, 1, 1, tzinfo=UTC)]
    assert table["ns"].cast(pa.int64()).to_pylist() == [-1]  # floored: rounding would give 0


def test_a_column_of_nulls_without_a_type_is_refused(lake: Lake) -> None:
    with pytest.raises(SchemaMismatch):
        lake.append("t", pa.table({"n": pa.nulls(3)}), operation="a")


@pytest.mark.parametrize("name", ["predictions/credit risk [v2]", "a/%20", "labels/=x*?", "..", "p/a.b", "p/é~"])
def test_any_name_is_a_table_of_its_own(lake: Lake, tmp_path: Path, name: str) -> None:
    lake.append(name, rows(7), operation="a")
    lake.append(f"{name}x", rows(8), operation="a")
    assert numbers(lake, name) == [7]
    assert {path.name for path in tmp_path.iterdir()} == {"a home é"}


@pytest.mark.parametrize("name", ["", "/t", "t/", "a//b"])
def test_what_is_no_name_is_refused(lake: Lake, name: str) -> None:
    with pytest.raises(InvalidInput):
        lake.append(name, rows(1), operation="a")


def test_a_folder_that_cannot_hold_a_lake_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        open_lake(tmp_path / "100%")


def test_what_is_not_there(lake: Lake) -> None:
    assert not lake.exists("t")
    with pytest.raises(NotFound):
        lake.snapshot("t")
    lake.append("t", rows(1), operation="a")
    assert lake.exists("t")
    with pytest.raises(NotFound):
        lake.snapshot("t", 99)


def test_partitions_are_refused(lake: Lake, tmp_path: Path) -> None:
    path = str(tmp_path / "a home é" / "lake" / "foreign")
    write_deltalake(path, pa.table({"n": [1, 2], "day": ["a", "b"]}), partition_by=["day"])
    with pytest.raises(InvalidInput, match="partition columns"):
        lake.snapshot("foreign")


def test_deletion_vectors_are_refused(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "a home é" / "lake" / "foreign"
    write_deltalake(str(path), rows(*range(40)))
    first = path / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in first.read_text().splitlines()]
    for action in actions:
        if "protocol" in action:
            features = ["deletionVectors"]
            action["protocol"] = {
                "minReaderVersion": 3, "readerFeatures": features,
                "minWriterVersion": 7, "writerFeatures": features,
            }  # fmt: skip
        if "add" in action:  # a vector that says: the rows 3, 4, 7, 11, 18 and 29 are gone (the protocol's example)
            action["add"]["deletionVector"] = {
                "storageType": "i",
                "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
                "sizeInBytes": 44,
                "cardinality": 6,
            }
    first.write_text("\n".join(json.dumps(action) for action in actions))
    with pytest.raises(InvalidInput, match="deletion vectors"):
        lake.snapshot("foreign")


def test_a_table_rewritten_in_between_has_no_difference(lake: Lake, tmp_path: Path) -> None:
    path = str(tmp_path / "a home é" / "lake" / "foreign")
    write_deltalake(path, rows(1))
    write_deltalake(path, rows(2), mode="append")
    DeltaTable(path).optimize.compact()
    with pytest.raises(Conflict):
        lake.added("foreign", 1, 2)


def test_two_processes_append_at_once(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
import pyarrow as pa
from headrace.kernel.lake import open_lake
lake = open_lake(Path({str(tmp_path)!r}))
me = sys.argv[1]
for n in range(8):
    columns = {{"n": [n], "c" + me: [n]}} if n == 4 else {{"n": [n]}}
    lake.append("t", pa.table(columns), operation=f"{{me}}-{{n}}")
    lake.append("t", pa.table({{"n": [100 + n]}}), operation="both", sequence=n + 1)
"""
    processes = [subprocess.Popen([sys.executable, "-c", program, str(me)]) for me in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    stored = numbers(open_lake(tmp_path), "t")
    assert [n for n in stored if n < 100] == sorted([*range(8), *range(8)])
    shared = [n for n in stored if n >= 100]
    assert shared == sorted(set(shared))  # each sequence once, whoever came first
    assert shared[-1] == 107


def test_tables_are_listed_by_the_names_that_they_were_given(lake: Lake) -> None:
    names = ["plain", "with.dot", "Größe 2", "a/b", "a", "100%"]
    for name in names:
        lake.append(f"predictions/{name}", pa.table({"x": [1]}), operation="o")
    lake.append("other/plain", pa.table({"x": [1]}), operation="o")
    assert lake.tables("predictions") == sorted(names)
    assert lake.tables("nothing") == []


DAYS = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]


def dated(lake: Lake) -> None:
    for place, day in enumerate(DAYS, 1):
        rows = pa.table({"id": [f"a{place}", f"b{place}"], "when": [day, day], "who": ["it's", None]})
        lake.append("log", rows, operation="o", sequence=place)


def ids(lake: Lake) -> list[str]:
    return sorted(lake.read(lake.snapshot("log"))["id"].to_pylist())


def test_what_is_older_is_removed_and_then_from_the_disk(lake: Lake, tmp_path: Path) -> None:
    dated(lake)
    assert lake.remove("log", "when", before=DAYS[1]) == 2
    assert ids(lake) == ["a2", "a3", "b2", "b3"]
    assert lake.remove("log", "when", before=DAYS[1]) == 0
    assert lake.sweep("log", timedelta(hours=1)) == 0  # somebody may be reading
    assert lake.sweep("log", timedelta(0)) == 1
    assert ids(lake) == ["a2", "a3", "b2", "b3"]


def test_rows_of_some_values_are_removed_from_files_with_others(lake: Lake) -> None:
    dated(lake)
    assert lake.remove("log", "who", values=["it's", "nobody"]) == 3
    assert ids(lake) == ["b1", "b2", "b3"]
    assert lake.remove("log", "no such column", values=["x"]) == 0


def test_appends_go_on_once_each_after_a_removal(lake: Lake) -> None:
    dated(lake)
    lake.remove("log", "when", before=DAYS[2] + timedelta(days=1))
    assert ids(lake) == []
    dated(lake)  # the same sequences again
    assert ids(lake) == []
    lake.append("log", pa.table({"id": ["n"], "when": [DAYS[0]]}), operation="o", sequence=4)
    assert ids(lake) == ["n"]


def test_appends_and_removals_at_once_lose_nothing(lake: Lake) -> None:
    dated(lake)

    def append() -> None:
        for place in range(4, 14):
            rows = pa.table({"id": [f"n{place}"], "when": [DAYS[2]]})
            lake.append("log", rows, operation="o", sequence=place)

    writer = threading.Thread(target=append)
    writer.start()
    removed = sum(lake.remove("log", "id", values=[f"{side}{place}"]) for place in (1, 2, 3) for side in "ab")
    writer.join()
    assert removed == 6
    assert ids(lake) == sorted(f"n{place}" for place in range(4, 14))


def test_columns_that_hardly_repeat_are_written_without_a_dictionary(lake: Lake) -> None:
    count = 2 * SAMPLE_ROWS
    data = pa.table(
        {
            "id": [f"run.{row}" for row in range(count)],
            "few": [float(row % 3) for row in range(count)],
            "many": [row / 7 for row in range(count)],
            "none": pa.nulls(count, pa.string()),
        }
    )
    lake.append("t", data, operation="a")
    snapshot = lake.snapshot("t")
    assert lake.read(snapshot).equals(data)
    group = pq.ParquetFile(snapshot.files[0]).metadata.row_group(0)
    encodings = {group.column(place).path_in_schema: group.column(place).encodings for place in range(4)}
    assert [name for name, used in encodings.items() if "RLE_DICTIONARY" not in used] == ["id", "many"]
    assert "DELTA_BYTE_ARRAY" in encodings["id"]
    assert hardly_repeated(data.slice(0, 10)) == []
