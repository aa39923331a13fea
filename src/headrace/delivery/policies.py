"""Which policy a model is delivered by, and which project's code trains it."""

import msgspec

from headrace.delivery import tables
from headrace.delivery.nouns import ModelProject
from headrace.errors import Conflict
from headrace.kernel.database import Tx
from headrace.project.binding import stricter
from headrace.project.model import ModelDeclaration
from headrace.project.policy import DeliveryPolicy
from headrace.registry import models, stages


def of_model(tx: Tx, model: str) -> DeliveryPolicy:
    """The model's policy; one that no project declares has the open default: no gates, no approval, a canary.

    Raises:
        NotFound: there is no such model.
    """
    declaration = declaration_of(tx, model)
    return DeliveryPolicy(declared_at="default") if declaration is None else declaration.policy


def declaration_of(tx: Tx, model: str) -> ModelDeclaration | None:
    """The model as its project declares it; None when it came through another door."""
    known = models.get(tx, model).declaration
    return None if known is None else msgspec.convert(known, ModelDeclaration)


def binding(tx: Tx, model: str, declared: DeliveryPolicy) -> DeliveryPolicy:
    """What a release opened now is held to: the declared policy, nowhere looser than what was agreed on before.

    That is what the version in production was released by.
    """
    champion = stages.production(tx, model)
    before = None
    if champion is not None:
        before = tables.completed_release(tx, model, champion.number, champion.digest)
    return stricter(declared, None if before is None else before.declared or before.policy)


def project_of(tx: Tx, model: str) -> ModelProject:
    """The model's declaration with the project whose code trains it.

    Raises:
        NotFound: there is no such model.
        Conflict: no project declares it, or its project declares it no longer.
    """
    declaration = declaration_of(tx, model)
    project = tables.project_of_model(tx, model)
    if declaration is None or project is None or models.get(tx, model).archived:
        raise Conflict(
            f"no project declares model {model!r}, so there is no code to train it with",
            where=f"model/{model}",
            fix="Declare it with @hr.model and run `headrace apply`.",
        )
    return ModelProject(declaration=declaration, project=project)
