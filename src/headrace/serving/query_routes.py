"""The HTTP door of queries of the prediction log."""

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from headrace.kernel.access import Role
from headrace.kernel.database import Transactions
from headrace.serving import querying
from headrace.serving.query_nouns import Asked, Query


@post("/api/v1/predictions/queries", status_code=202)
async def ask_query(data: JSONBody[Query], transactions: NamedDependency[Transactions]) -> Asked:
    """Ask the prediction log and its feedback in SQL: one SELECT, answered by a worker."""
    return await transactions.write(lambda tx: querying.ask(tx, data))


@get("/api/v1/predictions/queries/{job_id:str}")
async def get_query(job_id: FromPath[str], transactions: NamedDependency[Transactions]) -> Asked:
    """How far a query is, and which blob holds its rows as Parquet."""
    return await transactions.read(lambda tx: querying.get(tx, job_id))


@delete("/api/v1/predictions/queries/{job_id:str}", status_code=204)
async def cancel_query(job_id: FromPath[str], transactions: NamedDependency[Transactions]) -> None:
    """Stop a query that one asked; nothing happens when it has ended."""
    await transactions.write(lambda tx: querying.cancel(tx, job_id))


HANDLERS = [ask_query, get_query, cancel_query]

AUTHORIZATION = {
    "POST /api/v1/predictions/queries": Role.VIEWER,
    "GET /api/v1/predictions/queries/{job_id}": Role.VIEWER,
    "DELETE /api/v1/predictions/queries/{job_id}": Role.VIEWER,
}
