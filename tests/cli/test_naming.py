"""A mistyped name of a model is an error that says which one may be meant, whatever the command."""

from typing import Any

import pytest

from headrace.errors import NotFound

Terminal = Any  # the fixture's class lives in conftest.py, which is no module to import from

NAME = "retention-forecast"
TYPED = "retention-forcast"


@pytest.fixture(scope="module")
def known(terminal: Terminal) -> str:
    return str(terminal.model(f"{NAME}-"))


@pytest.mark.parametrize(
    "command",
    [
        "feedback show {}",
        "release {}",
        "release {} --do pause",
        "release {} --history",
        "release {}@1",
        "rollback {}",
        "rollback {} --look",
        "train {}",
        "models {}",
        "models history {}",
        "models {}@1",
        "models describe {}@1 --owner ana",
        "evidence show {}@1",
        "lineage {}@1",
        "approve {}@1",
        "approve {}",
        "approvals list --model {}",
        "approvals request {}@1",
        "score models:/{}/1 --input rows.csv --output scored",
    ],
)
def test_an_error_names_what_is_near(terminal: Terminal, known: str, command: str) -> None:
    typed = known.replace(NAME, TYPED)
    said = terminal.run(*command.format(typed).split(), fails=True)
    assert f"there is no model named '{typed}'" in said
    assert f"Did you mean {known}" in said
    assert "See: headrace models" in said


@pytest.mark.parametrize(
    "path",
    ["releases", "pipelines", "training-sets", "alerts", "monitoring/windows", "approvals"],
)
def test_so_does_the_api_where_it_lists(terminal: Terminal, known: str, path: str) -> None:
    call = terminal.people["dana"].transport.call
    with pytest.raises(NotFound, match=f"Did you mean {known}"):
        call("GET", f"/api/v1/{path}?model={known.replace(NAME, TYPED)}", returns=list)
    assert call("GET", f"/api/v1/{path}?model={known}", returns=list) == []


@pytest.mark.parametrize(
    "command",
    [
        "policy show {}",
        "policy history {}",
        "policy set {} --stage Production",
        "retention set feedback 9d --model {}",
    ],
)
def test_what_may_be_said_ahead_of_the_model_is_said_with_a_warning(
    terminal: Terminal, known: str, command: str
) -> None:
    typed = known.replace(NAME, TYPED)
    said = terminal.run(*command.format(typed).split())
    assert f"! there is no model named '{typed}' yet. Did you mean {known}" in said
    assert "!" not in terminal.run(*command.format(known).split())
