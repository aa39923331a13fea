"""A gateway process: the serving room's gateway, as the supervisor starts it."""

from headrace.kernel.settings import Settings
from headrace.serving.process import run_gateway


def run(settings: Settings, name: str, port: int) -> None:
    """Serve predictions on `port` until SIGTERM."""
    run_gateway(settings, name=name, port=port)
