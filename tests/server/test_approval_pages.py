"""The pages of a request for approval, and the link by which one person decides without logging in."""

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from headrace.kernel.clocks import ManualClock
from headrace.kernel.settings import Settings
from headrace.kernel.sqlite import SqliteDatabase
from headrace.kernel.tickets import open_tickets
from headrace.project.declaration import definition
from headrace.project.gates import at_least
from headrace.registry import evidence, links
from headrace.registry.approval import LinkTicket
from headrace.registry.nouns import Evidence, Verdict
from headrace.server import control
from headrace.server.resources import open_resources

from .conftest import URL

Client = TestClient[Litestar]

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FILE = {"path": "MLmodel", "digest": "sha256:" + "a" * 64, "size_bytes": 3}
POLICY = {"model": "churn", "stage": "Production", "approvals": 1}


class Desk:
    """A request of dana's to move churn@1 to production, which ravi may decide on."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.tokens = {
            name: self.person(name, role) for name, role in (("dana", "developer"), ("ravi", "approver"))
        }
        version = {"model": "churn", "run_id": "r1", "files": [FILE]}
        self.call("POST", "/api/v1/models/churn/versions", version, who="dana")
        self.call("PUT", "/api/v1/policies", POLICY)
        move = {"name": "churn", "version": "1", "stage": "Production"}
        self.move = ("POST", "/api/2.0/mlflow/model-versions/transition-stage", move)
        self.refused = self.call(*self.move, who="dana", expect=403)
        (self.request,) = self.call("GET", "/api/v1/approvals")

    def person(self, name: str, role: str) -> str:
        self.call("POST", "/api/v1/access/principals", {"name": name, "roles": [role]})
        return str(self.call("POST", f"/api/v1/access/principals/{name}/tokens")["secret"])

    def call(self, method: str, path: str, body: Any = None, *, who: str | None = None, expect: int = 0) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        answer = self.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == expect or (not expect and answer.is_success), answer.text
        return answer.json()

    def approval(self) -> Any:
        return self.call("GET", f"/api/v1/approvals/{self.request['id']}")

    def link(self, name: object = "ravi", *, who: str | None = None, expect: int = 201, **more: str) -> Any:
        path = f"/api/v1/approvals/{self.request['id']}/links"
        return self.call("POST", path, {"principal": name, **more}, who=who, expect=expect)

    def open(self, link: Any) -> tuple[int, str, dict[str, Any]]:
        """What a browser shows at the address of a link, and the fields of the form on it."""
        answer = self.client.get(link["url"].removeprefix(URL))
        pairs = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', answer.text)
        fields: dict[str, Any] = {"seen": [html.unescape(value) for name, value in pairs if name == "seen"]}
        fields |= {name: html.unescape(value) for name, value in pairs if name != "seen"}
        return answer.status_code, answer.text, fields

    def send(self, fields: dict[str, Any], approval_id: str | None = None, **headers: str) -> tuple[int, str]:
        path = f"/approvals/{approval_id or self.request['id']}/decide"
        answer = self.client.post(path, data=fields, headers={"Origin": URL, **headers})
        return answer.status_code, answer.text


@pytest.fixture
def client(database: SqliteDatabase, settings: Settings, clock: ManualClock) -> Iterator[Client]:
    """Control at the time of the test's clock."""
    resources = replace(open_resources(settings, database), clock=clock)
    with TestClient(control.build(resources), base_url=URL) as client:
        yield client


@pytest.fixture
def desk(client: Client) -> Desk:
    return Desk(client)


def test_the_refusal_links_to_a_page_that_tells_everything(desk: Desk, client: Client) -> None:
    assert desk.refused["error_code"] == "PERMISSION_DENIED"
    found = re.search(r"http://\S+", desk.refused["message"])
    assert found is not None
    assert found.group() == f"{URL}/approvals/{desk.request['id']}"
    shown = client.get(found.group().removeprefix(URL))
    assert shown.status_code == 200
    for text in (
        "move to Production",
        "dana",
        "0 of 1 approval",
        desk.request["digest"],
        "churn: stage/Production",
    ):
        assert text in shown.text
    assert "<form" not in shown.text
    assert "form-action 'none'" in shown.headers["Content-Security-Policy"]
    assert client.get("/approvals/apr_none").status_code == 404


