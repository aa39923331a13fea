"""What every declaration has in common: it checks itself when written and remembers where it was written.

A user's mistake is reported at the line that made it, which only works when the check runs in the constructor
and the constructor knows its caller's line.
"""

import hashlib
import inspect
import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import msgspec

from headrace.errors import ProjectError

PACKAGE = __name__.rpartition(".")[0]
"""The frames of this package stand between a user's line and the constructor; they are skipped."""

DECODERS = frozenset({"headrace", "litestar", "msgspec"})
"""Callers that decode a declaration from JSON; they are not the place where a user wrote it."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""Names become columns, folders and URLs, so they are kept to what is safe in all of these."""


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen record that a project file declares.

    Subclasses override `_check` and call `_refuse` there. JSON goes both ways with `msgspec.json`; decoding
    checks again, so that what arrives by HTTP obeys the same rules.
    """

    declared_at: str = ""
    """File name and line, as "churn.py:12"; empty when the declaration did not come from a project file."""

    def __post_init__(self) -> None:
        if not self.declared_at:
            msgspec.structs.force_setattr(self, "declared_at", _callers_line(inspect.currentframe()))
        self._check()

    def _check(self) -> None:
        """Raises ProjectError when the declaration cannot be meant."""

    def _refuse(self, message: str, *, fix: str) -> NoReturn:
        raise ProjectError(message, where=self.declared_at or None, fix=fix)

    def _check_name(self, what: str, name: object) -> None:
        if not isinstance(name, str) or NAME.fullmatch(name) is None:
            self._refuse(
                f"{name!r} is not a name for {what}",
                fix="Use lower-case letters, digits and underscores, begin with a letter, at most 63 characters.",
            )

    def _check_number(
        self,
        field: str,
        *,
        above: float = -math.inf,
        at_least: float = -math.inf,
        below: float = math.inf,
        at_most: float = math.inf,
        whole: bool = False,
        fix: str,
    ) -> None:
        """Refuses a field that is not a finite number within the bounds."""
        value: object = getattr(self, field)
        kinds = int if whole else int | float
        if (
            not isinstance(value, kinds)
            or isinstance(value, bool)
            or not math.isfinite(value)
            or not (above < value < below and at_least <= value <= at_most)
        ):
            self._refuse(f"{field} cannot be {value!r}", fix=fix)
        if not whole:
            self._replace(field, float(value))  # 1 and 1.0 mean the same, so they have one digest

    def _check_error_rate(self, field: str) -> None:
        self._check_number(field, above=0, below=1, fix=f"Use a rate of error between 0 and 1: {field}=0.05.")

    def _check_text(self, field: str, *, fix: str) -> None:
        value: object = getattr(self, field)
        if not isinstance(value, str) or not value:
            self._refuse(f"{field} cannot be {value!r}", fix=fix)

    def _check_kind(self, field: str, kind: type, article: str) -> None:
        value = getattr(self, field)
        if not isinstance(value, kind):
            self._refuse(
                f"{field} must be {article}, not {type(value).__name__}",
                fix=f"Pass the object that the project file declares with {article}.",
            )

    def _replace(self, field: str, value: object) -> None:
        """Normalises a field during construction; a frozen record has no other moment for it."""
        msgspec.structs.force_setattr(self, field, value)


def definition(declaration: Declaration) -> dict[str, Any]:
    """What a declaration says, without where it says it, as JSON builtins."""
    stripped: dict[str, Any] = _without_lines(msgspec.to_builtins(declaration))
    return stripped


def definition_digest(declaration: Declaration) -> str:
    """sha256 of the definition in canonical JSON; moving a declaration to another line does not change it."""
    encoded = msgspec.json.encode(definition(declaration), order="deterministic")
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def callers_line() -> str:
    """File name and line of the nearest caller outside this package, as "churn.py:12"."""
    return _callers_line(inspect.currentframe())


def _callers_line(frame: FrameType | None) -> str:
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(f"{PACKAGE}."):
        frame = frame.f_back
    if frame is None or str(frame.f_globals.get("__name__", "")).partition(".")[0] in DECODERS:
        return ""
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _without_lines(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_lines(item) for key, item in value.items() if key != "declared_at"}
    if isinstance(value, list | tuple):
        return [_without_lines(item) for item in value]
    return value
