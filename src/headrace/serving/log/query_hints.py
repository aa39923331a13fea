"""What to try when the engine refuses a query: most fail at a name, and the platform knows the names."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeAlias

from headrace.serving.log.feature_names import SPELT

Columns: TypeAlias = "dict[str, tuple[str, ...]]"
"""Names of columns by table; a table as a query writes it, such as `predictions."churn"`."""

TABLES = "Its tables are predictions and feedback, and predictions.NAME with a model's features."
NOTHING_ELSE = (
    "A query is one SELECT over predictions and feedback; it reaches no files, no network and no settings."
    " DESCRIBE predictions shows a table's columns."
)
FEATURE = "feature."
NAMES_SHOWN = 40
_NO_COLUMN = re.compile(r'Referenced column "(.+?)" (?:was )?not found|does not have a column named "(.+?)"')
_NO_ALIAS = re.compile(r'Referenced table "(.+?)" not found')
_NO_TABLE = re.compile(r'Table with name "?(.+?)"? does not exist')
_TABLE = re.compile(r'\b(predictions|feedback)\b(?:\s*\.\s*("(?:[^"]|"")+"|\w+))?', re.IGNORECASE)
_TEXTS = re.compile(r"'(?:[^']|'')*'|--[^\n]*")
_BARE_AT = re.compile(r'(?<![\w".])at(?![\w"]|\s+time\s+zone)', re.IGNORECASE)
_BARE_DASH = re.compile(r"\b(predictions|feedback)\.(\w+(?:-\w+)+)", re.IGNORECASE)
_WORD = re.compile(r"[a-z_][a-z0-9_]*")


def hint(told: str, sql: str, columns: Columns) -> str | None:
    """What to do about an error; None where what is told says enough.

    Args:
        told: what the engine says.
        sql: the query.
        columns: of every table there is.
    """
    bare = _TEXTS.sub("''", sql)
    if found := _NO_COLUMN.search(told):
        return _about_column(found[1] or found[2], bare, columns)
    if found := _NO_ALIAS.search(told):
        return _about_alias(found[1], bare, columns)
    if found := _NO_TABLE.search(told):
        return _about_table(found[1], columns)
    if told.startswith("Parser Error"):
        return _about_grammar(bare)
    if told.startswith(("Permission Error", "a query is one SELECT")) or "disabled by configuration" in told:
        return NOTHING_ELSE
    if "Arrow to Parquet" in told:
        return "A column has a type that a file cannot hold; cast it, such as column::VARCHAR."
    return None


def _about_column(name: str, sql: str, columns: Columns) -> str:
    asked = _tables_of(sql, columns)
    said = []
    if owners := _owners(FEATURE + name.removeprefix(FEATURE), columns):
        feature = _written(_same(FEATURE + name.removeprefix(FEATURE), columns[owners[0]]))
        said.append(f"A feature is a column of its model's table alone: {feature} in {_listed(owners, 5)}.")
    elif owners := [table for table in _owners(name, columns) if "." not in table]:
        said.append(f"{_written(_same(name, columns[owners[0]]))} is a column of {' and of '.join(owners)}.")
    elif near := _near(name, {column for table in asked for column in columns[table]}):
        said.append(f"Did you mean {' or '.join(map(_written, near))}?")
    elif f'"{name}"' in sql:
        said.append(f"A text is written in single quotes: '{name}'.")
    said += [f"{table} has {_listed(map(_written, columns[table]))}." for table in asked]
    return " ".join(said) or TABLES


def _about_alias(name: str, sql: str, columns: Columns) -> str:
    feature = re.search(rf"\b{re.escape(name)}\.(\w+)", sql)
    if name.lower() + "." == FEATURE and feature:
        owners = _owners(FEATURE + feature[1], columns)
        place = f", in {_listed(owners, 5)}" if owners else ", in its model's table"
        return f'Write "{FEATURE}{feature[1]}", with double quotes{place}.'
    return f"The tables are {_tables(columns)}."


def _about_table(name: str, columns: Columns) -> str:
    own = name.rpartition(".")[2].strip('"')
    if twins := [table for table in columns if (_model_of(table) or "").lower().startswith(own.lower() + SPELT)]:
        return (
            f"Models' names differ in case alone: write {_listed(twins, 4, ' or ')}. Its column model tells which."
        )
    names = {_model_of(table) or table: None for table in columns}
    near = get_close_matches(own.lower(), [known.lower() for known in names], n=2, cutoff=0.6)
    likely = [table for table in columns if (_model_of(table) or table).lower() in near]
    said = f"Did you mean {_listed(likely, 4, ' or ')}? " if likely else ""
    return f"{said}The tables are {_tables(columns)}."


def _tables(columns: Columns) -> str:
    """Those of all models first."""
    return _listed(sorted(columns, key=lambda table: "." in table), 12)


def _about_grammar(sql: str) -> str:
    if found := _BARE_DASH.search(sql):
        return f'Write {found[1]}."{found[2]}", with double quotes.'
    if _BARE_AT.search(sql):
        return 'at is a word of SQL: the column is "at", with double quotes.'
    return "A query is one SELECT in DuckDB's dialect. " + TABLES


def _tables_of(sql: str, columns: Columns) -> list[str]:
    """The tables that a query names, in their order."""
    found: dict[str, None] = {}
    for kind, own in _TABLE.findall(sql):
        model = own[1:-1].replace('""', '"') if own.startswith('"') else own
        wanted = [table for table in columns if own and table.startswith(kind.lower() + ".")]
        full = next((table for table in wanted if (_model_of(table) or "").lower() == model.lower()), kind.lower())
        found |= {full: None} if full in columns else {}
    return [table for table in found if "." in table or not any(other.startswith(table + ".") for other in found)]


def _model_of(table: str) -> str | None:
    """The name of the model whose table this is; None for a table of all models."""
    _, dot, own = table.partition(".")
    return own[1:-1].replace('""', '"') if dot else None


def _owners(column: str, columns: Columns) -> list[str]:
    return [table for table, names in columns.items() if _same(column, names)]


def _same(column: str, names: Iterable[str]) -> str:
    """The name as it is spelt here; empty when it is not."""
    return next((name for name in names if name.lower() == column.lower()), "")


def _near(name: str, names: Iterable[str]) -> list[str]:
    """Names that may have been meant, features also by the name without its prefix."""
    known: dict[str, str] = {}
    for each in names:
        known |= {each.lower(): each, each.lower().removeprefix(FEATURE): each}
    return list(dict.fromkeys(known[near] for near in get_close_matches(name.lower(), known, n=2, cutoff=0.6)))


def _written(column: str) -> str:
    """A column as a query writes it."""
    return column if _WORD.fullmatch(column) and column != "at" else '"' + column.replace('"', '""') + '"'


def _listed(names: Iterable[str], most: int = NAMES_SHOWN, between: str = ", ") -> str:
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return between.join(every[:most]) + more