def test_a_link_opens_a_form_and_looking_decides_nothing(desk: Desk) -> None:
    link = desk.link()
    status, page, fields = desk.open(link)
    assert (status, "Your decision, ravi" in page) == (200, True)
    assert "<script" not in page
    assert desk.open(link)[0] == 200
    assert desk.approval()["status"] == "requested"
    form = {**fields, "answer": "grant", "meaning": "I have read it.", "reason": "looks <b>good</b>"}
    status, page = desk.send(form)
    assert status == 200, page
    assert "You have granted this request" in page
    assert "looks &lt;b&gt;good&lt;/b&gt;" in page
    (decision,) = desk.approval()["decisions"]
    assert (decision["principal"], decision["via"], decision["link"]) == ("ravi", "link", link["id"])
    assert (decision["meaning"], decision["digest"]) == ("I have read it.", desk.request["digest"])
    desk.call(*desk.move, who="dana")
    assert desk.approval()["status"] == "used"


def test_what_is_sent_twice_counts_once_and_a_used_link_opens_nothing(desk: Desk) -> None:
    link = desk.link()
    form = {**desk.open(link)[2], "answer": "grant", "meaning": "yes"}
    assert [desk.send(form)[0] for _ in range(2)] == [200, 200]
    assert len(desk.approval()["decisions"]) == 1
    status, page, _ = desk.open(link)
    assert (status, "used already" in page) == (403, True)
    assert desk.send({**form, "answer": "refuse", "reason": "no"})[0] == 403
    assert desk.approval()["status"] == "granted"


def test_own_words_go_before_the_ones_to_choose_from(desk: Desk) -> None:
    form = {**desk.open(desk.link())[2], "answer": "grant", "meaning": "chosen", "own_words": "my own"}
    assert desk.send(form)[0] == 200
    assert desk.approval()["decisions"][0]["meaning"] == "my own"


def test_what_is_missing_is_asked_for_and_nothing_that_was_typed_is_lost(desk: Desk) -> None:
    fields = desk.open(desk.link())[2]
    status, page = desk.send({**fields, "answer": "refuse", "own_words": "my own", "meaning": "x"})
    assert (status, "say why it is refused" in page, 'value="my own"' in page) == (400, True, True)
    status, page = desk.send({**fields, "reason": "because"})
    assert (status, "Choose one" in page, "because" in page) == (400, True, True)
    assert desk.send({**fields, "answer": "refuse", "reason": "too early"})[0] == 200
    assert desk.approval()["status"] == "refused"


def test_evidence_that_came_meanwhile_has_to_be_seen(desk: Desk, database: SqliteDatabase) -> None:
    fields = {**desk.open(desk.link())[2], "answer": "grant", "meaning": "yes"}
    found = Evidence(model="churn", number=1, kind="gate", name="fair", gate="fair", verdict=Verdict.WORSE)
    kept = database.write(lambda tx: evidence.record(tx, found), actor="system")
    status, page = desk.send(fields)
    assert (status, "evidence that was not seen" in page, "WORSE" in page) == (409, True, True)
    assert desk.approval()["status"] == "requested"
    assert desk.send({**fields, "seen": [kept.id]})[0] == 200
    assert desk.approval()["decisions"][0]["evidence"] == [kept.id]


def test_a_form_of_another_site_is_refused(desk: Desk) -> None:
    form = {**desk.open(desk.link())[2], "answer": "grant", "meaning": "yes"}
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert desk.send(form, **headers)[0] == 403
    assert desk.approval()["status"] == "requested"


