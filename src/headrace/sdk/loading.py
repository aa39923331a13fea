"""How versions are loaded, for people: what is allowed for one, and what a worker made ready."""

from collections.abc import Sequence

from headrace.client.transport import Transport
from headrace.kernel.jobs import Job
from headrace.serving.loading_nouns import Allow, Allowance, Forbid, VersionLoading


class Loading:
    """The calls on `/api/v1/models/<name>/versions/<number>/loading`; thread-safe."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def of(self, model: str, number: int) -> VersionLoading:
        """What is decided about loading a version."""
        return self._transport.call("GET", _path(model, number), returns=VersionLoading)

    def allow(
        self, model: str, number: int, *, reason: str, code: bool = False, types: Sequence[str] = ()
    ) -> Allowance:
        """Let a version run code when it is loaded, or build types that nobody reviewed.

        Raises:
            PermissionRefused: the caller is no approver.
            InvalidInput: there is no reason, or nothing is allowed.
        """
        asked = Allow(reason=reason, code=code, types=tuple(types))
        return self._transport.call(
            "POST", f"{_path(model, number)}/allowance", asked, returns=Allowance, repeatable=True
        )

    def forbid(self, model: str, number: int, *, reason: str) -> None:
        """Take back all that was allowed for a version.

        Raises:
            NotFound: nothing was.
        """
        self._transport.call("POST", f"{_path(model, number)}/refusal", Forbid(reason=reason), returns=type(None))

    def prepare(self, model: str, number: int) -> Job:
        """Have a worker build the version's environment, where it needs one, and look for a faster form."""
        return self._transport.call("POST", f"{_path(model, number)}/preparation", returns=Job)


def _path(model: str, number: int) -> str:
    return f"/api/v1/models/{model}/versions/{number}/loading"
