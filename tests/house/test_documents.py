"""What the documents say, held against the code: links, commands, settings and the project in the README."""

import re
import shutil
from pathlib import Path

import msgspec
import pytest
import typer.main

from headrace.cli.main import app
from headrace.kernel.settings import Settings
from headrace.project.loading import load_project

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)\)", document.read_text(encoding="utf-8"))
    assert not [target for target in targets if "://" not in target and not (document.parent / target).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_exist(document: Path) -> None:
    commands = typer.main.get_command(app)
    text = document.read_text(encoding="utf-8")
    called = re.findall(r"(?:^\$? ?|`|… )headrace ([a-z]+)(?: ([a-z]+))?", text, flags=re.MULTILINE)
    known = vars(commands)["commands"]
    unknown = [command for command, _ in called if command not in known]
    for command, word in called:
        inner = vars(known.get(command, object())).get("commands") if command in known else None
        if inner and word and word not in inner:
            unknown.append(f"{command} {word}")
    assert not unknown


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_settings_exist(document: Path) -> None:
    known = {f"HEADRACE_{field.name.upper()}" for field in msgspec.structs.fields(Settings)}
    assert not set(re.findall(r"HEADRACE_[A-Z_]+", document.read_text(encoding="utf-8"))) - known


def test_the_project_in_the_readme_loads(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    (project_file,) = [block for block in blocks if "hr.Entity(" in block]
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "examples/churn/data/cdnow.parquet", tmp_path / "data")
    (tmp_path / "churn.py").write_text(project_file, encoding="utf-8")
    project = load_project(tmp_path / "churn.py")
    assert [model.declaration.name for model in project.models] == ["churn"]


def test_the_gates_in_their_document_can_be_declared(tmp_path: Path) -> None:
    project, gates = (
        next(
            block
            for block in re.findall(
                r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL
            )
            if word in block
        )
        for page, word in (("README.md", "hr.Entity("), ("docs/gates.md", "hr.fair("))
    )
    (tmp_path / "churn.py").write_text(project.split("churn.delivered_by(")[0] + gates, encoding="utf-8")
    (model,) = load_project(tmp_path / "churn.py").models
    assert len(model.declaration.policy.gates) == 8


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs/adr"
    index = (folder / "README.md").read_text(encoding="utf-8")
    records = sorted(path.name for path in folder.glob("0*.md"))
    assert [int(record[:4]) for record in records] == list(range(1, len(records) + 1))
    assert not [record for record in records if f"({record})" not in index]
