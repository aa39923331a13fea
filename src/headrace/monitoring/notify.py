"""Delivering an alert's message to a channel: the runner of the job `monitoring.notify`.

Work-side. Apprise speaks to the services; this decides what it may speak to. Only schemes that are known to send a
message and nothing else are allowed, and only hosts on the public network, so that a channel cannot be turned
against the machines behind the firewall. An address is a secret: neither logs nor errors repeat it.
"""

import ipaddress
import socket
from urllib.parse import parse_qsl, urlsplit

import apprise

from headrace.errors import InvalidInput, PolicyRefused, Unavailable
from headrace.kernel.work import WorkContext
from headrace.monitoring.nouns import Delivered, Notification

HOSTED_SCHEMES = frozenset(
    {"discord", "gchat", "opsgenie", "pagerduty", "slack", "splunk", "tgram", "victorops", "webex", "wxteams"}
)
"""Services whose host Apprise knows; the rest of the address holds the credentials."""

NAMED_HOST_SCHEMES = frozenset({"json", "jsons", "mmost", "mmosts", "workflow", "workflows"})
"""Services whose host stands in the address."""

UNSAFE_PARAMETERS = frozenset(
    {"attach", "blocks", "host", "proxy", "redirect", "smtp", "template", "url", "verify"}
)
"""Query parameters that would change the host, skip the checks or read files."""

_ADDRESS_HELP = "Write it as Apprise does, for example slack://TokenA/TokenB/TokenC or jsons://host/path."


def run_notification(ctx: WorkContext, message: Notification) -> Delivered:
    """Deliver one message.

    Raises:
        InvalidInput: no such channel, or its address cannot be read.
        PolicyRefused: the address is not allowed.
        Unavailable: the service did not take the message; it is tried again.
    """
    address = ctx.settings.channels.get(message.channel)
    if address is None:
        raise InvalidInput(
            f"no channel named {message.channel!r} is set up",
            where="alerts",
            fix=f"Add {message.channel}=<URL> to HEADRACE_ALERT_CHANNELS and start the platform again.",
        )
    service = open_channel(message.channel, address, allow_loopback=ctx.settings.alerts_allow_loopback)
    kind = apprise.NotifyType.SUCCESS if message.transition == "closed" else apprise.NotifyType.WARNING
    text, kept_at = message.text, ctx.settings.public_url.rstrip("/")
    if kept_at and message.subject.startswith("approval/"):
        text = f"{text}\n{kept_at}/approvals/{message.subject.removeprefix('approval/')}"
    if not service.notify(title=message.title, body=text, notify_type=kind):
        raise Unavailable("the service did not take the message", where=message.channel, fix="It is tried again.")
    return Delivered(channel=message.channel)


def open_channel(channel: str, address: str, *, allow_loopback: bool) -> apprise.NotifyBase:
    """The service behind an address, if it is plainly a message to a service on the public network.

    Args:
        channel: its name, for the errors.
        address: an Apprise URL.
        allow_loopback: lets it name this machine, for tests and demonstrations.

    Raises:
        PolicyRefused: the scheme, a parameter or the host is not allowed.
        InvalidInput: the address cannot be read.
        Unavailable: the host's name does not resolve now.
    """
    scheme = address.partition("://")[0].lower()
    if scheme not in HOSTED_SCHEMES | NAMED_HOST_SCHEMES:
        allowed = ", ".join(sorted(HOSTED_SCHEMES | NAMED_HOST_SCHEMES))
        raise PolicyRefused("the channel is not of an allowed kind", where=channel, fix=f"Use one of {allowed}.")
    names = {name.lower().lstrip("+-: ") for name, _ in parse_qsl(urlsplit(address).query, keep_blank_values=True)}
    unsafe = sorted(names & UNSAFE_PARAMETERS)
    if unsafe:
        raise PolicyRefused(
            f"the parameter {unsafe[0]!r} is not allowed in a channel", where=channel, fix="Take it out."
        )
    # A redirect could lead to a host that was not looked at.
    closed = f"{address}{'&' if '?' in address else '?'}redirect=no"
    service = apprise.Apprise.instantiate(closed, suppress_exceptions=True)
    if not isinstance(service, apprise.NotifyBase) or service.redirects:
        raise InvalidInput("the channel's address cannot be read", where=channel, fix=_ADDRESS_HELP)
    if scheme in NAMED_HOST_SCHEMES:
        _require_public(channel, str(service.host).strip("[]"), allow_loopback=allow_loopback)
    return service


def _require_public(channel: str, host: str, *, allow_loopback: bool) -> None:
    for address in _addresses(channel, host):
        if address.is_loopback:
            if allow_loopback:
                continue
            fix = "Set HEADRACE_ALERTS_ALLOW_LOOPBACK=true for a receiver on this machine."
        elif address.is_global and not address.is_multicast:
            continue
        else:
            fix = "Use a service that can be reached from outside."
        raise PolicyRefused("the channel's host is not on the public network", where=channel, fix=fix)


def _addresses(channel: str, host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unavailable("the channel's host is not known now", where=channel, fix="It is tried again.") from error
    found = [ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]
    return [getattr(address, "ipv4_mapped", None) or address for address in found]
