"""A host runs in whatever Python its model needs: what it runs must ask for nothing else."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from headrace.serving.runtimes import start

OLDEST = (3, 10)
ALLOWED = {"numpy"}


def test_a_host_imports_the_standard_library_and_numpy_alone() -> None:
    program = (
        f"import runpy, sys, json; names = runpy.run_path({start.__file__!r}, run_name='started');"
        f"names['make_importable'](__import__('pathlib').Path({start.__file__!r}).parents[2]);"
        "import headrace.serving.runtimes.hosting;"
        "print(json.dumps([[name, getattr(module, '__file__', None)] for name, module in sys.modules.items()]))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", _with_numpy(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = json.loads(done.stdout)
    foreign = {
        name.partition(".")[0]
        for name, file in imported
        if file is not None and "site-packages" in Path(file).parts
    }
    assert foreign <= ALLOWED
    assert any(name == "headrace.serving.runtimes.onnx_models" for name, _ in imported)


def test_a_host_may_run_the_oldest_python_that_is_promised() -> None:
    root = Path(start.__file__).parents[2]
    serving = root / "serving"
    code = [*(serving / "runtimes").glob("*.py"), root / "errors.py", serving / "forms" / "inputs.py"]
    assert len(code) > 10
    for path in code:
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=OLDEST)


def _with_numpy(program: str) -> str:
    """Without `site`, only numpy's own folder can be found beside the standard library."""
    numpy = Path(np.__file__).parent
    finder = (
        "import importlib.util, sys;"
        f"spec = importlib.util.spec_from_file_location('numpy', {str(numpy / '__init__.py')!r},"
        f" submodule_search_locations=[{str(numpy)!r}]);"
        "module = importlib.util.module_from_spec(spec); sys.modules['numpy'] = module;"
        "spec.loader.exec_module(module);"
    )
    return finder + program
