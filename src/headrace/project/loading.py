"""Loading: a project file becomes declarations, in the process of whoever runs it.

The module's names are scanned; there is no registry that an import would fill. Whatever is wrong in the user's
file becomes one ProjectError that names file and line.
"""

import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType
from typing import TypeVar

import msgspec

from headrace.errors import HeadraceError, NotFound, ProjectError
from headrace.project.declaration import Declaration, definition
from headrace.project.entity import Entity
from headrace.project.feature_view import FeatureView
from headrace.project.gates import columns_of
from headrace.project.label import Label
from headrace.project.model import Model
from headrace.project.source import Source

PROJECT_FILE = "project.py"
"""The name that is looked for in a folder."""

D = TypeVar("D", bound=Declaration)


class LoadedProject(msgspec.Struct, frozen=True, kw_only=True):
    """The declarations of a project file, each kind sorted by name.

    Args:
        name: the project's name, after its file; after its folder for project.py.
        file: the project file.
        models: the training functions with their declarations.
    """

    name: str
    file: Path
    entities: tuple[Entity, ...]
    sources: tuple[Source, ...]
    feature_views: tuple[FeatureView, ...]
    labels: tuple[Label, ...]
    models: tuple[Model, ...]

    @property
    def root(self) -> Path:
        """The folder of the project file; relative paths begin there."""
        return self.file.parent

    @property
    def local_sources(self) -> tuple[Source, ...]:
        """The sources whose data are files beside the project file."""
        return tuple(source for source in self.sources if not source.is_uri)

    def model(self, name: str) -> Model:
        """The model of this name.

        Raises:
            NotFound: the project declares no such model.
        """
        for model in self.models:
            if model.name == name:
                return model
        known = ", ".join(model.name for model in self.models) or "none"
        raise NotFound(f"{self.file.name} declares no model {name!r}", fix=f"Its models: {known}.")


def find_project_file(path: Path) -> Path:
    """The project file that a path means: itself, or a folder's project.py or only Python file.

    Raises:
        ProjectError: there is none, or it cannot be told which.
    """
    if path.is_dir():
        candidates = sorted(path.glob("*.py"))
        if path / PROJECT_FILE in candidates:
            return (path / PROJECT_FILE).resolve()
        if len(candidates) == 1:
            return _checked(candidates[0])
        raise ProjectError(
            f"the folder has {len(candidates) or 'no'} Python files and no {PROJECT_FILE}",
            where=str(path),
            fix="Name the project file: headrace apply churn.py",
        )
    if not path.is_file():
        raise ProjectError(
            "there is no such file", where=str(path), fix="Name the project file: headrace apply churn.py"
        )
    return _checked(path)


def load_project(path: Path) -> LoadedProject:
    """Runs a project file and collects what its module names.

    Args:
        path: the project file, or its folder.

    Raises:
        ProjectError: the file has an error; `where` holds file and line.
    """
    file = find_project_file(path)
    module = _run(file, _compiled(file))
    names = [value for name, value in vars(module).items() if not name.startswith("__")]
    project = LoadedProject(
        name=file.parent.name if file.name == PROJECT_FILE else file.stem,
        file=file,
        entities=_declared(Entity, names),
        sources=_declared(Source, names),
        feature_views=_declared(FeatureView, names),
        labels=_declared(Label, names),
        models=_models(names),
    )
    if not (project.entities or project.sources or project.models):
        raise ProjectError(
            "the file declares nothing",
            where=f"{file.name}:1",
            fix='Begin with an entity: customer = hr.Entity("customer", key="customer_id").',
        )
    _require_declared(project)
    return project


def _checked(file: Path) -> Path:
    if file.name == "headrace.py":
        raise ProjectError(
            "a file with this name hides the package headrace from Python",
            where=str(file),
            fix="Rename it, for example to project.py.",
        )
    return file.resolve()


def _compiled(file: Path) -> CodeType:
    try:
        return compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise ProjectError(
            f"the file is not Python: {error.msg}",
            where=f"{file.name}:{error.lineno or 1}",
            fix="Correct this line.",
        ) from error
    except (ValueError, OSError) as error:
        raise ProjectError(
            f"the file cannot be read: {error}", where=f"{file.name}:1", fix="Save it as UTF-8."
        ) from error


