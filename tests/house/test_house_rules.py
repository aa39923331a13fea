"""The house rules that a machine can judge; ruff, mypy and import-linter judge the rest."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "headrace"
FILE_LINES = 600
FUNCTION_LINES = 80

STARTS_THREADS_OR_PROCESSES = {
    "server/": "the processes, their loops and the supervisor",
    "testing/": "starts a temporary platform",
    "kernel/writer.py": "the one way in for changes of the database",
    "training/executor.py": "the executor seam",
    "serving/": "a gateway's own followers and log; model hosts and readers of bodies, which are subprocesses",
    "sdk/": "a run's delivery and its system metrics in the background; asks git",
    "cli/": "starts `up` in a process of its own for the demo",
}
STARTERS = {
    "threading.Thread",
    "threading.Timer",
    "concurrent.futures.ThreadPoolExecutor",
    "concurrent.futures.ProcessPoolExecutor",
    "subprocess.Popen",
    "subprocess.run",
    "subprocess.call",
    "subprocess.check_call",
    "subprocess.check_output",
    "multiprocessing.Process",
    "multiprocessing.Pool",
    "asyncio.create_subprocess_exec",
    "asyncio.create_subprocess_shell",
    "asyncio.run",
    "os.fork",
    "os.system",
    "os.posix_spawn",
}
READS_ENVIRONMENT = {"kernel/settings.py"}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.putenv"}
TELLS_TIME = (
    "kernel/clocks.py",
    "server/",
    "cli/",
    "client/",
    "sdk/",
    "testing/",
    "serving/gateway/prediction_log.py",
)
TIME = {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today", "time.time", "time.time_ns"}

HOME_FOLDERS = ["/ro" + "ot/", "/Us" + "ers/"]  # in halves, so that this file passes too
NAMES_A_REGISTRY = ("://", "--index-url", "--extra-index-url", "--find-links", "--trusted-host")
TEXT = {".py", ".toml", ".md", ".txt", ".in", ".yml", ".yaml", ".json", ".html", ".css", ".js", ".cfg", ".ini"}


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def code() -> list[Path]:
    """All that people write; migrations are written by Alembic."""
    written = [path for path in sources() if not name(path).startswith("kernel/migrations/versions/")]
    return written + [path for folder in ("tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


def name(path: Path) -> str:
    return path.relative_to(SOURCE if path.is_relative_to(SOURCE) else ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported_names(module: ast.Module) -> dict[str, str]:
    """Local name -> full name of everything that the module imports."""
    names: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def used_names(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of every imported thing that the module uses."""
    names = imported_names(tree(path))
    for node in ast.walk(tree(path)):
        parts: list[str] = []
        inner: ast.expr | None = node if isinstance(node, ast.Attribute | ast.Name) else None
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in names:
            yield inner.lineno, ".".join([names[inner.id], *reversed(parts)])


def uses(path: Path, wanted: set[str]) -> list[str]:
    return [f"{name(path)}:{line} {used}" for line, used in used_names(path) if used in wanted]


def committed_text() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0:
        paths = [ROOT / line for line in listed.stdout.decode().split("\0") if line]
    else:
        paths = [path for path in ROOT.rglob("*") if not any(part.startswith(".venv") for part in path.parts)]
    plain = {"Makefile", "LICENSE", "run", ".gitignore"}
    return [path for path in paths if path.is_file() and (path.suffix in TEXT or path.name in plain)]


def test_files_are_short() -> None:
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in code()}
    assert not {path: length for path, length in lengths.items() if length > FILE_LINES}


def test_functions_are_short() -> None:
    long = [
        f"{name(path)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in code()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    ]
    assert not long


def test_modules_open_with_the_reason_that_they_exist() -> None:
    silent = [
        name(path)
        for path in sources()
        if path.name != "__init__.py" and len((ast.get_docstring(tree(path)) or "").split()) < 3
    ]
    assert not silent


def test_package_inits_are_empty() -> None:
    inits = [path for path in sources() if path.name == "__init__.py" and path.parent != SOURCE]
    assert inits
    assert not [name(path) for path in inits if path.read_text(encoding="utf-8").strip()]


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in sources()}
    assert not [name(folder) for folder in folders if not (folder / "__init__.py").exists()]


def test_functions_import_nothing_of_headrace() -> None:
    """An import inside a function hides a cycle; only the CLI and the package's face load late on purpose."""
    hidden = []
    for path in sources():
        if name(path).startswith("cli/") or path == SOURCE / "__init__.py":
            continue
        for function in ast.walk(tree(path)):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    modules = [node.module or ""]
                else:
                    continue
                hidden += [f"{name(path)}:{node.lineno} {m}" for m in modules if m.partition(".")[0] == "headrace"]
    assert not hidden


def test_only_settings_reads_the_environment() -> None:
    found = [line for path in sources() if name(path) not in READS_ENVIRONMENT for line in uses(path, ENVIRONMENT)]
    assert not found


def test_only_the_server_and_the_executors_start_threads_and_processes() -> None:
    found = [
        line
        for path in sources()
        if not name(path).startswith(tuple(STARTS_THREADS_OR_PROCESSES))
        for line in uses(path, STARTERS)
    ]
    assert not found


def test_rooms_are_told_the_time() -> None:
    found = [line for path in sources() if not name(path).startswith(TELLS_TIME) for line in uses(path, TIME)]
    assert not found


def test_no_module_keeps_global_state() -> None:
    found = [
        f"{name(path)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Global)
    ]
    assert not found


def test_importing_headrace_is_light() -> None:
    heavy = ["numpy", "pandas", "duckdb", "sqlalchemy", "scipy", "pyarrow", "litestar", "sklearn"]
    program = f"import sys, headrace; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_architecture_names_every_room() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = [path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()]
    assert rooms
    assert not [room for room in rooms if f"{room}/" not in page]


@pytest.mark.parametrize("folder", HOME_FOLDERS)
def test_nothing_names_a_folder_of_one_machine(folder: str) -> None:
    found = [
        name(path) for path in committed_text() if folder in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert not found


def test_locks_name_no_registry_and_hold_a_hash_for_everything() -> None:
    locks = sorted((ROOT / "requirements").rglob("*.txt"))
    assert locks
    for lock in locks:
        text = lock.read_text()
        assert not [mark for mark in NAMES_A_REGISTRY if mark in text], name(lock)
        pinned = [line for line in text.splitlines() if "==" in line]
        assert pinned
        assert all(line.rstrip().endswith("\\") for line in pinned), name(lock)
        assert text.count("--hash=sha256:") >= len(pinned)


def test_nothing_is_left_for_later() -> None:
    marks = ["TO" + "DO", "FIX" + "ME", "XX" + "X "]
    found = [
        f"{name(path)}: {mark}" for path in code() for mark in marks if mark in path.read_text(encoding="utf-8")
    ]
    assert not found


@pytest.mark.parametrize(
    "lock", sorted((ROOT / "requirements").rglob("*.txt")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_locks_pin_versions_and_hashes_and_name_no_index(lock: Path) -> None:
    entries = [
        entry for entry in lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines() if entry.strip()
    ]
    assert entries
    assert not [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry]
    assert not [entry for entry in entries if "://" in entry or "index" in entry.split()[0]]


def test_the_runtime_lock_holds_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {
        requirement.split(">")[0].split("[")[0].strip() for requirement in project["project"]["dependencies"]
    }
    lock = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    locked = {line.partition("==")[0] for line in lock.splitlines() if "==" in line}
    assert not declared - locked
