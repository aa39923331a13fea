"""What a journal's lines say: each is one call of the person who logs, as it will be sent."""

from datetime import datetime

import msgspec

from headrace.tracking.nouns import CreateRun, DatasetInput, Reading, RunStatus


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """How a run began, in a file of its own beside the journal.

    Attributes:
        request: what creates the run; its id is made up by the client, so that it may be sent again.
        url: the platform that it was meant for; None when none was known.
        resumed: the run was there before, and goes on.
    """

    request: CreateRun
    url: str | None
    resumed: bool = False


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, in a file of its own too: it is sent when every line has arrived."""

    at: datetime
    status: RunStatus


class MetricsLogged(msgspec.Struct, frozen=True, tag="metrics", omit_defaults=True):
    """Values of some metrics at one step and time."""

    at: datetime
    step: int
    values: dict[str, Reading]


class ParamsLogged(msgspec.Struct, frozen=True, tag="params"):
    """Params, as text."""

    values: dict[str, str]


class TagsSet(msgspec.Struct, frozen=True, tag="tags"):
    """Tags, as text."""

    values: dict[str, str]


class DataRead(msgspec.Struct, frozen=True, tag="input"):
    """A dataset that the run read."""

    input: DatasetInput


class FileLogged(msgspec.Struct, frozen=True, tag="file"):
    """A file to upload.

    Attributes:
        path: what it will be called.
        source: where it lies: a name in the folder of copies, or an absolute path where no copy could be made.
        copied: whether `source` is a copy, to be deleted once it has arrived.
    """

    path: str
    source: str
    copied: bool


Record = MetricsLogged | ParamsLogged | TagsSet | DataRead | FileLogged
"""Any line of a journal."""
