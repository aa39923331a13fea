"""The prediction log from Python: rows of predictions and feedback as Arrow tables."""

import io
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from headrace.client.transport import Transport
from headrace.errors import HeadraceError, InternalError, Unavailable, every_error
from headrace.serving.query_nouns import Answer, Asked, Query

if TYPE_CHECKING:
    import pyarrow as pa

FIRST_LOOK_S, LOOK_EVERY_S = 0.02, 0.2
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
            TooLarge: it needs more memory than it may use.
            DeadlineExceeded: it takes longer than it may.
            InternalError: the engine has crashed on it.
            Unavailable: no worker has answered in time.
        """
        answer = self.ask(sql, timeout_s=timeout_s)
        if answer.truncated:
            warnings.warn(f"there are more rows than these {answer.rows}, which are the most", stacklevel=2)
        return self.rows(answer)

    def rows(self, answer: Answer) -> "pa.Table":
        """The rows of an answer of `ask`."""
        import pyarrow.parquet as pq

        with self._transport.download(f"/api/v1/blobs/{answer.digest}") as parts:
            content = b"".join(parts)
        # not `read_table`: a thread of its scanner may outlive the interpreter, and aborts the process at its end
        return pq.ParquetFile(io.BytesIO(content)).read()

    def ask(self, sql: str, *, timeout_s: float = 60.0, told: Callable[[Asked], None] | None = None) -> Answer:
        """Where the rows of one SELECT are, and how many; raises as `query` does.

        Args:
            sql: the query; it is cancelled when this is interrupted.
            timeout_s: seconds that it may take.
            told: is given each look at how far it is.
        """
        query = Query(sql=sql, timeout_s=timeout_s)
        asked = self._transport.call("POST", "/api/v1/predictions/queries", query, returns=Asked)
        try:
            asked = self._ended(asked, timeout_s, told)
        except BaseException:
            with suppress(HeadraceError):  # of no use any more, and it would keep a worker busy
                path = f"/api/v1/predictions/queries/{asked.job_id}"
                self._transport.call("DELETE", path, returns=type(None))
            raise
        answer = asked.answer
        if answer is None:
            raise Unavailable(f"the query could not be run: {asked.error}", where=f"query/{asked.job_id}")
        if answer.problem is not None:
            kind = every_error().get(answer.code or "", InternalError)
            raise kind(answer.problem, where="sql", fix=answer.fix)
        return answer

    def _ended(self, asked: Asked, timeout_s: float, told: Callable[[Asked], None] | None) -> Asked:
        deadline = time.monotonic() + timeout_s + PATIENCE_S
        look_s = FIRST_LOOK_S
        while asked.state in {"queued", "leased"}:
            if told is not None:
                told(asked)
            if time.monotonic() > deadline:
                raise Unavailable(
                    "no worker has answered in time",
                    where=f"query/{asked.job_id}",
                    fix="A worker answers one query at a time, and an asker has one at a time.",
                )
            time.sleep(look_s)
            look_s = min(look_s * 1.5, LOOK_EVERY_S)
            asked = self._transport.call("GET", f"/api/v1/predictions/queries/{asked.job_id}", returns=Asked)
        return asked

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
