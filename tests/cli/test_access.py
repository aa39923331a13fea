"""`headrace access` as an admin calls it: it says what has changed, and what has not."""

from typing import Any

Terminal = Any  # the fixture's class lives in conftest.py, which is no module to import from


def test_a_role_is_given_and_taken_and_what_was_so_already_is_said(terminal: Terminal) -> None:
    assert "zoe may act as viewer" in terminal.run("access", "add", "zoe", "--role", "viewer")
    had_not = "zoe had not got the role operator, so nothing has changed: zoe may act as viewer"
    assert had_not in terminal.run("access", "revoke", "zoe", "operator")
    assert terminal.run("access", "grant", "zoe", "operator").strip() == "zoe may act as viewer, operator"
    assert "zoe had the role operator already" in terminal.run("access", "grant", "zoe", "operator")
    assert terminal.run("access", "revoke", "zoe", "operator").strip() == "zoe may act as viewer"
    assert "Did you mean zoe" in terminal.run("access", "revoke", "zoee", "viewer", fails=True)


def test_who_was_disabled_can_be_let_in_again(terminal: Terminal) -> None:
    terminal.run("access", "add", "yan", "--role", "viewer")
    assert "yan is not disabled, so nothing has changed" in terminal.run("access", "enable", "yan")
    assert "headrace access enable yan" in terminal.run("access", "disable", "yan")
    assert "headrace access enable yan" in terminal.run("access", "token", "yan", fails=True)
    said = terminal.run("access", "enable", "yan")
    assert "yan may act as viewer again; earlier tokens stay refused" in said
    assert "headrace access token yan" in said
    assert terminal.run("access", "token", "yan").startswith("hdr_")