def _run(file: Path, code: CodeType) -> ModuleType:
    name = f"headrace_project_{file.stem}"
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None:
        raise ProjectError("the file is not a Python module", where=str(file), fix="Give it the suffix .py.")
    module = importlib.util.module_from_spec(specification)
    with _importable(file.parent):
        sys.modules[name] = module
        try:
            exec(code, vars(module))  # noqa: S102 - running the user's file is the purpose, in the user's process
        except ProjectError as error:
            if error.where is None:
                raise ProjectError(error.message, where=_line_in(file, error), fix=error.fix) from error
            raise
        except (Exception, SystemExit) as error:
            raise _explained(file, error) from error
    return module


def _explained(file: Path, error: BaseException) -> ProjectError:
    where = _line_in(file, error)
    if isinstance(error, HeadraceError):
        return ProjectError(error.message, where=where, fix=error.fix)
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{Path(error.filename).name}:{error.lineno or 1}"
        return ProjectError(f"the file is not Python: {error.msg}", where=where, fix="Correct this line.")
    if isinstance(error, ModuleNotFoundError):
        return ProjectError(
            f"the module {error.name!r} is not installed",
            where=where,
            fix="Install it into the environment that headrace runs in, or correct the import.",
        )
    if isinstance(error, SystemExit):
        return ProjectError("the file ends the process", where=where, fix="Take the call to exit out of it.")
    return ProjectError(f"{type(error).__name__}: {error}", where=where, fix="Correct this line.")


def _line_in(file: Path, error: BaseException) -> str:
    """The last line of the traceback that is in the project's own files."""
    own = [
        frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(Path(frame.filename), file.parent)
    ]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else f"{file.name}:1"


def _is_own(path: Path, root: Path) -> bool:
    return path.is_relative_to(root) and not any(
        part.startswith(".") or part == "site-packages" for part in path.relative_to(root).parts
    )


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    """Lets the project file import the modules beside it, freshly, and only while it runs."""
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if origin and _is_own(Path(origin), root):
            del sys.modules[name]
    before = list(sys.path)
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path[:] = before


def _declared(kind: type[D], values: Sequence[object]) -> tuple[D, ...]:
    found: dict[str, D] = {}
    for value in values:
        if not isinstance(value, kind):
            continue
        name: str = value.name  # type: ignore[attr-defined]
        first = found.setdefault(name, value)
        if first is not value:
            _refuse_twice(kind.__name__, name, first.declared_at, value.declared_at)
    return tuple(found[name] for name in sorted(found))


def _models(values: Sequence[object]) -> tuple[Model, ...]:
    found: dict[str, Model] = {}
    for value in values:
        if isinstance(value, Model):
            first = found.setdefault(value.name, value)
            if first is not value:
                _refuse_twice("model", value.name, first.declaration.declared_at, value.declaration.declared_at)
    return tuple(found[name] for name in sorted(found))


def _refuse_twice(kind: str, name: str, first: str, second: str) -> None:
    raise ProjectError(
        f"{kind} {name!r} is declared twice, first at {first}",
        where=second,
        fix="Rename one of the two, or remove it.",
    )


def _require_declared(project: LoadedProject) -> None:
    """Refuses references to objects that the module does not name, which the plan would then not show."""
    known: dict[type, dict[str, Declaration]] = {
        Entity: {entity.name: entity for entity in project.entities},
        Source: {source.name: source for source in project.sources},
        FeatureView: {view.name: view for view in project.feature_views},
        Label: {label.name: label for label in project.labels},
    }
    users: list[tuple[str, Declaration, Declaration]] = []
    for view in project.feature_views:
        users += [
            (f"feature view {view.name}", view, view.entity),
            (f"feature view {view.name}", view, view.source),
        ]
    for label in project.labels:
        users += [(f"label {label.name}", label, label.entity), (f"label {label.name}", label, label.source)]
    for model in project.models:
        declared = model.declaration
        users += [(f"model {model.name}", declared, used) for used in (*declared.features, declared.label)]
        columns = [column for gate in declared.policy.gates for column in columns_of(gate)]
        users += [
            (f"column {column.name}", column, column.source) for column in columns if column.source is not None
        ]
    for user, place, used in users:
        name: str = used.name  # type: ignore[attr-defined]
        twin = known[type(used)].get(name)
        if twin is None or definition(twin) != definition(used):
            kind = type(used).__name__
            raise ProjectError(
                f"{user} refers to a {kind} {name!r} that the file does not declare under a name",
                where=place.declared_at,
                fix=f"Assign it to a name of the module: {name} = hr.{kind}(...).",
            )
