"""What data are, without the data: name, content digest, columns, size; in the forms of MLflow's datasets."""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headrace.client.addresses import without_login
from headrace.errors import InvalidInput
from headrace.tracking.nouns import Dataset, DatasetInput

DIGEST_DIGITS = 16
SCHEMA_COLUMNS = 1_000
CONTEXT_TAG = "mlflow.data.context"
_KINDS = {"double": "double", "float": "float", "int64": "long", "bool": "boolean", "string": "string"}


def describe(data: Any, *, name: str | None = None, context: str) -> DatasetInput:
    """Describe a path, an address or a table.

    Raises:
        InvalidInput: it is none of these, or there is no such file.
    """
    if isinstance(data, Path) or (isinstance(data, str) and not urlsplit(data).netloc):
        dataset = _file(Path(data), name)
    elif isinstance(data, str):
        dataset = _address(without_login(data), name)
    else:
        dataset = _table(data, name)
    return DatasetInput(dataset=dataset, tags={CONTEXT_TAG: context})


def _file(path: Path, name: str | None) -> Dataset:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    content = hashlib.sha256()
    size = 0
    try:
        for file in files:
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256")
            content.update(f"{file.relative_to(path).as_posix()}\0{digest.hexdigest()}\n".encode())
            size += file.stat().st_size
    except OSError as error:
        raise InvalidInput(
            f"the data cannot be read: {error}", where=str(path), fix="Give a file or a table."
        ) from error
    whole = content.hexdigest() if path.is_dir() else digest.hexdigest()
    return Dataset(
        name=name or path.name,
        digest=whole[:DIGEST_DIGITS],
        source_type="local",
        source=json.dumps({"uri": str(path.absolute())}),
        profile=json.dumps({"num_bytes": size, "num_files": len(files)}),
    )


def _address(url: str, name: str | None) -> Dataset:
    return Dataset(
        name=name or url.rpartition("/")[2] or url,
        digest=hashlib.sha256(url.encode()).hexdigest()[:DIGEST_DIGITS],
        source_type=urlsplit(url).scheme or "uri",
        source=json.dumps({"uri": url}),
    )


def _table(data: Any, name: str | None) -> Dataset:
    import pyarrow as pa

    try:
        table = _arrow(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidInput(
            f"a {type(data).__name__} cannot be described as data: {error}",
            where="log_input",
            fix="Give a path, an address, or a table of pandas, polars, Arrow or NumPy.",
        ) from error
    content = hashlib.sha256()
    with pa.ipc.new_stream(pa.PythonFile(_Hashing(content), mode="w"), table.schema.remove_metadata()) as stream:
        for batch in table.replace_schema_metadata(None).combine_chunks().to_batches():
            stream.write_batch(batch)
    columns = [
        {"type": _KINDS.get(str(field.type), str(field.type)), "name": field.name, "required": not field.nullable}
        for field in list(table.schema)[:SCHEMA_COLUMNS]
    ]
    return Dataset(
        name=name or "dataset",
        digest=content.hexdigest()[:DIGEST_DIGITS],
        source_type="code",
        source=json.dumps({"tags": {}}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": table.num_rows, "num_elements": table.num_rows * table.num_columns}),
    )


def _arrow(data: Any) -> Any:
    """The data as a table; arrays of one or two dimensions get numbered columns."""
    import pyarrow as pa

    if isinstance(data, pa.Table):
        return data
    if hasattr(data, "__dataframe__") and hasattr(data, "iloc"):
        return pa.Table.from_pandas(data, preserve_index=False)
    if hasattr(data, "__array__") and hasattr(data, "ndim") and data.ndim in (1, 2):
        columns = [data] if data.ndim == 1 else list(data.T)
        return pa.table({str(number): pa.array(column) for number, column in enumerate(columns)})
    return pa.table(data)


class _Hashing:
    """A file to write to that keeps nothing but the digest."""

    closed = False

    def __init__(self, content: "hashlib._Hash") -> None:
        self._content = content

    def write(self, data: Any) -> int:
        self._content.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is held."""
