"""Which packages a model asks for, read from its directory, and whether those of an environment will do.

What a model was logged with is more than what it needs: a file of trees is read by any later version of its
library, so an environment is only built where what decides is missing. A pickle may use anything, so all counts.
A package may run code of its author's at every start of that Python. So for a model that nobody has given leave to
run code, only the few known packages are installed that its format is read with, however many it names.
"""

import hashlib
import re
import sysconfig
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from headrace.errors import HeadraceError, InternalError, NotServed
from headrace.project.environment import normalised
from headrace.serving.loading.description import Need, Plan
from headrace.serving.runtimes.files import ModelFiles

FILE_LIMIT_BYTES = 1 << 20
INCLUDES = 8
"""How deep requirement files may include one another."""
REVISION = 1
"""Raised when environments have to be built anew."""
MLFLOW = frozenset({"mlflow", "mlflow-skinny", "mlflow-tracing"})
ALIKE = {
    "xgboost": ("xgboost-cpu",),
    "onnxruntime": ("onnxruntime-gpu",),
    "mlflow": ("mlflow-skinny",),
    "lightgbm": (),
}
"""Packages that bring the same library under another name."""
COMPANIONS = frozenset({"joblib", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "threadpoolctl"})
"""What the libraries that read safe formats are built on: a model's pins of them are followed."""
TREES = frozenset({"lightgbm", "xgboost", "xgboost-cpu"})
"""Libraries of trees whose estimators a skops file may hold."""
_MINOR = re.compile(r"(?P<minor>[0-9]+\.[0-9]+)")
_HASHES = re.compile(r"\s--hash[= ]\S+")
_CONDA_PYTHON = re.compile(r"python\s*[=]+\s*(?P<version>[0-9.]+)")


class Requirements(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's environment has to have.

    Attributes:
        needs: what decides whether an environment will do.
        lines: what is installed where one is built.
        constraints: bounds on what comes along.
        python: the minor version of Python that it was logged with, such as `3.11`; empty when nobody knows.
        whole: whether every line has to be there, and that Python, for an environment to do.
        from_source: whether packages may be built from source, which runs their code.
        problem: why nothing can be installed for it; empty when it can.
        notes: what was read and is not followed.
    """

    needs: tuple[Need, ...]
    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    python: str = ""
    whole: bool = False
    from_source: bool = False
    problem: str = ""
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Names the environment: the same requirements on the same kind of machine are the same one."""
        facts = (sorted(self.lines), sorted(self.constraints), self.python, sysconfig.get_platform(), REVISION)
        return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:32]

    def lacking(self, python: str, installed: Mapping[str, str]) -> tuple[str, ...]:
        """What an environment lacks, in words.

        Args:
            python: its version, such as `3.11.7`.
            installed: version by normalised name.
        """
        lacking = [f"{need.package}{need.versions}" for need in self.needs if not _has(need, installed)]
        if not self.whole:
            return tuple(lacking)
        if self.python and not python.startswith(f"{self.python}."):
            lacking.append(f"python=={self.python}.*")
        for line in self.lines:
            wanted = Requirement(line)
            if wanted.marker is not None and not wanted.marker.evaluate():
                continue
            if wanted.url or not _has(Need(wanted.name, str(wanted.specifier)), installed):
                lacking.append(line)
        return tuple(dict.fromkeys(lacking))


def read_requirements(files: ModelFiles, plan: Plan) -> Requirements:
    """What a model asks for: requirements.txt, else python_env.yaml, else the pip section of conda.yaml."""
    reader = _Reader(files)
    python, lines = reader.all()
    kept, problem = _followed(lines, plan)
    constraints, amiss = _followed(reader.constraints, plan)
    left_out = sorted({normalised(Requirement(line).name) for line in kept if not _is_installed(line, plan)})
    if left_out:
        reader.notes.append(f"packages that its format does not need are left out: {', '.join(left_out)}"[:500])
        kept = [line for line in kept if _is_installed(line, plan)]
    named = {normalised(Requirement(line).name) for line in kept}
    needs = (*plan.needs, *(_boosters(kept) if plan.recipe.runtime == "skops" else ()))
    unnamed = [need for need in plan.needs if not named & {need.package, *ALIKE.get(need.package, ())}]
    kept.extend(f"{need.package}{need.versions}" for need in unnamed)
    if "numpy" not in named:
        kept.append("numpy")
    return Requirements(
        needs=needs,
        lines=tuple(sorted(set(kept))),
        constraints=tuple(sorted(set(constraints))),
        python=python,
        whole=plan.whole,
        from_source=bool(plan.runs_code),
        problem=problem or amiss,
        notes=tuple(reader.notes),
    )


