"""Pages of plain HTML without scripts, each from a template; every value is escaped."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar.response import Response

TEMPLATES = Path(__file__).parent
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action "
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


def page(template: str, *, code: int = 200, posts: bool = False, **values: object) -> Response[str]:
    """The whole page.

    Args:
        template: its file.
        code: HTTP status of the answer.
        posts: whether it has a form. What it then sends says that it came from here, which the check of origins
            asks for; to anywhere else, and from any other page, nothing is said of where a reader was.
        values: what the template shows.
    """
    headers = {
        **HEADERS,
        "Content-Security-Policy": POLICY + ("'self'" if posts else "'none'"),
        "Referrer-Policy": "same-origin" if posts else "no-referrer",
    }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = environment.get_template(template).render(values)
    return Response(content, media_type="text/html", headers=headers, status_code=code)
