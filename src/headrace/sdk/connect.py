"""Finding the platform: an address given, set in the environment, or written into the home by `headrace up`."""

from pathlib import Path

from headrace.client.transport import Transport, retry_quietly
from headrace.errors import Unavailable
from headrace.kernel.settings import Settings, load_settings, read_endpoint
from headrace.sdk.platform import Platform


def connect(url: str | None = None, *, token: str | None = None, home: Path | None = None) -> Platform:
    """Connect to a platform.

    Args:
        url: its address; otherwise HEADRACE_URL, otherwise what runs on `home`.
        token: bearer token; otherwise HEADRACE_TOKEN.
        home: folder of a platform on this machine; otherwise HEADRACE_HOME, otherwise `.headrace`.

    Raises:
        Unavailable: no address is given and nothing runs on the home.
    """
    retry_quietly()
    settings = load_settings(url=url, token=token, home=home)
    address = find_address(settings)
    if address is None:
        raise Unavailable(
            "no platform runs here",
            where=str(settings.home),
            fix="Start one with `headrace up`, or set HEADRACE_URL to where one runs.",
        )
    return Platform(Transport(address, settings.token))


def find_address(settings: Settings) -> str | None:
    """The address that is set, or that of the platform that runs on the home; None when there is none."""
    if settings.url:
        return settings.url
    endpoint = read_endpoint(settings.home)
    return None if endpoint is None else endpoint.url
