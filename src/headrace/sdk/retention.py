"""How long what was predicted is kept, as an admin says it from Python."""

from headrace.client.transport import Transport
from headrace.kernel.jobs import Job
from headrace.serving.retention_nouns import ALL_MODELS, Erase, Keep, Rule


class Retention:
    """Rules of retention on one platform, and erasure."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def rules(self) -> list[Rule]:
        """All rules; what has none is kept for ever."""
        return self._transport.call("GET", "/api/v1/retention", returns=list[Rule])

    def keep(self, data_class: str, duration: str, *, model: str = ALL_MODELS) -> Rule:
        """Keep a class of data (`predictions`, `feedback`, `labels`) for a duration such as `90d`.

        Raises:
            InvalidInput: there is no such class, or it is not a duration.
            PermissionRefused: only admins may.
        """
        path = f"/api/v1/retention/{data_class}"
        return self._transport.call("PUT", path, Keep(keep=duration, model=model), returns=Rule, repeatable=True)

    def keep_for_ever(self, data_class: str, *, model: str = ALL_MODELS) -> None:
        """Take a rule away.

        Raises:
            NotFound: there is none.
        """
        path = f"/api/v1/retention/{data_class}"
        self._transport.call("DELETE", path, returns=type(None), query={"model": model})

    def erase(self, key: str, value: str | int) -> Job:
        """Have all predictions about an entity removed, with their labels and feedback.

        Raises:
            PermissionRefused: only admins may.
        """
        body = Erase(key=key, value=value)
        return self._transport.call("POST", "/api/v1/retention/erasures", body, returns=Job)
