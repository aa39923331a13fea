"""Training's HTTP door: bundles and training sets."""

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from headrace.kernel.access import Role
from headrace.kernel.database import Transactions
from headrace.training import bundles, register
from headrace.training.nouns import RegisterBundle, RegisteredBundle, RegisterTrainingSet, TrainingSetManifest

PageSize = Annotated[int, QueryParameter(ge=1, le=1_000)]


@post("/api/v1/bundles")
async def register_bundle(
    data: JSONBody[RegisterBundle], transactions: NamedDependency[Transactions]
) -> RegisteredBundle:
    """Register a bundle whose zip has been uploaded; safe to repeat."""
    return await transactions.write(lambda tx: bundles.register(tx, data))


@get("/api/v1/bundles/{digest:str}")
async def get_bundle(digest: FromPath[str], transactions: NamedDependency[Transactions]) -> RegisteredBundle:
    """A bundle: its files and the packages that it was locked to."""
    return await transactions.read(lambda tx: bundles.get(tx, digest))


@post("/api/v1/training-sets")
async def register_training_set(
    data: JSONBody[RegisterTrainingSet], transactions: NamedDependency[Transactions]
) -> TrainingSetManifest:
    """Register a training set whose file is stored; safe to repeat."""
    return await transactions.write(lambda tx: register.register_training_set(tx, data))


@get("/api/v1/training-sets")
async def list_training_sets(
    transactions: NamedDependency[Transactions], model: FromQuery[str | None] = None, limit: PageSize = 100
) -> tuple[TrainingSetManifest, ...]:
    """Training sets, newest first."""
    return await transactions.read(lambda tx: register.list_training_sets(tx, model=model, limit=limit))


@get("/api/v1/training-sets/{training_set_id:str}")
async def get_training_set(
    training_set_id: FromPath[str], transactions: NamedDependency[Transactions]
) -> TrainingSetManifest:
    """One training set: what is in it and what it was made from."""
    return await transactions.read(lambda tx: register.get_training_set(tx, training_set_id))


HANDLERS = [register_bundle, get_bundle, register_training_set, list_training_sets, get_training_set]

AUTHORIZATION = {
    "POST /api/v1/bundles": Role.DEVELOPER,
    "GET /api/v1/bundles/{digest}": Role.VIEWER,
    "POST /api/v1/training-sets": Role.DEVELOPER,
    "GET /api/v1/training-sets": Role.VIEWER,
    "GET /api/v1/training-sets/{training_set_id}": Role.VIEWER,
}
