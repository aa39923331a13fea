import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headrace.errors import InvalidInput
from headrace.sdk.datasets import describe


def test_a_file_is_named_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(b"a\n1\n")
    found = describe(tmp_path / "data.csv", context="training")
    assert found.tags == {"mlflow.data.context": "training"}
    assert found.dataset.name == "data.csv"
    assert found.dataset.digest == hashlib.sha256(b"a\n1\n").hexdigest()[:16]
    assert json.loads(found.dataset.source) == {"uri": str(tmp_path / "data.csv")}
    assert json.loads(found.dataset.profile or "") == {"num_bytes": 4, "num_files": 1}


def test_a_folder_changes_with_its_files_and_their_names(tmp_path: Path) -> None:
    digests = set()
    (tmp_path / "a").write_bytes(b"1")
    digests.add(describe(str(tmp_path), context="x").dataset.digest)
    (tmp_path / "a").write_bytes(b"2")
    digests.add(describe(str(tmp_path), context="x").dataset.digest)
    (tmp_path / "a").rename(tmp_path / "b")
    digests.add(describe(str(tmp_path), context="x").dataset.digest)
    assert len(digests) == 3


def test_an_address_is_kept_without_its_login() -> None:
    found = describe("s3://ana:secret@bucket/data.parquet", name="purchases", context="training").dataset
    assert (found.name, found.source_type) == ("purchases", "s3")
    assert json.loads(found.source) == {"uri": "s3://bucket/data.parquet"}


def test_a_table_is_named_by_its_content_however_it_is_cut() -> None:
    whole = pa.table({"id": [1, 2, 3], "name": ["a", None, "c"]})
    cut = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
    first, second = (describe(table, context="x").dataset for table in (whole, cut))
    assert first == second
    assert json.loads(first.schema or "")["mlflow_colspec"] == [
        {"type": "long", "name": "id", "required": False},
        {"type": "string", "name": "name", "required": False},
    ]
    assert json.loads(first.profile or "") == {"num_rows": 3, "num_elements": 6}
    assert describe(whole.slice(0, 2), context="x").dataset.digest != first.digest


def test_arrays() -> None:
    values = np.arange(6.0).reshape(3, 2)
    found = describe(values, name="features", context="x").dataset
    assert json.loads(found.profile or "") == {"num_rows": 3, "num_elements": 6}
    assert describe(values + 1, context="x").dataset.digest != found.digest
    assert json.loads(describe(values[:, 0], context="x").dataset.profile or "")["num_rows"] == 3


def test_what_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        describe(tmp_path / "not there", context="x")
    for odd in (3, object(), np.zeros((2, 2, 2))):
        with pytest.raises(InvalidInput, match="cannot be described"):
            describe(odd, context="x")
