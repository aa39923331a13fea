"""`headrace serve`: one model with all wire formats, in this process."""

from collections.abc import Callable

import uvloop

from headrace.kernel.settings import Settings
from headrace.server.gateway import DOORS
from headrace.server.logs import configure_logging
from headrace.serving.gateway.alone import serve_alone
from headrace.serving.loading.environments import Environments
from headrace.serving.loading.predictor import Predictor
from headrace.serving.runtimes.files import ModelFiles


def run(
    files: ModelFiles,
    *,
    model: str,
    number: int,
    host: str,
    port: int,
    settings: Settings,
    environments: Environments,
    allow_code: bool,
    began: Callable[[Predictor], None],
) -> None:
    """Serve until SIGTERM or SIGINT; see `serve_alone`."""
    configure_logging(settings.log_level, "serve")  # not structlog's own way, which shows what callers sent
    uvloop.run(
        serve_alone(
            files,
            model=model,
            number=number,
            host=host,
            port=port,
            token=settings.token,
            limits=settings,
            environments=environments,
            allow_code=allow_code,
            doors=DOORS,
            began=began,
        )
    )
