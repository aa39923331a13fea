"""Finding the platform: an address given, set in the environment, or written into the home by `headrace up`."""

from pathlib import Path

from headrace.client.transport import Transport, retry_quietly
from headrace.errors import Unavailable
from headrace.kernel.settings import load_settings, read_endpoint
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
    address = settings.url
    if not address:
        endpoint = read_endpoint(settings.home)
        if endpoint is None:
            raise Unavailable(
                "no platform runs here",
                where=str(settings.home),
                fix="Start one with `headrace up`, or set HEADRACE_URL to where one runs.",
            )
        address = endpoint.url
    return Platform(Transport(address, settings.token))
