"""A temporary platform for tests: real processes on free ports, gone at the end."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.sdk.connect import connect
from headrace.sdk.platform import Platform
from headrace.server.launch import PROGRAM, Launched, launched


@dataclass(frozen=True, kw_only=True)
class TemporaryPlatform:
    """A running platform, a connection to it as the local caller, and what to close at its end."""

    launched: Launched
    local: Platform
    connections: ExitStack

    @property
    def url(self) -> str:
        """Control's address."""
        return self.launched.endpoint.url

    @property
    def gateway_url(self) -> str:
        """The first gateway's address."""
        return self.launched.endpoint.gateways[0]

    def person(self, name: str, *roles: str) -> Platform:
        """A new principal with a token, connected."""
        self.local.access.add(name, roles)
        token = self.local.access.issue_token(name).secret
        return self.connections.enter_context(closing(connect(self.url, token=token, home=self.launched.home)))


@contextmanager
def temporary_platform(
    home: Path, environment: Mapping[str, str] | None = None, *, program: tuple[str, ...] = PROGRAM
) -> Iterator[TemporaryPlatform]:
    """Start a platform on `home`, and stop it at the end of the block; `program` as in `launched`."""
    with launched(home, environment=environment, program=program) as running, ExitStack() as connections:
        local = connections.enter_context(closing(connect(running.endpoint.url, home=home)))
        yield TemporaryPlatform(launched=running, local=local, connections=connections)