def _followed(lines: list[str], plan: Plan) -> tuple[list[str], str]:
    """The lines that name packages, and what is wrong with another one; empty when nothing is."""
    keep_mlflow = any(need.package in MLFLOW for need in plan.needs) or bool(plan.code)
    kept, problem = [], ""
    for line in lines:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            problem = f"its requirements hold a line that is none of a package: {line[:100]}"
            continue
        if normalised(wanted.name) in MLFLOW and not keep_mlflow:
            continue
        if wanted.url and not plan.runs_code:
            problem = f"its requirements name {wanted.name} by an address, which is not fetched for it"
            continue
        kept.append(str(wanted))
    return kept, problem


def _is_installed(line: str, plan: Plan) -> bool:
    """Whether a package that the model names is installed: any with leave to run code, else a known one."""
    if plan.runs_code or plan.recipe.types:
        return True
    needed = {name for need in plan.needs for name in (need.package, *ALIKE.get(need.package, ()))}
    known = COMPANIONS | needed | (TREES if plan.recipe.runtime == "skops" else frozenset())
    return normalised(Requirement(line).name) in known


class _Reader:
    """Reads the files that say what a model was logged with."""

    def __init__(self, files: ModelFiles) -> None:
        self._files = files
        self.constraints: list[str] = []
        self.notes: list[str] = []

    def all(self) -> tuple[str, list[str]]:
        """The minor version of Python, and the lines."""
        virtualenv, conda = self._yaml("python_env.yaml"), self._yaml("conda.yaml")
        listed = conda.get("dependencies")
        plain = [part for part in listed if isinstance(part, str)] if isinstance(listed, list) else []
        python = _minor(virtualenv.get("python")) or next(
            (_minor(found["version"]) for part in plain if (found := _CONDA_PYTHON.match(part))), ""
        )
        if self._files.has("requirements.txt"):
            return python, list(self._lines("requirements.txt"))
        dependencies = virtualenv.get("dependencies")
        if isinstance(dependencies, list):
            return python, [line for part in dependencies for line in self._line(str(part), 0)]
        pip = [part["pip"] for part in listed or () if isinstance(part, dict) and isinstance(part.get("pip"), list)]
        if any(not part.startswith(("python", "pip")) for part in plain):
            self.notes.append("packages that conda alone brings are left out")
        return python, [line for part in pip for entry in part for line in self._line(str(entry), 0)]

    def _lines(self, path: str, depth: int = 0) -> Iterator[str]:
        for line in self._text(path).replace("\\\n", " ").splitlines():
            yield from self._line(line, depth)

    def _line(self, line: str, depth: int) -> Iterator[str]:
        line = _HASHES.sub("", line.partition(" #")[0].strip())
        if not line or line.startswith("#"):
            return
        option, _, value = line.partition(" ")
        if option in {"-r", "--requirement"}:
            if depth >= INCLUDES:
                raise InternalError("requirement files include one another without end", where=value[:100])
            yield from self._lines(value.strip(), depth + 1)
        elif option in {"-c", "--constraint"}:
            self.constraints.extend(self._lines(value.strip(), INCLUDES))
        elif line.startswith("-"):
            self.notes.append(f"the option {option.partition('=')[0][:40]} is left out: the machine's own holds")
        else:
            yield line

    def _text(self, path: str) -> str:
        content = self._files.read(path)
        if len(content) > FILE_LIMIT_BYTES:
            raise InternalError("a file of requirements is too long", where=path[:100])
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InternalError("a file of requirements is not text", where=path[:100]) from error

    def _yaml(self, path: str) -> dict[str, Any]:
        if not self._files.has(path):
            return {}
        try:
            document = yaml.safe_load(self._text(path))
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
            raise InternalError("the file is not YAML", where=path) from error
        return document if isinstance(document, dict) else {}


def _boosters(lines: list[str]) -> Iterator[Need]:
    """The libraries of trees whose estimators a skops file may hold; they read what earlier versions wrote."""
    for line in lines:
        wanted = Requirement(line)
        pinned = [part.version for part in wanted.specifier if part.operator == "=="]
        if normalised(wanted.name) in TREES:
            yield Need(normalised(wanted.name).removesuffix("-cpu"), f">={pinned[0]}" if pinned else "")


def unbuildable(wanted: Requirements) -> HeadraceError:
    """Why no environment can be built for a model."""
    return NotServed(
        wanted.problem,
        where="requirements.txt",
        fix="Log the model with pip_requirements that name packages of your index.",
    )


def _has(need: Need, installed: Mapping[str, str]) -> bool:
    for name in (need.package, *ALIKE.get(need.package, ())):
        version = installed.get(normalised(name))
        if version is None:
            continue
        try:
            return not need.versions or SpecifierSet(need.versions).contains(version, prereleases=True)
        except InvalidSpecifier:
            return False
    return False


def _minor(version: Any) -> str:
    found = _MINOR.match(str(version)) if version is not None else None
    return found["minor"] if found else ""
