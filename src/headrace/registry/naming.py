"""Models that are asked about and are not there: an error that says which one may be meant, and no empty answer."""

from collections.abc import Sized
from typing import TypeVar

from headrace.errors import NotFound
from headrace.kernel.database import Tx
from headrace.kernel.spelling import did_you_mean
from headrace.registry import tables

COMPARED = 1_000
"""Models whose names are looked at, those that changed last."""

Found = TypeVar("Found", bound=Sized)


def unknown(tx: Tx, name: str, *, where: str = "") -> NotFound:
    """That there is no model of this name, and which ones are near."""
    question = did_you_mean(name, tables.newest_names(tx, COMPARED))
    fix = f"{question} See: headrace models".strip()
    told = name if len(name) <= 256 else f"{name[:256]}…"
    return NotFound(f"there is no model named {told!r}", where=where or f"model/{told}", fix=fix)


def found_of(tx: Tx, model: str | None, found: Found) -> Found:
    """What was found of a model; it may be nothing, unless there is no such model either.

    A model that was deleted may have left something behind, and that is found.

    Raises:
        NotFound: nothing was found, and there is no model of this name.
    """
    if model is not None and not len(found) and tables.find_model(tx, model) is None:
        raise unknown(tx, model)
    return found
