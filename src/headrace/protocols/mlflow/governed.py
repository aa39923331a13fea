"""Stage moves from outside: an unmodified client is held to the model's delivery policy too."""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency

from headrace.errors import InvalidInput, PolicyRefused
from headrace.kernel import events
from headrace.kernel.access import Role
from headrace.kernel.database import Transactions, Tx
from headrace.protocols.mlflow import registered
from headrace.protocols.mlflow.decoding import decode
from headrace.protocols.mlflow.endpoints import encode, mounted
from headrace.protocols.mlflow.prefixes import both
from headrace.registry import models, stages, versions
from headrace.registry.nouns import Stage, Version

PATH = "mlflow/model-versions/transition-stage"


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """`model-versions/transition-stage`."""

    name: str
    version: str
    stage: str
    archive_existing_versions: bool = False


def transition(tx: Tx, request: Transition) -> Version:
    """Move a version to a stage.

    Raises:
        PolicyRefused: a project delivers this model, so only a release moves a version into or out of production.
        InvalidInput: others are to be archived from a stage that is not Staging or Production.
    """
    number, stage = registered.number_of(request.version), registered.stage_of(request.stage)
    if request.archive_existing_versions and stage not in {Stage.STAGING, Stage.PRODUCTION}:
        raise InvalidInput(
            f"Model version transition cannot archive existing model versions because '{stage.value}' is not an"
            " Active stage. Valid stages are Staging, Production",
            where="archive_existing_versions",
        )
    before = versions.get(tx, request.name, number)
    if _delivered(tx, request.name) and Stage.PRODUCTION in {stage, before.stage} and stage is not before.stage:
        raise PolicyRefused(
            f"model {request.name!r} is delivered by its project: only a release moves a version into or out of"
            " Production, through its gates and its approval.",
            where=f"version/{request.name}/{number}",
            fix=f"Start one with: headrace release {request.name} {number}",
        )
    return stages.transition(
        tx,
        request.name,
        number,
        stage,
        "asked for by an MLflow client",
        archive_existing=request.archive_existing_versions,
    )


def record_refusal(tx: Tx, request: Transition, refusal: PolicyRefused) -> None:
    """Keep the attempt in the audit trail; in a transaction of its own, since the attempt's was rolled back."""
    events.append(
        tx,
        "registry.stage_change_refused",
        f"version/{request.name}/{request.version}",
        {"model": request.name, "number": request.version, "stage": request.stage, "reason": refusal.message},
    )


async def transition_stage(
    request: Request[Any, Any, Any], transactions: NamedDependency[Transactions]
) -> Response[bytes]:
    """Move a version to a stage; an attempt that is refused is recorded first."""
    wanted = await decode(request, Transition)
    try:
        return encode(await transactions.write(lambda tx: registered.encode_version(tx, transition(tx, wanted))))
    except PolicyRefused as error:
        refusal = error
    await transactions.write(lambda tx: record_refusal(tx, wanted, refusal))
    raise refusal


def _delivered(tx: Tx, name: str) -> bool:
    return models.get(tx, name).declaration is not None


HANDLERS = [mounted("POST", both(PATH))(transition_stage)]
AUTHORIZATION = {f"POST {path}": Role.DEVELOPER for path in both(PATH)}
