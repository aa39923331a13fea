"""Starts a model host in any Python: this file is run by its path, and makes this very headrace importable there.

The other Python has its model's libraries and no headrace, and must not see what else is installed beside ours.
"""

import importlib.util
import sys
from pathlib import Path


def make_importable(root: Path) -> None:
    """Let `import headrace` find the package at `root`, and nothing else that lies beside it."""
    spec = importlib.util.spec_from_file_location(
        "headrace", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["headrace"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    make_importable(Path(__file__).resolve().parents[2])
    hosting = importlib.import_module("headrace.serving.runtimes.hosting")
    hosting.main()
