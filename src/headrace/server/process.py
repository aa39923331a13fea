"""Entry point of every supervised process: `python -m headrace.server.process NAME PORT`."""

import gc
import importlib
import sys

from headrace.errors import HeadraceError
from headrace.kernel.secrecy import keep_secrets
from headrace.kernel.settings import load_settings
from headrace.server.logs import configure_logging

MODULES = {
    "control": "headrace.server.control",
    "gateway": "headrace.server.gateway",
    "worker": "headrace.server.worker",
}


def main(name: str, port: int) -> int:
    """Run one process until it is told to end; the name's first word says which kind."""
    keep_secrets()
    settings = load_settings()
    configure_logging(settings.log_level, name)
    module = importlib.import_module(MODULES[name.partition("-")[0]])  # only what this kind of process needs
    # A page of a thousand runs is tens of thousands of objects that live for a moment: looking through all that
    # the process has for garbage in the middle of it would take longer than the page.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    try:
        module.run(settings, name, port)
    except HeadraceError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
