"""What model directories say of their packages, as several versions of MLflow and conda write it."""

import pytest

from headrace.registry.environment_files import read_environment

REQUIREMENTS = b"""mlflow==3.17.2
cloudpickle==3.1.1  # for the model
NumPy==2.1.0
pandas<4,>=2.2
scikit_learn==1.7.*
lightgbm
torch==2.4.0+cu118
psutil==7.0.0 --hash=sha256:abc
uvloop==0.21 ; sys_platform != "win32"
--extra-index-url https://ana:secret@packages.example/simple
-r more.txt
ours @ git+https://token@git.example/ours.git

"""
CONDA = b"""
channels: [conda-forge]
dependencies:
- python=3.11.7
- pip<=24.0
- numpy=1.0
- conda-forge::openblas=0.3.28=h1234
- pip:
  - scipy==1.15.0
  - pandas==9.9.9
name: mlflow-env
"""


def test_requirements() -> None:
    found = read_environment({"requirements.txt": REQUIREMENTS})
    assert found is not None
    assert found.python == ""
    assert found.packages == {
        "cloudpickle": "3.1.1",
        "mlflow": "3.17.2",
        "numpy": "2.1.0",
        "psutil": "7.0.0",
        "torch": "2.4.0+cu118",
        "uvloop": "0.21",
    }
    assert found.unpinned == {
        "lightgbm": "lightgbm",
        "ours": "ours",
        "pandas": "pandas<4,>=2.2",
        "scikit-learn": "scikit-learn==1.7.*",
    }
    assert "secret" not in repr(found)
    assert "token" not in repr(found)


def test_conda_fills_in_what_pip_leaves_open() -> None:
    found = read_environment({"requirements.txt": REQUIREMENTS, "conda.yaml": CONDA})
    assert found is not None
    assert (found.python, found.packages["numpy"], found.packages["openblas"]) == ("3.11.7", "2.1.0", "0.3.28")
    assert (found.packages["scipy"], found.packages["pandas"]) == ("1.15.0", "9.9.9")
    assert found.unpinned["pip"] == "pip<=24.0"


def test_a_virtual_environment_says_the_interpreter() -> None:
    content = b"python: 3.12.3\nbuild_dependencies: [pip==24.0]\ndependencies: ['-r requirements.txt']\n"
    found = read_environment({"requirements.txt": b"numpy==2.1.0", "python_env.yaml": content})
    assert found is not None
    assert (found.python, found.packages) == ("3.12.3", {"numpy": "2.1.0"})


def test_the_same_packages_are_the_same_environment() -> None:
    one = read_environment({"requirements.txt": b"numpy==2.1.0\nscipy==1.15.0\nx>1"})
    other = read_environment({"requirements.txt": b"scipy==1.15.0\r\nX>1\r\nnumpy == 2.1.0\r\n"})
    assert one is not None
    assert one == other


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"requirements.txt": b"\xff\xfe\x00"},
        {"requirements.txt": b"-r x\n# nothing\n"},
        {"conda.yaml": b"[1"},
        {"conda.yaml": b"- a"},
        {"conda.yaml": b"dependencies: 5"},
        {"conda.yaml": b"dependencies: [5, {pip: 7}, [a], null, '=', {b: c}]"},
        {"conda.yaml": b"dependencies: [2026-99-99]\nx: 2026-13-45"},
        {"python_env.yaml": b"python: [3]\ndependencies: {a: b}"},
        {"conda.yaml": b"a: &a [*a]\n" + b"[" * 5_000},
        {"python_env.yaml": b"!!python/object/apply:os.system ['true']"},
    ],
)
def test_what_cannot_be_read_is_left_out(files: dict[str, bytes]) -> None:
    assert read_environment(files) is None


def test_a_list_without_end_is_cut() -> None:
    found = read_environment({"requirements.txt": b"\n".join(b"p%d==1" % each for each in range(9_000))})
    assert found is not None
    assert len(found.packages) == 5_000


def test_references_without_end_are_cut() -> None:
    """A file of 200 KB that would be a list of 10 billion lines."""
    big = b"dependencies:\n- pip: &a [" + b"a," * 50_000 + b"b==1]\n" + b"- pip: *a\n" * 10_000
    found = read_environment({"conda.yaml": big, "requirements.txt": b"numpy==2.1.0\n" + b"x" * 1_000_000})
    assert found is not None
    assert found.packages == {"numpy": "2.1.0"}


def test_a_text_that_would_be_endless_is_none() -> None:
    levels = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        inside = b", ".join([b"*a%d" % (level - 1)] * 10)
        levels.append(b"a%d: &a%d [%s]" % (level, level, inside))
    nested = b"\n".join(levels)
    assert read_environment({"conda.yaml": nested + b"\ndependencies: [*a11, {pip: [*a11]}]"}) is None
    assert read_environment({"python_env.yaml": nested + b"\npython: *a11\ndependencies: [*a11]"}) is None
    found = read_environment({"python_env.yaml": b"python: 3.11\ndependencies: [numpy==2.1.0]"})
    assert found is not None
    assert found.python == "3.11"