def test_no_other_page_takes_a_form(desk: Desk, client: Client) -> None:
    for path in ("/approvals/x", "/approvals/x/decide/more", "/approvals//decide", "/api/v1/approvals/x/decision"):
        assert client.post(path, data={"grant": "true"}, headers={"Origin": URL}).status_code == 400, path
    for kind in ("text/plain", "multipart/form-data; boundary=x"):
        answer = client.post("/approvals/x/decide", content=b"a", headers={"Content-Type": kind})
        assert answer.status_code == 400


@pytest.mark.parametrize("ticket", ["", "x", "gAAAAA", "ä", "x" * 30_000])
def test_a_ticket_that_is_none_opens_nothing(desk: Desk, client: Client, ticket: str) -> None:
    shown = client.get(f"/approvals/{desk.request['id']}/decide", params={"ticket": ticket[:5_000]})
    assert (shown.status_code, "opens nothing" in shown.text) == (403, True)
    assert desk.send({"ticket": ticket, "answer": "grant", "meaning": "yes"})[0] == 403


def test_a_link_is_for_its_request_its_person_and_its_bytes_alone(
    desk: Desk, client: Client, database: SqliteDatabase, tmp_path: Any
) -> None:
    link = desk.link()
    form = {**desk.open(link)[2], "answer": "grant", "meaning": "yes"}
    assert desk.send(form, approval_id="apr_other")[0] == 403
    tickets = open_tickets(tmp_path)
    now = datetime.fromisoformat(link["expires_at"]) - timedelta(hours=1)
    sealed = parse_qs(urlsplit(link["url"]).query)["ticket"][0]
    said = tickets.read(links.PURPOSE, sealed, LinkTicket, now=now)
    assert (said.principal, said.digest) == ("ravi", desk.request["digest"])
    hour = timedelta(hours=1)
    other_purpose = tickets.issue("upload", said, now=now, valid_for=hour)
    other_bytes = LinkTicket(said.id, said.approval_id, "sha256:" + "f" * 64, said.principal, said.workspace)
    unknown = LinkTicket("lnk_none", said.approval_id, said.digest, said.principal, said.workspace)
    for ticket in (
        other_purpose,
        tickets.issue(links.PURPOSE, other_bytes, now=now, valid_for=hour),
        tickets.issue(links.PURPOSE, unknown, now=now, valid_for=hour),
        tickets.issue(links.PURPOSE, said, now=now - timedelta(days=2), valid_for=hour),
    ):
        assert desk.send({**form, "ticket": ticket})[0] in {403, 404}
    assert desk.approval()["decisions"] == []


def test_a_link_that_is_over_opens_nothing(desk: Desk, clock: ManualClock) -> None:
    link = desk.link(valid_for="1h")
    fields = {**desk.open(link)[2], "answer": "grant", "meaning": "yes"}
    clock.advance(timedelta(hours=1))
    assert desk.open(link)[0] == 403
    assert desk.send(fields)[0] == 403
    longest = desk.link(valid_for="30d")
    assert longest["expires_at"] == desk.request["expires_at"]  # no longer than there is to decide


def test_who_lost_the_role_decides_by_no_link(desk: Desk) -> None:
    link = desk.link()
    fields = {**desk.open(link)[2], "answer": "grant", "meaning": "yes"}
    desk.call("DELETE", "/api/v1/access/principals/ravi/roles/approver")
    assert desk.open(link)[0] == 403
    assert desk.send(fields)[0] == 403
    desk.call("PUT", "/api/v1/access/principals/ravi/roles/approver")
    desk.call("POST", "/api/v1/access/principals/ravi/disable")
    assert desk.send(fields)[0] == 403
    attempts = [
        event["payload"]["because"]
        for event in desk.call("GET", f"/api/v1/events?subject=approval/{desk.request['id']}")
        if event["type"] == "registry.approval_attempt_refused"
    ]
    assert len(attempts) == 2


