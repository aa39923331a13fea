"""A project file becomes declarations, or one error with file and line."""

import sys
from pathlib import Path

import pytest

from headrace.errors import NotFound, ProjectError
from headrace.project import gates
from headrace.project.loading import LoadedProject, find_project_file, load_project

GOOD = """import headrace as hr
customer = hr.Entity("customer", key="customer_id")
buyer = customer
purchases = hr.Source("purchases", "p.parquet", time="date")
activity = hr.FeatureView("activity", customer, purchases, {"n": hr.count(window="9d")}, ttl="9d")
left = hr.Label("left", customer, purchases, hr.none_within("9d"), matures_after="9d")

@hr.model("churn", features=[activity], label=left)
def train(data, params):
    return hr.Fitted(None)
"""


def write(folder: Path, text: str, name: str = "churn.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def refused(path: Path) -> ProjectError:
    with pytest.raises(ProjectError) as raised:
        load_project(path)
    assert raised.value.fix
    return raised.value


def test_the_modules_names_are_scanned(tmp_path: Path) -> None:
    project = load_project(write(tmp_path, GOOD))
    assert project.name == "churn"
    assert [entity.name for entity in project.entities] == ["customer"]
    assert project.model("churn").declaration.function == "train"
    assert project.model("churn").declaration.declared_at == "churn.py:8"
    assert project.feature_views[0].declared_at == "churn.py:5"
    with pytest.raises(NotFound, match="declares no model 'other'"):
        project.model("other")


def test_the_example_loads(example: LoadedProject) -> None:
    policy = example.model("churn").declaration.policy
    assert policy.rollout.steps == (5, 25, 50, 100)
    assert policy.approval is not None
    assert policy.approval.four_eyes


@pytest.mark.parametrize(
    ("change", "where", "message"),
    [
        (("import headrace as hr\n", "import headrace as hr\nthis is no Python\n"), 2, "the file is not Python"),
        (("import headrace as hr\n", "import headrace as hr\nimport nowhere_to_be_found\n"), 2, "is not installed"),
        (("import headrace as hr\n", "import headrace as hr\n1 / 0\n"), 2, "ZeroDivisionError"),
        (("import headrace as hr\n", "import headrace as hr\nraise SystemExit(0)\n"), 2, "ends the process"),
        (("import headrace as hr\n", "import headrace as hr\nhr.Entitty\n"), 2, "no attribute 'Entitty'"),
        (('"9d")}', '"9 days")}'), 5, "is not a duration"),
        (("buyer = customer", 'buyer = hr.Entity("customer", key="x")'), 3, "declared twice, first at churn.py:2"),
        (
            ('FeatureView("activity", customer', 'FeatureView("activity", hr.Entity("guest", key="g")'),
            8,
            "about guest",
        ),
        (
            ('"activity", customer, purchases', '"activity", customer, hr.Source("s", "s.parquet", "t")'),
            5,
            "a Source 's'",
        ),
        (("left = hr.Label", "def make(): return hr.Label"), 8, "NameError"),
        (
            (
                "activity = ",
                "[activity] = [",
            ),
            5,
            "not Python",
        ),
    ],
)
def test_each_mistake_is_one_error_at_its_line(
    tmp_path: Path, change: tuple[str, str], where: int, message: str
) -> None:
    assert change[0] in GOOD
    error = refused(write(tmp_path, GOOD.replace(*change, 1)))
    assert message in error.message
    assert error.where == f"churn.py:{where}"


def test_a_mistake_in_a_module_beside_it_is_named_there(tmp_path: Path) -> None:
    write(tmp_path, "\n\ndef broken():\n    return {}['key']\nbroken()\n", "helper.py")
    assert refused(write(tmp_path, f"import helper\n{GOOD}")).where == "helper.py:4"
    write(tmp_path, "def broken(:\n", "helper.py")
    assert refused(tmp_path / "churn.py").where == "helper.py:1"


def test_modules_beside_it_are_read_afresh_and_leave_no_path(tmp_path: Path) -> None:
    write(tmp_path, 'KEY = "first"\n', "helper_of_test.py")
    path = write(
        tmp_path, GOOD.replace('"customer_id"', "helper_of_test.KEY").replace("\n", "\nimport helper_of_test\n", 1)
    )
    before = list(sys.path)
    assert load_project(path).entities[0].key == "first"
    write(tmp_path, 'KEY = "the_second"\n', "helper_of_test.py")
    assert load_project(path).entities[0].key == "the_second"
    assert sys.path == before


def test_a_file_that_declares_nothing_is_refused(tmp_path: Path) -> None:
    assert "declares nothing" in refused(write(tmp_path, "x = 1\n")).message


def test_which_file_is_meant(tmp_path: Path) -> None:
    assert "no Python files" in refused(tmp_path).message
    only = write(tmp_path, GOOD)
    assert find_project_file(tmp_path) == only
    write(tmp_path, "", "helper.py")
    assert "2 Python files" in refused(tmp_path).message
    project = write(tmp_path, GOOD, "project.py")
    assert find_project_file(tmp_path) == project
    assert load_project(tmp_path).name == tmp_path.name
    assert "no such file" in refused(tmp_path / "missing.py").message
    assert "hides the package" in refused(write(tmp_path, GOOD, "headrace.py")).message


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "churn.py"
    path.write_bytes(b"\xff\xfe\x00")
    assert refused(path).where == "churn.py:1"


GROUPED = """
people = hr.Source("people", "people.parquet", time="since")
train.delivered_by(
    gates=[
        hr.fair([hr.column("gender", source=people)], at_most=0.1),
        hr.slices("roc_auc", ["n"], margin=0.05),
    ],
)
"""


def test_a_gate_groups_by_features_and_by_what_a_source_says(tmp_path: Path) -> None:
    (fair, slices) = load_project(write(tmp_path, GOOD + GROUPED)).model("churn").declaration.policy.gates
    assert fair.declared_at == "churn.py:15"
    assert [column.title for gate in (fair, slices) for column in gates.columns_of(gate)] == ["people.gender", "n"]


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (('["n"]', '["age"]'), 16, "has no feature 'age' to group rows by"),
        (("source=people", 'source=hr.Source("p", "p.csv", time="t")'), 15, "column gender refers to a Source 'p'"),
    ],
)
def test_a_column_that_is_nowhere_is_refused_at_its_line(
    tmp_path: Path, change: tuple[str, str], line: int, message: str
) -> None:
    problem = refused(write(tmp_path, GOOD + GROUPED.replace(*change)))
    assert message in problem.message
    assert problem.where == f"churn.py:{line}"
