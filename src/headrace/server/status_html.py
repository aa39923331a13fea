"""The status page's HTML, from one template; every value is escaped."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from headrace.server.status import Status

TEMPLATES = Path(__file__).parent


def render(status: Status) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("status.html").render(status=status)
