"""The page at `/`: what runs, what is in production, what waits."""

from litestar import get
from litestar.di import NamedDependency
from litestar.response import Response

from headrace.kernel.access import Role
from headrace.kernel.database import Transactions
from headrace.server.html import page
from headrace.server.status import read_status


@get("/", include_in_schema=False)
async def status_page(transactions: NamedDependency[Transactions]) -> Response[str]:
    """The platform at a glance."""
    return page("status.html", status=await transactions.read(read_status))


HANDLERS = [status_page]
AUTHORIZATION = {"GET /": Role.VIEWER}