@pytest.mark.parametrize("loses", ["ravi", "boss"])
def test_a_link_falls_with_the_role_of_its_person_or_of_who_issued_it(desk: Desk, loses: str) -> None:
    desk.tokens["boss"] = desk.person("boss", "admin")
    desk.person("other", "admin")
    link = desk.link(who="boss")
    fields = {**desk.open(link)[2], "answer": "grant", "meaning": "yes"}
    role = f"/api/v1/access/principals/{loses}/roles/{'approver' if loses == 'ravi' else 'admin'}"
    desk.call("DELETE", role)
    desk.call("PUT", role)
    status, page, _ = desk.open(link)
    assert (status, f"was taken from {loses}" in page) == (403, True)
    assert desk.send(fields)[0] == 403
    assert desk.approval()["decisions"] == []
    assert desk.send({**desk.open(desk.link(who="boss"))[2], "answer": "grant", "meaning": "yes"})[0] == 200


def test_links_go_to_oneself_or_come_from_an_admin(desk: Desk) -> None:
    assert desk.link(who="ravi")["principal"] == "ravi"
    assert "for an admin" in desk.link(who="dana", expect=403)["error"]["message"]
    assert desk.link("dana", who="dana", expect=403)["error"]["code"] == "PERMISSION_REFUSED"  # is no approver
    assert desk.link("nobody", expect=404)["error"]["code"] == "NOT_FOUND"
    assert desk.link("local", expect=404)["error"]["code"] == "NOT_FOUND"
    assert desk.link(valid_for="soon", expect=400)["error"]["where"] == "valid_for"
    assert desk.link(7, expect=400)["error"]["where"] == "principal"  # a dependency of the route has that name too
    desk.call("PUT", "/api/v1/access/principals/dana/roles/admin")
    refused = desk.link(who="dana", expect=403)["error"]  # she asked: her admin's powers hand out no second pair
    assert (refused["code"], "hands out no link" in refused["message"]) == ("POLICY_REFUSED", True)
    desk.call("PUT", "/api/v1/access/principals/dana/roles/approver")
    assert desk.link("dana", expect=403)["error"]["code"] == "POLICY_REFUSED"
    body = {"grant": True, "meaning": "yes"}
    desk.call("POST", f"/api/v1/approvals/{desk.request['id']}/decision", body, who="ravi")
    desk.call(*desk.move, who="dana")
    assert "already used" in desk.link(expect=409)["error"]["message"]


def test_a_link_is_issued_on_record_and_without_its_address(desk: Desk) -> None:
    link = desk.link()
    (event,) = [
        event
        for event in desk.call("GET", f"/api/v1/events?subject=approval/{desk.request['id']}")
        if event["type"] == "registry.approval_link_issued"
    ]
    assert (event["actor"], event["payload"]["for"], event["payload"]["link"]) == ("local", "ravi", link["id"])
    assert urlsplit(link["url"]).query not in str(event)


def test_pages_show_what_people_typed_as_text(desk: Desk, client: Client) -> None:
    hostile = "<script>alert(1)</script>"
    body = {"grant": False, "reason": hostile}
    desk.call("POST", f"/api/v1/approvals/{desk.request['id']}/decision", body, who="ravi")
    shown = client.get(f"/approvals/{desk.request['id']}").text
    assert hostile not in shown
    assert "&lt;script&gt;" in shown


def test_a_request_about_a_version_that_is_gone_is_still_shown(desk: Desk, client: Client) -> None:
    desk.call("DELETE", "/api/2.0/mlflow/registered-models/delete", {"name": "churn"}, who="dana")
    shown = client.get(f"/approvals/{desk.request['id']}")
    assert (shown.status_code, "the version is gone" in shown.text, "void" in shown.text) == (200, True, True)


def test_evidence_that_the_policy_asks_for_beyond_approvals_is_named(desk: Desk, client: Client) -> None:
    desk.call("PUT", "/api/v1/policies", {**POLICY, "evidence": [{"gate": "fair"}]})
    shown = client.get(f"/approvals/{desk.request['id']}").text
    assert "The policy asks for more than approvals: there is no evidence of fair." in shown
    assert "no evidence of fair" in desk.open(desk.link())[1]


