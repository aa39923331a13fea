"""The one MetaData that every room's tables hang on, and the column types that both databases share."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.errors import InvalidInput

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = sa.MetaData(naming_convention=NAMING)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC) - _EPOCH
_LAST = datetime.max.replace(tzinfo=UTC) - _EPOCH


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime, exactly.

    Raises:
        InvalidInput: it does not say its offset from UTC, or in UTC it is not in the years 1 to 9999.
    """
    try:
        delta = moment - _EPOCH
    except TypeError as error:
        fix = "Write for example 2026-01-31T12:00:00Z."
        raise InvalidInput("a time needs its offset from UTC", where=f"time {moment}", fix=fix) from error
    if not _FIRST <= delta <= _LAST:  # it could be stored, but never be read again
        raise InvalidInput("a time is in the years 1 to 9999", where=f"time {moment}")
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_microseconds(microseconds: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970-01-01."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime, stored as microseconds since 1970 so that both databases order it alike."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002
        """Encode an aware datetime."""
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Decode to an aware UTC datetime."""
        return None if value is None else from_microseconds(value)


class Document(sa.types.TypeDecorator[Any]):
    """Any JSON document, stored as text; msgspec structs go in, builtins come out."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        """Encode with msgspec."""
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:  # noqa: ARG002
        """Decode to dicts, lists, strings and numbers."""
        return None if value is None else msgspec.json.decode(value)


def workspace_column(*, primary_key: bool = False) -> sa.Column[str]:
    """The workspace that a row belongs to; every table has it from the first migration."""
    return sa.Column("workspace", sa.String(64), nullable=False, primary_key=primary_key)
