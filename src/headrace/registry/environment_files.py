"""The packages that a model directory of MLflow names: requirements.txt, conda.yaml and python_env.yaml.

Of a line only the package, its version or the range that is asked for is kept: the rest of it may hold an address
with a login. Files are anybody's, so what cannot be read is left out and nothing here fails.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement

from headrace.kernel.environments import REQUIREMENT_LIMIT, Environment, environment_of
from headrace.project.environment import normalised

MOST_PACKAGES = 5_000
MOST_LINES = 20_000
"""How many lines are looked at: YAML may refer to one list again and again."""
LONGEST_LINE = 1_000

_CONDA = re.compile(r"(?:[\w.\-]+::)?([\w.\-]+)\s*(=|==)\s*([\w.+!\-]+)(?:=[\w.*\-]+)?")
_CONDA_RANGE = re.compile(r"(?:[\w.\-]+::)?([\w.\-]+)\s*([<>!=~].*)?")
_PYTHON = re.compile(r"\d+(\.\d+)*")


def read_environment(files: Mapping[str, bytes]) -> Environment | None:
    """What files of a model directory say of its packages; None when they name none.

    Args:
        files: their contents by name.
    """
    pinned: dict[str, str] = {}
    ranges: dict[str, str] = {}
    python = ""
    for read, line in islice(_lines(files), MOST_LINES):
        for name, version, asked in read(line[:LONGEST_LINE]):
            if name == "python":
                python = python or (version if version and _PYTHON.fullmatch(version) else "")
            elif name not in pinned and len(pinned) + len(ranges) < MOST_PACKAGES:
                if version:
                    pinned[name] = version
                    ranges.pop(name, None)
                else:
                    ranges.setdefault(name, asked[:REQUIREMENT_LIMIT])
    return environment_of(python, pinned, ranges) if pinned or ranges else None


Named = tuple[str, str | None, str]
"""Name, exact version if there is one, and what is asked for."""


def _lines(files: Mapping[str, bytes]) -> Iterator[tuple[Callable[[str], Iterator[Named]], str]]:
    """Each line with how it is to be read; what says it best comes first."""
    for line in _text(files.get("requirements.txt", b"")).splitlines():
        yield _requirement, line
    for entry in _listed(_yaml(files.get("conda.yaml", b"")).get("dependencies")):
        if isinstance(entry, dict):
            for line in _listed(entry.get("pip")):
                yield _requirement, _plain(line)
        else:
            yield _conda, _plain(entry)
    virtual = _yaml(files.get("python_env.yaml", b""))
    python = virtual.get("python")
    yield _interpreter, str(python) if isinstance(python, float) else _plain(python)  # 3.11 without quotes
    for line in _listed(virtual.get("dependencies")):
        yield _requirement, _plain(line)


def _interpreter(version: str) -> Iterator[Named]:
    yield "python", version, ""


def _requirement(line: str) -> Iterator[Named]:
    text = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip().rstrip("\\").partition(" --hash=")[0]
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return
    name = normalised(requirement.name)
    (first, *others) = [*requirement.specifier] or [None]
    exact = first is not None and not others and first.operator in {"==", "==="} and "*" not in first.version
    yield name, first.version if first is not None and exact else None, f"{name}{requirement.specifier}"


def _conda(entry: str) -> Iterator[Named]:
    """A package of conda's, which writes one `=` where pip writes two."""
    exact = _CONDA.fullmatch(entry.strip())
    if exact is not None and "*" not in exact[3]:
        yield normalised(exact[1]), exact[3], entry
        return
    asked = _CONDA_RANGE.fullmatch(entry.strip())
    if asked is not None:
        yield normalised(asked[1]), None, f"{normalised(asked[1])}{asked[2] or ''}"


def _plain(value: object) -> str:
    """A text; anything else is none, since as text it may hold itself a billion times."""
    return value if isinstance(value, str) else ""


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(content: bytes) -> str:
    return content.decode(errors="replace")


def _yaml(content: bytes) -> dict[str, Any]:
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, RecursionError, ValueError):  # a date that is none is a ValueError
        return {}
    return document if isinstance(document, dict) else {}
