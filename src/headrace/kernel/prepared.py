"""Statements for the hot paths: built and compiled once, then handed to the driver as they are.

SQLAlchemy's building, cache lookup and result processing cost more than a small statement itself. What runs here
is written in SQLAlchemy Core all the same, once for both databases; only its values are as they are stored:
microseconds for an Instant, codes for a SortableFloat, text for a Document.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from headrace.kernel.database import Tx

Row = tuple[Any, ...]

_ROWS = 200


class Dialect:
    """What a statement needs to know of the database that it is built for.

    Attributes:
        name: "sqlite" or "postgresql".
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def insert(self, table: sa.Table) -> Any:
        """The dialect's INSERT, which knows conflicts."""
        return postgresql.insert(table) if self.name == "postgresql" else sqlite.insert(table)

    def among(self, column: Any, parameter: str) -> sa.ColumnElement[bool]:
        """Whether a column's value is one of a list that is given as one parameter, however long it is."""
        if self.name == "postgresql":
            kind = postgresql.ARRAY(_stored(column.type))
            return sa.type_coerce(column, _stored(column.type)) == sa.any_(sa.bindparam(parameter, type_=kind))
        listed = sa.func.json_each(sa.bindparam(parameter, type_=sa.Text)).table_valued("value")
        return column.in_(sa.select(listed.c.value))


class Prepared:
    """A statement with named parameters.

    Args:
        build: makes the statement for a dialect; called once for each.
    """

    def __init__(self, build: Callable[[Dialect], sa.Executable]) -> None:
        self._build = build
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, tx: Tx, **values: Any) -> list[Row]:
        """Run it and fetch what it found, as the driver's tuples."""
        cursor = tx.execute_driver(*self._on(tx).call(values))
        rows: list[Row] = cursor.fetchall()
        cursor.close()
        return rows

    def run(self, tx: Tx, **values: Any) -> int:
        """Run it; returns how many rows it touched."""
        cursor = tx.execute_driver(*self._on(tx).call(values))
        count: int = cursor.rowcount
        cursor.close()
        return count

    def _on(self, tx: Tx) -> "_Compiled":
        found = self._compiled.get(tx.dialect)
        if found is None:
            found = self._compiled[tx.dialect] = _Compiled(self._build(Dialect(tx.dialect)), tx.dialect)
        return found


class _Compiled:
    """The text that the driver is given, and in which order or by which names it takes the values."""

    def __init__(self, statement: Any, name: str) -> None:
        compiled = statement.compile(dialect=_dialect(name))
        self._text = str(compiled)
        self._constants = {key: value for key, value in compiled.params.items() if value is not None}
        self._order = compiled.positiontup
        self._lists_as_text = name == "sqlite"

    def call(self, values: dict[str, Any]) -> tuple[str, Any]:
        given = {**self._constants, **values}
        if self._order is None:
            return self._text, given
        ordered = (given[key] for key in self._order)
        return self._text, tuple(_json(value) if isinstance(value, list) else value for value in ordered)


class InsertMany:
    """Inserts rows, given as tuples in the order of `columns`.

    Args:
        table: into which.
        columns: their names.
        keep_existing: a row that would break a unique constraint is left out; else it is an error.
        replaced: a row whose primary key is there sets these columns instead.
        returning: what is told of the rows that were inserted.
    """

    def __init__(
        self,
        table: sa.Table,
        columns: Sequence[str],
        *,
        keep_existing: bool = False,
        replaced: Sequence[str] = (),
        returning: Sequence[str] = (),
    ) -> None:
        self._table = table
        self._target = f"INSERT INTO {table.name} ({_listed(columns)})"
        self._columns = columns
        self._ending = ""
        if keep_existing:
            self._ending = " ON CONFLICT DO NOTHING"
        elif replaced:
            key = _listed([column.name for column in table.primary_key])
            setting = ", ".join(f"{_quoted(name)} = excluded.{_quoted(name)}" for name in replaced)
            self._ending = f" ON CONFLICT ({key}) DO UPDATE SET {setting}"
        self._returns = bool(returning)
        if returning:
            self._ending += f" RETURNING {_listed(returning)}"

    def run(self, tx: Tx, rows: Sequence[Row]) -> list[Row]:
        """Insert them; none is fine. What was asked to be told of those that were inserted comes back."""
        if not rows:
            return []
        told: list[Row] = []
        if tx.dialect == "postgresql":
            source = f" SELECT * FROM {_unnest(self._table, self._columns)}"  # noqa: S608 - names of ours
            cursor = tx.execute_driver(self._target + source + self._ending, _arrays(rows))
            return cursor.fetchall() if self._returns else told
        marks = f"({', '.join('?' * len(self._columns))})"
        for start in range(0, len(rows), _ROWS):  # many rows in one statement take two thirds of the time
            part = rows[start : start + _ROWS]
            values = ", ".join([marks] * len(part))
            text = f"{self._target} VALUES {values}{self._ending}"
            cursor = tx.execute_driver(text, tuple(chain.from_iterable(part)))
            told += cursor.fetchall() if self._returns else ()
        return told


class UpdateMany:
    """Sets columns of rows, each named by one key; a row is a tuple of the columns' values with the key's last."""

    def __init__(self, table: sa.Table, columns: Sequence[str], key: str) -> None:
        self._table = table
        self._columns = columns
        self._key = key

    def run(self, tx: Tx, rows: Sequence[Row]) -> None:
        """Update them; none is fine."""
        if not rows:
            return
        target = f"UPDATE {self._table.name} SET "  # noqa: S608 - names of ours
        if tx.dialect == "postgresql":
            names = [*self._columns, self._key]
            setting = ", ".join(f"{_quoted(name)} = given.{_quoted(name)}" for name in self._columns)
            source = f" FROM {_unnest(self._table, names)} AS given ({_listed(names)})"
            matching = f" WHERE {self._table.name}.{_quoted(self._key)} = given.{_quoted(self._key)}"
            tx.execute_driver(target + setting + source + matching, _arrays(rows))
            return
        setting = ", ".join(f"{_quoted(name)} = ?" for name in self._columns)
        tx.execute_driver(f"{target}{setting} WHERE {_quoted(self._key)} = ?", rows, many=True)


def _dialect(name: str) -> sa.Dialect:
    """SQLAlchemy's dialect, with the driver that the database is opened with."""
    url = "postgresql+psycopg://" if name == "postgresql" else "sqlite://"
    dialect: sa.Dialect = sa.make_url(url).get_dialect()()
    return dialect


def _stored(kind: Any) -> Any:
    return kind.impl_instance if isinstance(kind, sa.types.TypeDecorator) else kind


def _unnest(table: sa.Table, columns: Sequence[str]) -> str:
    """Arrays, one for each column, as the rows of a table: one statement for any number of them."""
    kinds = ("bigint" if isinstance(_stored(table.c[name].type), sa.Integer) else "text" for name in columns)
    return f"unnest({', '.join(f'%s::{kind}[]' for kind in kinds)})"


def _arrays(rows: Sequence[Row]) -> tuple[list[Any], ...]:
    return tuple(map(list, zip(*rows, strict=True)))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(_quoted(name) for name in names)


def _quoted(name: str) -> str:
    return f'"{name}"'


def listed(tx: Tx, values: list[Any]) -> Any:
    """A list as the parameter of `Dialect.among`."""
    return values if tx.dialect == "postgresql" else _json(values)


def _json(value: list[Any]) -> str:
    return msgspec.json.encode(value).decode()
