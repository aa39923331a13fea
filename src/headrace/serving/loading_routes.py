"""The HTTP door of loading: what is allowed for a version, and what was prepared."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from headrace.kernel import jobs
from headrace.kernel.access import Role
from headrace.kernel.database import Transactions
from headrace.kernel.jobs import Job
from headrace.serving import allowances, preparing
from headrace.serving.loading_nouns import Allow, Allowance, Forbid, VersionLoading

VERSION = "/api/v1/models/{name:str}/versions/{number:int}"


@get(f"{VERSION}/loading")
async def get_loading(
    name: FromPath[str], number: FromPath[int], transactions: NamedDependency[Transactions]
) -> VersionLoading:
    """What is decided about loading a version."""
    return await transactions.read(lambda tx: preparing.of_version(tx, name, number))


@post(f"{VERSION}/loading/allowance", status_code=200)
async def allow_loading(
    name: FromPath[str],
    number: FromPath[int],
    data: JSONBody[Allow],
    transactions: NamedDependency[Transactions],
) -> Allowance:
    """Allow a version to run code when it is loaded, or to build types that nobody reviewed."""
    return await transactions.write(lambda tx: allowances.allow(tx, name, number, data))


@post(f"{VERSION}/loading/refusal", status_code=204)
async def forbid_loading(
    name: FromPath[str],
    number: FromPath[int],
    data: JSONBody[Forbid],
    transactions: NamedDependency[Transactions],
) -> None:
    """Take back what was allowed for a version."""
    await transactions.write(lambda tx: allowances.forbid(tx, name, number, data))


@post(f"{VERSION}/loading/preparation", status_code=202)
async def prepare_version(
    name: FromPath[str], number: FromPath[int], transactions: NamedDependency[Transactions]
) -> Job:
    """Have a worker build a version's environment, where it needs one, and look for a faster form."""
    return await transactions.write(lambda tx: jobs.get(tx, preparing.ask(tx, name, number)))


HANDLERS = [get_loading, allow_loading, forbid_loading, prepare_version]

AUTHORIZATION = {
    "GET /api/v1/models/{name}/versions/{number}/loading": Role.VIEWER,
    "POST /api/v1/models/{name}/versions/{number}/loading/allowance": Role.APPROVER,
    "POST /api/v1/models/{name}/versions/{number}/loading/refusal": Role.APPROVER,
    "POST /api/v1/models/{name}/versions/{number}/loading/preparation": Role.DEVELOPER,
}
