"""Telling what kind of source an address names."""

from pathlib import Path

from headrace.client.addresses import without_login
from headrace.errors import InvalidInput
from headrace.protocols.mlflow.importing.connections import connect, sqlite_path
from headrace.protocols.mlflow.importing.database import DatabaseSource
from headrace.protocols.mlflow.importing.file_store import FileStoreSource
from headrace.protocols.mlflow.importing.server import ServerSource
from headrace.protocols.mlflow.importing.source import Source


def open_source(address: str, *, artifact_root: Path | None = None, token: str = "") -> Source:
    """Open what an import reads from.

    Args:
        address: an `mlruns` folder, a SQLite file, `sqlite:///…`, `postgresql://…`, or the `http(s)://` address of
            a running server, with `user:password@` where it asks for that.
        artifact_root: where a server whose database is read kept the files of `mlflow-artifacts:` addresses;
            otherwise the folder `mlartifacts` beside a SQLite file.
        token: bearer token of a running server.

    Raises:
        InvalidInput: there is nothing of MLflow at the address.
        Unavailable: the server or the database does not answer.
    """
    if address.startswith(("http://", "https://")):
        return ServerSource(address, token=token)
    if address.startswith(("sqlite", "postgres")) and "://" in address:
        base = sqlite_path(address).parent if address.startswith("sqlite") else Path()
        return DatabaseSource(connect(address), base=base, proxied=artifact_root or base / "mlartifacts")
    path = Path(address.removeprefix("file://"))
    if "://" in address and not address.startswith("file://"):
        raise InvalidInput(
            "this kind of database is not read",
            where=without_login(address),
            fix="Start an MLflow server on it, and give its http:// address.",
        )
    if path.is_dir():
        inner = path / "mlruns"
        return FileStoreSource(inner if inner.is_dir() and not (path / "0").is_dir() else path)
    proxied = artifact_root or path.parent / "mlartifacts"
    return DatabaseSource(connect(str(path)), base=path.parent, proxied=proxied)
