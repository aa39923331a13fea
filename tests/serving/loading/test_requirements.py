"""What a model asks for, read from what a stranger wrote."""

import platform
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from headrace.errors import InternalError, NotFound
from headrace.serving.loading.description import Need, Plan
from headrace.serving.loading.requirements import Requirements, read_requirements
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Recipe

SAFE = Plan(recipe=Recipe("skops"), needs=(Need("scikit-learn", "==1.9.*"), Need("skops")))
PICKLE = Plan(recipe=Recipe("pickle"), runs_code="it is a pickle", whole=True)


def read(directory: Path, plan: Plan = SAFE, **texts: str) -> Requirements:
    for name, text in texts.items():
        file = {"requirements": "requirements.txt", "constraints": "constraints.txt"}.get(name, f"{name}.yaml")
        (directory / file).write_text(text)
    return read_requirements(ModelFiles(directory), plan)


def test_lines_are_those_of_requirements_txt_without_mlflow_where_nothing_uses_it(tmp_path: Path) -> None:
    text = "# made by MLflow\nmlflow==3.17.2\nscikit-learn==1.9.1 \\\n  --hash=sha256:00\nscipy==1.17.1  # so\n\n"
    found = read(tmp_path, requirements=text, python_env="python: 3.11.7\n")
    assert found.lines == ("numpy", "scikit-learn==1.9.1", "scipy==1.17.1", "skops")
    assert found.python == "3.11"
    assert not found.from_source
    needs_mlflow = Plan(recipe=Recipe("pyfunc"), runs_code="code", needs=(Need("mlflow"),), whole=True)
    assert "mlflow==3.17.2" in read(tmp_path, needs_mlflow).lines


def test_other_files_are_read_where_there_is_none(tmp_path: Path) -> None:
    conda = "dependencies: [python=3.10.2, pip<24, cudatoolkit=11, {pip: [mlflow, 'scipy==1.0']}]\n"
    found = read(tmp_path, conda=conda)
    assert found.lines == ("numpy", "scikit-learn==1.9.*", "scipy==1.0", "skops")
    assert found.python == "3.10"
    assert found.notes == ("packages that conda alone brings are left out",)
    found = read(tmp_path, python_env="python: 3.12.1\ndependencies: ['scipy==2.0']\n")
    assert (found.python, "scipy==2.0" in found.lines) == ("3.12", True)


def test_files_include_others_of_the_directory_and_no_others(tmp_path: Path) -> None:
    found = read(tmp_path, requirements="-c constraints.txt\nscipy\n", constraints="scipy<2\n")
    assert (found.constraints, "scipy" in found.lines) == (("scipy<2",), True)
    with pytest.raises(InternalError, match="leads out"):
        read(tmp_path, requirements="-r ../../etc/passwd\n")
    with pytest.raises(NotFound):
        read(tmp_path, requirements="-r absent.txt\n")
    with pytest.raises(InternalError, match="without end"):
        read(tmp_path, requirements="-r requirements.txt\n")


def test_where_packages_come_from_is_for_the_machine_to_say(tmp_path: Path) -> None:
    text = "--extra-index-url http://127.0.0.1/simple\n--find-links=/tmp/evil\n-e .\nscipy\n"
    found = read(tmp_path, requirements=text)
    assert "scipy" in found.lines
    assert len(found.notes) == 3
    assert not found.problem
    address = "thing @ http://127.0.0.1/thing.whl\n"
    assert "by an address" in read(tmp_path, requirements=address).problem
    assert any("127.0.0.1" in line for line in read(tmp_path, PICKLE, requirements=address).lines)
    assert "none of a package" in read(tmp_path, requirements="./wheels/a.whl\n").problem


