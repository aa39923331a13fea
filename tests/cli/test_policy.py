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


def test_bounds_are_set_shown_tightened_and_loosened(terminal: Terminal, tmp_path: Path) -> None:
    model = terminal.model()
    bounded = "at_least:roc_auc:30d:value=0.75,alpha=0.05,rows=2000"
    grouped = "fair:equalized_odds_difference::at_most=0.05,by=gender+people.age at 30, 60,intersections=true"
    on = ("policy", "set", model, "--stage", "Production")
    said = terminal.run(*on, "--evidence", bounded, "--evidence", grouped, "--rollout", "first_share=5,cooling=1d")
    told = "at_least of roc_auc, no laxer than value=0.75, alpha=0.05, on at least 2,000 rows, at most 30d old"
    for text in (
        told,
        "no laxer than at_most=0.05, by=gender + people.age at 30, 60, intersections=True",
        "a release whose rollout is no laxer than first_share=5, cooling=1d",
    ):
        assert text in said
    assert told in terminal.run("policy", "show", model, who="dana")
    tighter = bounded.replace("0.75", "0.8")
    said = terminal.run(*on, "--evidence", tighter, "--rollout", "first_share=1,cooling=1d")
    assert f"looser evidence: no longer {told}" not in said
    assert "looser evidence: no longer fair of equalized_odds_difference" in said
    assert "looser rollout" not in said
    said = terminal.run(*on, "--evidence", bounded)
    assert "looser evidence: no longer at_least of roc_auc, no laxer than value=0.8" in said
    assert "looser rollout: no longer a release whose rollout is no laxer than first_share=1" in said
    assert "value=0.8" in terminal.run("policy", "history", model)
    for wrong, says in (
        ("at_least:roc_auc::valeu=0.75", "valeu"),
        ("at_least:roc_auc::value=much", "value"),
        ("at_least:roc_auc::value", "'value' is not name=value"),
        ("fair:equalized_odds_difference::by=gender,age", "'age' is not name=value"),
        ("fair:equalized_odds_difference::by=gender,30", "'30' is not name=value"),
        ("at_least:::value=0.75", "means nothing without a metric"),
        ("size:::rows=10", "size has no rows to be bounded"),
    ):
        assert says in terminal.run(*on, "--evidence", wrong, fails=True)
    assert "into Production only" in terminal.run(
        "policy", "set", model, "--alias", "a", "--rollout", "alpha=0.1", fails=True
    )
    file = tmp_path / "policies.yaml"
    file.write_text(
        f"""
- model: {model}
  stage: Production
  evidence:
    - {{gate: at_least, metric: roc_auc, bounds: {{value: 0.75, alpha: 0.05, rows: 2000}}}}
    - {{gate: fair, metric: equalized_odds_difference, bounds: {{at_most: 0.05, by: [gender]}}}}
  rollout: {{first_share: 5, minimum_time: 1h}}
"""
    )
    said = terminal.run("policy", "set", "--file", str(file))
    assert "no laxer than at_most=0.05, by=gender; a release whose rollout" in said
    file.write_text(file.read_text().replace("at_most", "at_mots"))
    assert "at_mots" in terminal.run("policy", "set", "--file", str(file), fails=True)


def test_only_an_admin_sets_a_policy(terminal: Terminal) -> None:
    refused = terminal.run("policy", "set", "*", "--stage", "Production", who="dana", fails=True)
    assert "needs the role admin" in refused
    assert "say which model" in terminal.run("policy", "set", "--stage", "Production", fails=True)


def test_evidence_as_it_is_typed() -> None:
    assert evidence_of("fair") == {"gate": "fair", "metric": None, "max_age": ""}
    assert evidence_of("fair:roc_auc") == {"gate": "fair", "metric": "roc_auc", "max_age": ""}
    assert evidence_of("fair:::by=gender + age,alpha=0.05")["bounds"] == {"by": ["gender", "age"], "alpha": 0.05}
    cut = evidence_of("fair:::by=people.age at 30,60 + income at -1.5, 1e+06, 2e+06+kind,alpha=0.05")["bounds"]
    assert cut == {"by": ["people.age at 30, 60", "income at -1.5, 1e+06, 2e+06", "kind"], "alpha": 0.05}
    assert evidence_of("fair::30d") == {"gate": "fair", "metric": None, "max_age": "30d"}


@pytest.mark.parametrize("content", ["", "a: [", "policies: 3", "- a\n- b", "policies: {}", "42"])
def test_a_file_that_holds_no_policies_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(content)
    with pytest.raises(InvalidInput):
        read(file)
    with pytest.raises(InvalidInput):
        read(tmp_path / "none.yaml")
