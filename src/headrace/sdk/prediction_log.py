"""The prediction log from Python: rows of predictions and feedback as Arrow tables."""

import io
import time
from datetime import datetime
from typing import TYPE_CHECKING

from headrace.client.transport import Transport
from headrace.errors import InvalidInput, Unavailable
from headrace.serving.query_nouns import Answer, Asked, Query

if TYPE_CHECKING:
    import pyarrow as pa

LOOK_EVERY_S = 0.1
PATIENCE_S = 30.0
"""How long a query may wait for a worker, beyond its own time."""


class PredictionLog:
    """What was predicted on one platform, and what became of it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def query(self, sql: str, *, timeout_s: float = 60.0) -> "pa.Table":
        """The rows of one SELECT, in DuckDB's dialect.

        Its tables are `predictions` and `feedback`, of all models, and `predictions.NAME` and `feedback.NAME`, of
        one with its features as `"feature.<name>"`. Feedback that counts has `effective`.

        Raises:
            InvalidInput: it is not one SELECT, or there is an error in it.
            Unavailable: no worker has answered in time.
        """
        import pyarrow.parquet as pq

        answer = self.ask(sql, timeout_s=timeout_s)
        with self._transport.download(f"/api/v1/blobs/{answer.digest}") as parts:
            content = b"".join(parts)
        # not `read_table`: a thread of its scanner may outlive the interpreter, and aborts the process at its end
        return pq.ParquetFile(io.BytesIO(content)).read()

    def ask(self, sql: str, *, timeout_s: float = 60.0) -> Answer:
        """Where the rows of one SELECT are, and how many; raises as `query` does."""
        query = Query(sql=sql, timeout_s=timeout_s)
        asked = self._transport.call("POST", "/api/v1/predictions/queries", query, returns=Asked)
        deadline = time.monotonic() + timeout_s + PATIENCE_S
        while asked.state in {"queued", "leased"}:
            if time.monotonic() > deadline:
                raise Unavailable("no worker has answered in time", where=f"query/{asked.job_id}")
            time.sleep(LOOK_EVERY_S)
            asked = self._transport.call("GET", f"/api/v1/predictions/queries/{asked.job_id}", returns=Asked)
        if asked.answer is None:
            raise Unavailable(f"the query could not be run: {asked.error}", where=f"query/{asked.job_id}")
        if asked.answer.problem is not None:
            fix = "Its tables are predictions and feedback, and predictions.NAME with a model's features."
            raise InvalidInput(asked.answer.problem, where="sql", fix=fix)
        return asked.answer

    def of(
        self,
        model: str,
        *,
        version: int | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 100_000,
    ) -> "pa.Table":
        """Predictions of a model with business time in [start, end), the newest first."""
        wanted = [f"version = {int(version)}"] if version is not None else []
        wanted += [f"business_at >= TIMESTAMPTZ '{start.isoformat()}'"] if start is not None else []
        wanted += [f"business_at < TIMESTAMPTZ '{end.isoformat()}'"] if end is not None else []
        where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
        name = model.replace('"', '""')
        return self.query(
            f'SELECT * FROM predictions."{name}"{where} ORDER BY business_at DESC LIMIT {int(limit)}'  # noqa: S608
        )