def test_without_leave_for_code_only_known_packages_are_installed(tmp_path: Path) -> None:
    """A package may run code at every start of its Python, so it takes the same leave as the model's own code."""
    text = "scikit-learn==1.9.1\nhelpful-authors-package\nxgboost-cpu==3.1\nonnxruntime\npandas==3.0\n"
    found = read(tmp_path, requirements=text)
    assert found.lines == ("numpy", "pandas==3.0", "scikit-learn==1.9.1", "skops", "xgboost-cpu==3.1")
    assert found.notes == (
        "packages that its format does not need are left out: helpful-authors-package, onnxruntime",
    )
    types = Plan(recipe=Recipe("skops", types=("helpful.Encoder",)), needs=SAFE.needs)
    for allowed in (PICKLE, types):
        assert "helpful-authors-package" in read(tmp_path, allowed).lines
    graph = Plan(recipe=Recipe("onnx"), needs=(Need("onnxruntime"),))
    assert read(tmp_path, graph).lines == ("numpy", "onnxruntime", "pandas==3.0", "scikit-learn==1.9.1")


def test_a_constraint_brings_no_package_from_an_address(tmp_path: Path) -> None:
    where = "numpy @ http://127.0.0.1/numpy.whl"
    found = read(tmp_path, requirements="-c constraints.txt\n", constraints=f"{where}\n")
    assert ("by an address" in found.problem, found.constraints) == (True, ())
    assert read(tmp_path, PICKLE).constraints == (where,)


def test_only_what_decides_is_looked_for_where_a_format_is_safe() -> None:
    wanted = Requirements(needs=(Need("scikit-learn", "==1.9.*"),), lines=("scikit-learn==1.9.1", "scipy==1.0"))
    assert wanted.lacking("3.11.7", {"scikit-learn": "1.9.3"}) == ()
    assert wanted.lacking("3.11.7", {"scikit-learn": "1.8.0"}) == ("scikit-learn==1.9.*",)
    assert wanted.lacking("3.11.7", {}) == ("scikit-learn==1.9.*",)


def test_all_is_looked_for_where_a_model_may_use_anything() -> None:
    lines = ("scipy==1.0", "pywin32==1 ; sys_platform == 'win32'")
    wanted = Requirements(needs=(), lines=lines, whole=True, python="3.11")
    assert wanted.lacking("3.11.9", {"scipy": "1.0"}) == ()
    assert wanted.lacking("3.12.0", {"scipy": "1.1"}) == ("python==3.11.*", "scipy==1.0")


def test_a_library_may_come_under_another_name() -> None:
    wanted = Requirements(needs=(Need("xgboost", ">=3.1"),))
    assert wanted.lacking("3.11.7", {"xgboost-cpu": "3.2.0"}) == ()
    assert wanted.lacking("3.11.7", {"xgboost-cpu": "3.0.0"}) == ("xgboost>=3.1",)


def test_estimators_of_libraries_of_trees_need_those_libraries(tmp_path: Path) -> None:
    found = read(tmp_path, requirements="lightgbm==4.6.0\nxgboost-cpu\nscipy==1\n")
    assert {Need("lightgbm", ">=4.6.0"), Need("xgboost")} < set(found.needs)


def test_the_same_requirements_are_the_same_environment(tmp_path: Path) -> None:
    one = read(tmp_path, requirements="scipy==1\nscikit-learn==1.9.1\n")
    same = read(tmp_path, requirements="scikit-learn==1.9.1\nscipy == 1\n")
    other = read(tmp_path, requirements="scikit-learn==1.9.2\nscipy==1\n")
    assert one.key == same.key != other.key


@pytest.mark.parametrize("text", ["[unclosed", "? {}: 2026-99-99", "a: &a [*a]", "\x00", "- 1"])
def test_damaged_files_are_told_or_hold_nothing(tmp_path: Path, text: str) -> None:
    try:
        found = read(tmp_path, conda=text)
    except InternalError:
        return
    assert {Requirement(line).name for line in found.lines} == {"numpy", "scikit-learn", "skops"}


def test_this_python_is_known_by_its_minor_version() -> None:
    minor = ".".join(platform.python_version_tuple()[:2])
    assert Requirements(needs=(), whole=True, python=minor).lacking(platform.python_version(), {}) == ()
