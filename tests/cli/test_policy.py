"""`headrace policy` as a person calls it."""

from pathlib import Path
from typing import Any

import pytest

from headrace.cli.policy import evidence_of, read
from headrace.errors import InvalidInput

Terminal = Any  # the fixture's class lives in conftest.py, which is no module to import from


def test_a_policy_is_set_shown_loosened_and_removed(terminal: Terminal) -> None:
    model = terminal.model()
    assert "open: no policy is set" in terminal.run("policy", "show", model, who="dana")
    flags = ("--approvals", "2", "--evidence", "fair:roc_auc:30d", "--evidence", "slices", "--mover", "operator")
    said = terminal.run("policy", "set", model, "--stage", "Production", *flags, "--note", "since [2026]")
    assert "fair of roc_auc, at most 30d old; slices" in said
    shown = terminal.run("policy", "show", model, who="dana")
    assert "governed: stage/Production" in shown
    assert "2 approvals of the role approver, not of the author or whoever asks; made by: operator" in shown
    assert "since [2026]" in shown
    said = terminal.run("policy", "set", model, "--stage", "Production", "--approvals", "1")
    assert "looser approvals: 2 -> 1" in said
    assert "looser evidence: no longer slices" in said
    assert "stage/Production is removed" in terminal.run("policy", "remove", model, "--stage", "production")
    history = terminal.run("policy", "history", model)
    assert "approvals: 2 -> 1" in history
    assert "removed: 1 approval of the role approver" in history


def test_names_are_shown_as_they_are_and_are_no_markup(terminal: Terminal) -> None:
    model = terminal.model("[red]odd[b]")
    on = ("--stage", "Production")
    said = terminal.run("policy", "set", model, *on, "--evidence", "fair:[/y]", "--approvals", "1")
    assert f"{model}: stage/Production: evidence: fair of [/y]; 1 approval" in said
    assert f"{model} is governed" in terminal.run("policy", "show", model)
    for arguments in (("show",), ("show", model), ("history", model)):
        assert "fair of [/y]" in terminal.run("policy", *arguments)
    assert "looser evidence: no longer fair of [/y]" in terminal.run("policy", "set", model, *on)
    assert "no longer fair of [/y]" in terminal.run("policy", "history", model)
    assert f"{model}: stage/Production is removed" in terminal.run("policy", "remove", model, *on)


def test_policies_of_a_file(terminal: Terminal, tmp_path: Path) -> None:
    model = terminal.model()
    file = tmp_path / "policies.yaml"
    file.write_text(
        f"""
policies:
  - model: {model}
    stage: Production
    evidence:
      - {{gate: not_worse_than_production, metric: roc_auc, max_age: 30d}}
    approvals: 2
  - {{model: {model}, alias: champ*, movers: [operator]}}
"""
    )
    terminal.run("policy", "set", "--file", str(file))
    shown = terminal.run("policy", "show")
    assert "not_worse_than_production of roc_auc, at most 30d old; 2 approvals" in shown
    assert "alias/champ*" in shown
    file.write_text(f"- {{model: {model}, stage: Production, aprovals: 2}}")
    assert "aprovals" in terminal.run("policy", "set", "--file", str(file), fails=True)
    file.write_text(f"- {{model: {model}, stage: Production, evidence: [{{gate: fair, max_ag: 1d}}]}}")
    assert "max_ag" in terminal.run("policy", "set", "--file", str(file), fails=True)


def test_only_an_admin_sets_a_policy(terminal: Terminal) -> None:
    refused = terminal.run("policy", "set", "*", "--stage", "Production", who="dana", fails=True)
    assert "needs the role admin" in refused
    assert "say which model" in terminal.run("policy", "set", "--stage", "Production", fails=True)


def test_evidence_as_it_is_typed() -> None:
    assert evidence_of("fair") == {"gate": "fair", "metric": None, "max_age": ""}
    assert evidence_of("fair:roc_auc") == {"gate": "fair", "metric": "roc_auc", "max_age": ""}
    assert evidence_of("fair::30d") == {"gate": "fair", "metric": None, "max_age": "30d"}


@pytest.mark.parametrize("content", ["", "a: [", "policies: 3", "- a\n- b", "policies: {}", "42"])
def test_a_file_that_holds_no_policies_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(content)
    with pytest.raises(InvalidInput):
        read(file)
    with pytest.raises(InvalidInput):
        read(tmp_path / "none.yaml")
