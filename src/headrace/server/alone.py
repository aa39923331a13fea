"""`headrace serve`: one model with all wire formats, in this process."""

from collections.abc import Callable

import uvloop

from headrace.server.gateway import DOORS
from headrace.serving.alone import serve_alone
from headrace.serving.model_files import ModelFiles
from headrace.serving.predictor import Predictor


def run(
    files: ModelFiles,
    *,
    model: str,
    number: int,
    host: str,
    port: int,
    token: str,
    began: Callable[[Predictor], None],
) -> None:
    """Serve until SIGTERM or SIGINT; see `serve_alone`."""
    uvloop.run(
        serve_alone(files, model=model, number=number, host=host, port=port, token=token, doors=DOORS, began=began)
    )
