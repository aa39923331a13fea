"""What is done on a home while nothing runs on it: the first admin of a platform that asks for logins."""

from collections.abc import Iterable

from headrace.errors import StartError
from headrace.kernel import access, migrate
from headrace.kernel.access import IssuedToken, Role
from headrace.kernel.database import Database, Tx
from headrace.kernel.settings import Settings
from headrace.server.home import hold_home


def add_principal(settings: Settings, name: str, roles: Iterable[Role]) -> IssuedToken:
    """Make a principal and its first token in the home's own database.

    Whoever may write that file may do this; it is recorded as done by the local caller.

    Raises:
        HomeLocked: the platform runs; then ask it.
        AlreadyExists: the name was given before.
    """
    wanted = tuple(roles)

    def add(tx: Tx) -> IssuedToken:
        access.create_principal(tx, name, wanted)
        return access.issue_token(tx, name)

    with hold_home(settings.home.resolve()):
        database = migrate.open_database(settings)
        try:
            return database.write(add, actor=access.LOCAL.id)
        finally:
            database.close()


def require_admin(database: Database, host: str) -> None:
    """Refuse to open a door to the network that nobody could close again.

    Raises:
        StartError: no admin has a token that is valid.
    """
    if not database.read(access.has_admin):
        raise StartError(
            "bound to the network, this platform asks for a login, and no admin has a token yet",
            where=host,
            fix="Make the first admin: headrace access add NAME --role admin --offline. Then start again.",
        )
