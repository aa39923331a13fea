"""The page at `/`: what runs, what is in production, what waits, in plain HTML without scripts."""

from litestar import get
from litestar.di import NamedDependency
from litestar.response import Response

from headrace.kernel.access import Role
from headrace.kernel.database import Transactions
from headrace.server.status import read_status
from headrace.server.status_html import render


@get("/", include_in_schema=False)
async def status_page(transactions: NamedDependency[Transactions]) -> Response[str]:
    """The platform at a glance."""
    status = await transactions.read(read_status)
    return Response(
        render(status),
        media_type="text/html",
        headers={
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        },
    )


HANDLERS = [status_page]
AUTHORIZATION = {"GET /": Role.VIEWER}
