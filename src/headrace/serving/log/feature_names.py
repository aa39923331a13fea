"""Columns of features in the prediction log, and names that differ in more than case.

The lake and the engine of queries take `Age` and `age` for the same, and models do not. So the first spelling has
the plain column, and each later one a mark of its own. A feature also has a column for each kind of its values. No
two features ever share a column: a name that looks as if it had such an end itself always gets one more.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection

import pyarrow as pa

FEATURE_PREFIX = "feature."
NUMBERS_SUFFIX, TEXTS_SUFFIX = ".number", ".text"
"""Of the second column of a feature that has had both kinds; its first one keeps the kind that it began with."""
SPELT = ".spelt-"
_LOOKS_SPELT = re.compile(r"\.spelt-[0-9a-f]{8}$", re.IGNORECASE)
_LOOKS_MARKED = re.compile(r"\.(?:number|text|spelt-[0-9a-f]{8})$", re.IGNORECASE)


class FeatureNames:
    """The columns of one table's features, those that are there and those that are added through this."""

    def __init__(self, schema: pa.Schema | None) -> None:
        self._texts = {field.name: pa.types.is_string(field.type) for field in schema or ()}
        self._spellings = {name.casefold(): name for name in self._texts}
        self._found: dict[tuple[str, bool, bool], str] = {}

    def of(self, name: str, *, text: bool, null: bool = False) -> str:
        """The column for a feature's texts or numbers; a null belongs to either."""
        known = (name, text, null)
        column = self._found.get(known)
        if column is None:
            column = self._found[known] = self._chosen(name, text=text, null=null)
            self._texts.setdefault(column, text)
            self._spellings.setdefault(column.casefold(), column)
        return column

    def has_texts(self, column: str) -> bool:
        """Whether a column that is there holds texts."""
        return self._texts[column]

    def _chosen(self, name: str, *, text: bool, null: bool) -> str:
        first = FEATURE_PREFIX + name
        of_kind = first + (TEXTS_SUFFIX if text else NUMBERS_SUFFIX)
        if _LOOKS_MARKED.search(name):
            return self._told_apart(of_kind)
        column = self._told_apart(first)
        if null or self._texts.get(column, text) == text:
            return column
        return self._told_apart(of_kind)

    def _told_apart(self, column: str) -> str:
        """The column, marked where another spelling of it is there already; columns stay, so it is so for ever."""
        return column if self._spellings.get(column.casefold(), column) == column else spelt(column)


def spelt(name: str) -> str:
    """The name with a mark that another spelling of it has not."""
    return f"{name}{SPELT}{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def told_apart(names: Collection[str]) -> dict[str, str]:
    """Each name as it is written where case does not count: marked if another differs from it in case alone.

    All of those are marked, for an unmarked one would be read by who means the other.
    """
    alike = Counter(name.casefold() for name in set(names))
    return {
        name: spelt(name) if alike[name.casefold()] > 1 or _LOOKS_SPELT.search(name) else name for name in names
    }
