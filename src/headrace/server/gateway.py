"""A gateway process: the serving room's gateway with other people's wire formats, as the supervisor starts it."""

from collections.abc import Callable

from headrace.kernel.settings import Settings
from headrace.protocols.openinference.door import OpenInference
from headrace.serving.gateway.answering import Answering
from headrace.serving.gateway.process import run_gateway
from headrace.version import VERSION


def open_inference(answering: Answering, ready: Callable[[], bool]) -> OpenInference:
    """The door of the Open Inference Protocol."""
    return OpenInference(answering, ready=ready, version=VERSION)


DOORS = (open_inference,)
"""The wire formats beside that of `invocations`."""


def run(settings: Settings, name: str, port: int) -> None:
    """Serve predictions on `port` until SIGTERM."""
    run_gateway(settings, name=name, port=port, doors=DOORS)
