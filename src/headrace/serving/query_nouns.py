"""What is asked of the prediction log in SQL, and what comes of it."""

from datetime import datetime
from typing import Annotated

import msgspec

SQL_LENGTH = 20_000
LONGEST_S = 600.0


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One SELECT over the tables of predictions and feedback."""

    sql: Annotated[str, msgspec.Meta(min_length=1, max_length=SQL_LENGTH)]
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_S)] = 60.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker made of a query."""

    digest: str | None = None
    """The blob with the rows, as Parquet; None when there is a problem."""
    rows: int = 0
    truncated: bool = False
    """Whether there were more rows than are kept."""
    code: str | None = None
    """Of the error that `problem` is: the query's own, or a limit that it met, or the engine's."""
    problem: str | None = None
    """Why there are no rows."""
    fix: str | None = None
    """What the asker can do about it."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A query and how far it is."""

    job_id: str
    state: str
    answer: Answer | None = None
    """None until the job has ended, and when the job failed."""
    done: float = 0.0
    """How much of it is done, from 0 to 1, as the engine guesses."""
    note: str | None = None
    """What the worker is at; None until one has begun."""
    error: str | None = None
    at: datetime | None = None
