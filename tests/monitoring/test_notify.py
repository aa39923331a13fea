"""Messages reach an allowed receiver, and nothing else can be reached."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from headrace.errors import InvalidInput, PolicyRefused, Unavailable
from headrace.monitoring.notify import open_channel, run_notification
from headrace.monitoring.nouns import Notification

# Apprise loads all its services at the first use, and one of them imports imghdr.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

MESSAGE = Notification(
    alert_id="alert_1", transition="opened", channel="ops", title="churn: drift alarm", text="it moved"
)


class Receiver(ThreadingHTTPServer):
    """A webhook receiver on this machine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[dict[str, Any]] = []
        self.status = 200


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(msgspec.json.decode(body))
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def context(bench: Any, receiver: Receiver, *, allow: bool = True, **settings: str) -> Any:
    channels = f"ops=json://127.0.0.1:{receiver.server_port}/alerts"
    return bench.context(alert_channels=channels, alerts_allow_loopback=allow, **settings)


def test_a_message_about_a_request_names_its_page_where_others_reach_the_platform(
    bench: Any, receiver: Receiver
) -> None:
    message = msgspec.structs.replace(MESSAGE, alert_id="approval/apr_1", subject="approval/apr_1")
    run_notification(context(bench, receiver), message)
    run_notification(context(bench, receiver, public_url="https://headrace.example/"), message)
    assert [each["message"] for each in receiver.received] == [
        "it moved",
        "it moved\nhttps://headrace.example/approvals/apr_1",
    ]


@pytest.mark.parametrize(("transition", "kind"), [("opened", "warning"), ("closed", "success")])
def test_a_webhook_gets_title_and_text(bench: Any, receiver: Receiver, transition: str, kind: str) -> None:
    message = msgspec.structs.replace(MESSAGE, transition=transition)
    assert run_notification(context(bench, receiver), message).channel == "ops"
    (received,) = receiver.received
    assert (received["title"], received["message"], received["type"]) == ("churn: drift alarm", "it moved", kind)


def test_a_receiver_that_fails_is_tried_again(bench: Any, receiver: Receiver) -> None:
    receiver.status = 503
    with pytest.raises(Unavailable, match="did not take"):
        run_notification(context(bench, receiver), MESSAGE)


def test_a_redirect_is_not_followed(bench: Any, receiver: Receiver) -> None:
    receiver.status = 302
    with pytest.raises(Unavailable):
        run_notification(context(bench, receiver), MESSAGE)
    assert len(receiver.received) == 1


def test_loopback_takes_the_explicit_setting(bench: Any, receiver: Receiver) -> None:
    with pytest.raises(PolicyRefused) as refused:
        run_notification(context(bench, receiver, allow=False), MESSAGE)
    assert "HEADRACE_ALERTS_ALLOW_LOOPBACK" in str(refused.value)
    assert receiver.received == []


def test_an_unknown_channel_says_where_to_add_it(bench: Any) -> None:
    with pytest.raises(InvalidInput, match="no channel named 'ops'") as refused:
        run_notification(bench.context(), MESSAGE)
    assert "HEADRACE_ALERT_CHANNELS" in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "json://127.0.0.1:9/x",
        "json://localhost/x",
        "json://[::1]/x",
        "json://[::ffff:127.0.0.1]/x",
        "json://2130706433/x",
        "json://0.0.0.0/x",
        "json://10.1.2.3/x",
        "json://192.168.1.1/x",
        "json://169.254.169.254/latest/meta-data",
        "json://100.64.0.1/x",
        "json://[fd00::1]/x",
        "json://8.8.8.8\\@127.0.0.1/x",
        "jsons://10.1.2.3/x",
        "mmost://10.1.2.3/abcdefgh12345678abcdefgh12",
    ],
)
def test_hosts_off_the_public_network_are_refused(address: str) -> None:
    with pytest.raises(PolicyRefused, match="public network"):
        open_channel("ops", address, allow_loopback=False)


@pytest.mark.parametrize("address", ["json://10.1.2.3/x", "json://169.254.169.254/x"])
def test_the_loopback_setting_opens_loopback_only(address: str) -> None:
    with pytest.raises(PolicyRefused):
        open_channel("ops", address, allow_loopback=True)


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/x",
        "file:///etc/passwd",
        "syslog://",
        "dbus://",
        "mailto://user:secret@example.org",
        "nothing at all",
        "",
    ],
)
def test_other_schemes_are_refused(address: str) -> None:
    with pytest.raises(PolicyRefused, match="allowed kind") as refused:
        open_channel("ops", address, allow_loopback=True)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "parameter", ["redirect=yes", "verify=no", "REDIRECT=yes", "%72edirect=yes", "-url=x", "template=/etc/passwd"]
)
def test_parameters_that_loosen_the_checks_are_refused(parameter: str) -> None:
    with pytest.raises(PolicyRefused, match="parameter"):
        open_channel("ops", f"json://127.0.0.1/x?{parameter}", allow_loopback=True)


def test_services_with_a_host_of_their_own_are_taken() -> None:
    service = open_channel("ops", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", allow_loopback=False)
    assert service.redirects is False


@pytest.mark.parametrize("address", ["slack://x", "json://", "workflows://host.example"])
def test_an_address_that_cannot_be_read_is_invalid(address: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        open_channel("ops", address, allow_loopback=True)


def test_a_host_that_does_not_resolve_is_tried_again() -> None:
    with pytest.raises(Unavailable, match="not known"):
        open_channel("ops", "json://nowhere.invalid/x", allow_loopback=False)
