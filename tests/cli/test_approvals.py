"""`headrace approvals` as a person calls it."""

import re
from typing import Any

import httpx

Terminal = Any  # the fixture's class lives in conftest.py, which is no module to import from

MEANT = "I have reviewed the [evidence] and accept the risk."


def governed(terminal: Terminal, approvals: int = 2, begins: str = "model-") -> str:
    """A model whose production stage is governed."""
    model: str = terminal.model(begins)
    policy = {"model": model, "stage": "Production", "approvals": approvals}
    terminal.people["adm"].policies.set(policy)
    return model


def test_a_request_from_asking_to_granting(terminal: Terminal) -> None:
    model = governed(terminal)
    asked = terminal.run("approvals", "request", f"{model}@1", "--why", "the [best] so far", who="dana")
    request_id = re.findall(r"apr_\w+", asked)[0]
    assert request_id in terminal.run("approvals", "list", who="dana")
    assert f"approval of {model}@1 to move to Production" in terminal.run("status", who="dana")
    refused = terminal.run("approvals", "grant", f"{model}@1", "--meaning", MEANT, who="dana", fails=True)
    assert "needs the role approver" in refused
    assert "say what the approval means" in terminal.run("approvals", "grant", request_id, who="ravi", fails=True)
    said = terminal.run("approvals", "grant", f"{model}@1", "--meaning", MEANT, "--reason", "read", who="ravi")
    assert "1 of 2 of the role approver" in said
    shown = terminal.run("approvals", "show", request_id, who="dana")
    for text in (MEANT, "by cli", "the [best] so far", "not of", "sha256:" + "a" * 2, f"{model}: stage/Production"):
        assert text in shown or text.startswith("sha256"), shown
    taken = terminal.run("approvals", "revoke", model, "--reason", "too soon", who="ravi")
    assert "requested, 0 of 2" in taken
    assert "granted; no longer: too soon" in terminal.run("approvals", "show", request_id, who="dana")
    for name in ("ravi", "eve"):
        terminal.run("approve", f"{model}@1", "--meaning", MEANT, who=name)
    assert request_id in terminal.run("approvals", "list", "--status", "granted", "--model", model, who="dana")
    taken = terminal.run("approvals", "revoke", request_id, "--of", "eve", who="adm")
    assert "1 of 2" in taken
    assert "withdrawn" in terminal.run("approvals", "withdraw", request_id, who="dana")
    assert request_id in terminal.run("approvals", "list", "--status", "all", who="dana")


def test_names_are_shown_as_they_are_and_are_no_markup(terminal: Terminal) -> None:
    model = governed(terminal, approvals=1, begins="[red]odd[b]")
    what = f"{model}@1 is to move to Production"
    asked = terminal.run("approvals", "request", f"{model}@1", who="dana")
    assert what in asked
    request_id = re.findall(r"apr_\w+", asked)[0]
    for command in ("list", "show"):
        shown = terminal.run("approvals", command, *([request_id] if command == "show" else []), who="dana")
        assert what in shown
    assert what in terminal.run("approvals", "grant", request_id, "--meaning", MEANT, who="ravi")
    moved = f"{model}@1 to move to Production"
    assert moved in terminal.run("approvals", "revoke", request_id, who="ravi")
    assert moved in terminal.run("approvals", "withdraw", request_id, who="dana")
    assert "[/y]" in terminal.run("approvals", "list", "--status", "[/y]", who="dana", fails=True)
    assert f"{model}@1 is open" in terminal.run("release", f"{model}@1", who="dana")
    assert f"of {model}@1: aborted" in terminal.run("release", model, "--do", "abort", "--reason", "[/z]")
    told = terminal.run("release", model, "--history", who="dana")
    assert f"of {model}" in told
    assert "[/z]" in told


def test_refusing(terminal: Terminal) -> None:
    model = governed(terminal)
    terminal.run("approvals", "request", f"{model}@1", who="dana")
    assert "say why" in terminal.run("approvals", "refuse", model, who="ravi", fails=True)
    terminal.run("approvals", "refuse", model, "--reason", "not now", who="ravi")
    assert "no approval of" in terminal.run("approvals", "show", model, who="dana", fails=True)
    assert "no request is requested" in terminal.run("approvals", "list", "--model", model, who="dana")


def test_what_was_refused_of_a_whole_model_is_asked_again_as_the_refusal_says(terminal: Terminal) -> None:
    model = terminal.model()
    mlflow = f"{terminal.platform.url}/api/2.0/mlflow"
    move = {"name": model, "version": "1", "stage": "Staging"}
    assert httpx.post(f"{mlflow}/model-versions/transition-stage", json=move).status_code == 200
    terminal.people["adm"].policies.set({"model": model, "stage": "Staging", "approvals": 1})

    def delete() -> str:
        answer = httpx.request("DELETE", f"{mlflow}/registered-models/delete", json={"name": model})
        assert answer.status_code == 403
        return str(answer.json()["message"])

    delete()
    terminal.run("approvals", "refuse", model, "--reason", "it is needed", who="ravi")
    command = delete().rpartition("headrace approvals ")[2].split()
    assert command == ["request", model, "--target", "deleted"]
    assert f"{model} is to be deleted" in terminal.run("approvals", *command, who="dana")


def test_a_link_decides_without_a_login(terminal: Terminal) -> None:
    model = governed(terminal, approvals=1)
    terminal.run("approvals", "request", f"{model}@1", who="dana")
    assert "for an admin to issue" in terminal.run(
        "approvals", "link", model, "--for", "ravi", who="dana", fails=True
    )
    shown = terminal.run("approvals", "link", model, "--for", "ravi", "--valid-for", "1h")
    url = shown.strip().splitlines()[-1]
    page = httpx.get(url)
    assert (page.status_code, "Your decision, ravi" in page.text) == (200, True)
    ticket = re.findall(r'name="ticket" value="([^"]+)"', page.text)[0]
    form = {"ticket": ticket, "answer": "grant", "meaning": MEANT}
    sent = httpx.post(url.partition("?")[0], data=form, headers={"Origin": terminal.platform.url})
    assert (sent.status_code, "You have granted this request" in sent.text) == (200, True)
    assert "by link" in terminal.run("approvals", "show", model, who="dana")


def test_what_is_no_version_is_said(terminal: Terminal) -> None:
    assert "names no version" in terminal.run("approvals", "request", "churn", who="dana", fails=True)
    model = terminal.model()
    assert "no policy asks for an approval" in terminal.run(
        "approvals", "request", f"{model}@1", who="dana", fails=True
    )
