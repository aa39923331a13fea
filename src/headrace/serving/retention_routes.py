"""The HTTP door of retention and erasure."""

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from headrace.kernel import jobs
from headrace.kernel.access import Role
from headrace.kernel.database import Transactions
from headrace.kernel.jobs import Job
from headrace.serving import retention
from headrace.serving.retention_nouns import ALL_MODELS, DataClass, Erase, Keep, Rule


@get("/api/v1/retention")
async def list_retention(transactions: NamedDependency[Transactions]) -> list[Rule]:
    """How long each class of data is kept; what has no rule is kept for ever."""
    return await transactions.read(retention.rules)


@put("/api/v1/retention/{data_class:str}")
async def set_retention(
    data_class: FromPath[DataClass], data: JSONBody[Keep], transactions: NamedDependency[Transactions]
) -> Rule:
    """Say how long a class of data is kept, of all models or of one."""
    return await transactions.write(lambda tx: retention.keep(tx, data_class, data))


@delete("/api/v1/retention/{data_class:str}", status_code=204)
async def drop_retention(
    data_class: FromPath[DataClass],
    transactions: NamedDependency[Transactions],
    model: FromQuery[str] = ALL_MODELS,
) -> None:
    """Take a rule away: what it spoke of is kept for ever."""
    await transactions.write(lambda tx: retention.keep_for_ever(tx, data_class, model))


@post("/api/v1/retention/erasures", status_code=202)
async def erase_entity(data: JSONBody[Erase], transactions: NamedDependency[Transactions]) -> Job:
    """Have all predictions about an entity removed, with their labels and feedback."""
    return await transactions.write(lambda tx: jobs.get(tx, retention.erase(tx, data)))


HANDLERS = [list_retention, set_retention, drop_retention, erase_entity]

AUTHORIZATION = {
    "GET /api/v1/retention": Role.VIEWER,
    "PUT /api/v1/retention/{data_class}": Role.ADMIN,
    "DELETE /api/v1/retention/{data_class}": Role.ADMIN,
    "POST /api/v1/retention/erasures": Role.ADMIN,
}
