"""The records of registered models that come from another server, and what is here of them."""

from typing import Any

import msgspec

from headrace.kernel.clocks import Moment
from headrace.registry.nouns import Alias, Model, ModelFile, Stage, Version


class ImportVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a model of another server, under its own number.

    Attributes:
        owner: whose files here it is made of, `run/<id>` or `logged-model/<id>`; None when `files` says it.
        folder: below which of the owner's folders they are; empty for all of them.
        files: what it is made of when no owner is given. It may have none: then it cannot be served.
        user: who registered it, as the other server says.
    """

    number: int
    source: str = ""
    run_id: str | None = None
    owner: str | None = None
    folder: str = ""
    files: tuple[ModelFile, ...] = ()
    stage: Stage = Stage.NONE
    description: str = ""
    tags: dict[str, str] = {}
    signature: dict[str, Any] | None = None
    user: str = ""
    created_at: Moment
    updated_at: Moment


class ImportModel(msgspec.Struct, frozen=True, kw_only=True):
    """A registered model of another server.

    Attributes:
        aliases: numbers of versions by alias.
    """

    name: str
    description: str = ""
    tags: dict[str, str] = {}
    created_at: Moment
    updated_at: Moment
    versions: tuple[ImportVersion, ...] = ()
    aliases: dict[str, int] = {}


class ModelName(msgspec.Struct, frozen=True, kw_only=True):
    """Which model to look for."""

    name: str


class ModelHere(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is here, with all of its versions by number; None for one that is not.

    Attributes:
        refused: what could not be taken in, a line each.
    """

    model: Model | None = None
    versions: tuple[Version, ...] = ()
    aliases: tuple[Alias, ...] = ()
    refused: tuple[str, ...] = ()
