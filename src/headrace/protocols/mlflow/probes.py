"""What clients ask before they log: which version this is, and what it can do."""

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from headrace.kernel.access import Role
from headrace.kernel.settings import Settings
from headrace.protocols.mlflow.endpoints import encode, mounted
from headrace.protocols.mlflow.prefixes import both

# The newest version to which clients send no spans: from 3.4 on they post OpenTelemetry protobuf to /v1/traces,
# which is not served, and every traced call would fail there instead of going on without traces.
MLFLOW_VERSION = "3.3.2"
SERVER_INFO = both("mlflow/server-info", version="3.0")


@get("/version", media_type="text/plain", sync_to_thread=False, include_in_schema=False)
def version() -> str:
    """The version of MLflow's protocol that this server speaks, as bare text."""
    return MLFLOW_VERSION


async def server_info(settings: NamedDependency[SkipValidation[Settings]]) -> Response[bytes]:
    """What is there beyond the basic protocol.

    Downloads past this server are worth a client's second request only where an object store answers them.
    """
    return encode(
        {
            "store_type": "SqlStore",
            "workspaces_enabled": False,
            "trace_archival_enabled": False,
            "multipart_uploads_enabled": True,
            "multipart_downloads_enabled": bool(settings.blobs),
            "presigned_upload_run_id_supported": True,
            "presigned_upload_model_id_supported": True,
            "features_enabled": {},
        }
    )


HANDLERS = [version, mounted("GET", SERVER_INFO)(server_info)]
AUTHORIZATION: dict[str, Role | None] = {
    "GET /version": None,
    **{f"GET {path}": Role.VIEWER for path in SERVER_INFO},
}
