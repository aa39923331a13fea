"""What an apply shows: a line for each object, and of what changes old → new alone."""

from io import StringIO

from rich.console import Console

from headrace.cli.project import show_plan
from headrace.delivery.nouns import Action, Change, Plan


def shown(*changes: Change) -> list[str]:
    screen = Console(file=StringIO(), width=60, no_color=True)
    show_plan(screen, Plan(project="shop", changes=changes))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    return [line.strip() for line in text.splitlines()]


def test_a_changed_model_shows_old_and_new_a_line_each() -> None:
    details = ("rollout.steps: [5, 100] → [10, 100]", "params.depth: 5 → 6")
    model = Change(kind="model", name="churn", action=Action.CHANGED, details=details, declared_at="churn.py:4")
    assert shown(model) == ["~ changed   model        churn  churn.py:4", *details]


def test_what_does_not_hold_yet_is_said_even_where_nothing_changes() -> None:
    bound = ("rollout.tolerance: 0.02 → 0.01",)
    model = Change(kind="model", name="churn", action=Action.UNCHANGED, details=("not shown",), bound=bound)
    first, second, third = shown(model)
    assert first.startswith("unchanged model")
    assert second.startswith("! the next release is held to more than is declared")
    assert third == bound[0]


def test_what_policies_ask_for_and_is_not_declared_is_said_even_where_nothing_changes() -> None:
    warnings = ("at_least of roc_auc is declared with value=0.5, and no laxer than value=0.75 is asked for",)
    model = Change(kind="model", name="churn", action=Action.UNCHANGED, warnings=warnings)
    assert shown(model)[1:] == [f"! {warnings[0]}"]
