"""`import headrace as hr`: every public name exists, editors see the same names, and nothing heavy is loaded."""

import ast
from pathlib import Path

import pytest

import headrace
import headrace as hr


def names_for_editors() -> dict[str, str]:
    tree = ast.parse(Path(headrace.__file__).read_text())
    guarded, _ = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: (node.module or "").removeprefix("headrace.")
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_editors_see_the_names_that_are_resolved() -> None:
    assert names_for_editors() == headrace._HOMES


@pytest.mark.parametrize("name", sorted(names_for_editors()))
def test_every_name_can_be_had(name: str) -> None:
    assert callable(getattr(hr, name))
    assert name in dir(hr)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Entitty'"):
        _ = hr.Entitty  # type: ignore[attr-defined]