def test_what_a_gate_was_judged_by_is_shown_beside_what_the_policy_asks(
    desk: Desk, client: Client, database: SqliteDatabase
) -> None:
    found = Evidence(
        model="churn", number=1, kind="gate", name="auc", gate="at_least", metric="roc_auc", verdict=Verdict.PASS,
        declaration=definition(at_least("roc_auc", 0.5, alpha=0.1)),
    )  # fmt: skip
    database.write(lambda tx: evidence.record(tx, found), actor="worker")
    asked = {"gate": "at_least", "metric": "roc_auc", "bounds": {"value": 0.75}}
    desk.call("PUT", "/api/v1/policies", {**POLICY, "evidence": [asked]})
    shown = client.get(f"/approvals/{desk.request['id']}").text
    assert "judged by value=0.5, alpha=0.1, threshold=0.5" in shown
    line = (
        "the evidence of at_least of roc_auc was judged by value=0.5, and the policy churn: stage/Production asks"
        " for no laxer than value=0.75"
    )
    assert f"The policy asks for more than approvals: {line}." in shown
    assert desk.approval()["missing"] == [line]
    unknown = {**asked, "bounds": {"valeu": 0.75}}
    assert "valeu" in str(desk.call("PUT", "/api/v1/policies", {**POLICY, "evidence": [unknown]}, expect=400))


def test_a_request_that_others_have_answered_meanwhile_takes_no_form(desk: Desk) -> None:
    desk.tokens["eve"] = desk.person("eve", "approver")
    link = desk.link()
    fields = {**desk.open(link)[2], "answer": "refuse", "reason": "no"}
    body = {"grant": True, "meaning": "yes"}
    desk.call("POST", f"/api/v1/approvals/{desk.request['id']}/decision", body, who="eve")
    status, page = desk.send(fields)
    assert (status, "<form" in page, "granted" in page) == (409, False, True)
    status, page, _ = desk.open(link)
    assert (status, "<form" in page) == (200, False)
    assert desk.approval()["status"] == "granted"


def test_a_version_without_evidence_shows_its_metrics_beside_production_and_where_it_comes_from(
    desk: Desk, client: Client
) -> None:
    desk.call(
        "POST", f"/api/v1/approvals/{desk.request['id']}/decision", {"grant": True, "meaning": "yes"}, who="ravi"
    )
    desk.call(*desk.move, who="dana")
    metrics = {"auc": {"value": 0.7512, "low": 0.74, "high": 0.76}, "<b>": {"value": 2}, "system/cpu": {"value": 9}}
    commit = {"code_commit": "c0ffee", "code_dirty": True}
    version = {"model": "churn", "run_id": "r2", "files": [FILE], "metrics": metrics, **commit}
    desk.call("POST", "/api/v1/models/churn/versions", version, who="dana")
    desk.call(
        "POST", "/api/v1/approvals", {"model": "churn", "number": 2, "target": "stage/Production"}, who="dana"
    )
    (request,) = desk.call("GET", "/api/v1/approvals?status=requested")
    page = client.get(f"/approvals/{request['id']}").text
    for part in (
        "no gate or check has judged this version", "0.7512 (0.74 to 0.76)", "&lt;b&gt;", "churn@1, in production",
        '<a href="/runs/r2">r2</a>', "c0ffee with changes that were not committed", "headrace lineage churn@2",
    ):  # fmt: skip
        assert part in page, part
    assert "system/cpu" not in page


def test_nothing_is_chosen_for_anybody(desk: Desk) -> None:
    page = desk.open(desk.link())[1]
    assert "I have reviewed the evidence" in page
    assert "checked" not in page


def test_the_status_page_names_what_waits(desk: Desk, client: Client) -> None:
    shown = client.get("/").text
    assert f'<a href="/approvals/{desk.request["id"]}">churn@1 is to move to Production</a>' in shown
