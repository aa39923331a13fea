"""What is asked of the prediction log in SQL, and what comes of it."""

from datetime import datetime
from typing import Annotated

import msgspec

SQL_LENGTH = 20_000


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One SELECT over the tables of predictions and feedback."""

    sql: Annotated[str, msgspec.Meta(min_length=1, max_length=SQL_LENGTH)]
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 60.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker made of a query."""

    digest: str | None = None
    """The blob with the rows, as Parquet; None when there is a problem."""
    rows: int = 0
    truncated: bool = False
    """Whether there were more rows than are kept."""
    problem: str | None = None
    """What is wrong with the query."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A query and how far it is."""

    job_id: str
    state: str
    answer: Answer | None = None
    """None until the job has ended, and when the job failed."""
    error: str | None = None
    at: datetime | None = None
