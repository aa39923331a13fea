"""Environments and their packages: kept once, compared as PEP 440 orders versions."""

import pytest

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import environments, lineage
from headrace.kernel.database import Database, Tx
from headrace.kernel.environments import environment_of
from headrace.project.environment import EnvironmentLock

pytestmark = pytest.mark.both_databases

OLD = environment_of("3.11.7", {"numpy": "1.26.4", "Scikit_Learn": "1.4.0"})
NEW = environment_of("3.13.0", {"numpy": "2.1.0"})
LOOSE = environment_of("", {"pandas": "2.2"}, {"numpy": "numpy>=1.20", "mlflow": "mlflow"})


@pytest.fixture
def kept(database: Database) -> Database:
    def work(tx: Tx) -> None:
        for environment in (OLD, NEW, LOOSE, OLD):
            environments.keep(tx, environment)

    database.write(work, actor="ana")
    return database


def having(database: Database, requirement: str) -> tuple[dict[str, str], dict[str, str]]:
    def look(tx: Tx) -> tuple[dict[str, str], dict[str, str]]:
        found = environments.having(tx, requirement)
        names = lineage.numbered(tx, [*found.exact, *found.unknown])
        exact = {names[number].name: version for number, version in found.exact.items()}
        return exact, {names[number].name: asked for number, asked in found.unknown.items()}

    return database.read(look)


def test_an_environment_reads_back(kept: Database) -> None:
    assert kept.read(lambda tx: environments.get(tx, LOOSE.digest)) == LOOSE
    found = kept.read(lambda tx: environments.get(tx, OLD.digest))
    assert found.packages == {"numpy": "1.26.4", "scikit-learn": "1.4.0"}
    subject = kept.read(lambda tx: lineage.find(tx, f"environment/{LOOSE.digest}"))
    assert subject is not None
    assert subject.about == {"python": "", "packages": 3}
    with pytest.raises(NotFound):
        kept.read(lambda tx: environments.get(tx, "sha256:none"))


def test_a_lock_has_its_own_digest() -> None:
    lock = EnvironmentLock(python="3.13.0", packages={"numpy": "2.1.0"})
    assert NEW.digest == lock.digest
    assert environment_of("3.13.0", {"numpy": "2.1.0"}, {"mlflow": "mlflow"}).digest != lock.digest


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("numpy<2.1", {OLD.digest: "1.26.4"}),
        ("NumPy <= 2.1", {OLD.digest: "1.26.4", NEW.digest: "2.1.0"}),
        ("numpy==2.*", {NEW.digest: "2.1.0"}),
        ("numpy>=1.20,!=1.26.4,<3", {NEW.digest: "2.1.0"}),
        ("scikit-learn<1.10", {OLD.digest: "1.4.0"}),
        ("python<3.12", {OLD.digest: "3.11.7"}),
        ("torch<9", {}),
    ],
)
def test_versions_are_compared_as_versions(kept: Database, requirement: str, expected: dict[str, str]) -> None:
    assert having(kept, requirement)[0] == expected


def test_what_is_not_pinned_is_told_apart(kept: Database) -> None:
    assert having(kept, "numpy<2.1")[1] == {LOOSE.digest: "numpy>=1.20"}
    assert having(kept, "mlflow<3") == ({}, {LOOSE.digest: "mlflow"})
    everything = {OLD.digest: "1.26.4", NEW.digest: "2.1.0", LOOSE.digest: "numpy>=1.20"}
    assert having(kept, "numpy") == (everything, {})


@pytest.mark.parametrize(
    ("version", "requirement", "inside"),
    [
        ("2.1.0rc1", "x<2.1", False),  # PEP 440: not before the release that it leads to
        ("2.1.0rc1", "x<2.1.0rc2", True),
        ("2.0.9.post1", "x<2.1", True),
        ("2.1.0+cu118", "x==2.1.0", True),
        ("1!1.0", "x<2", False),
        ("10.0", "x<9.9", False),
    ],
)
def test_unusual_versions(database: Database, version: str, requirement: str, inside: bool) -> None:
    database.write(lambda tx: environments.keep(tx, environment_of("", {"x": version})), actor="ana")
    exact, unknown = having(database, requirement)
    assert (list(exact.values()), unknown) == ([version] if inside else [], {})


def test_what_is_no_version_is_unknown(database: Database) -> None:
    strange = environment_of("", {"x": "2.1-our-build", "y": "1" * 300})
    database.write(lambda tx: environments.keep(tx, strange), actor="ana")
    assert list(having(database, "x<9")[1].values()) == ["x==2.1-our-build"]
    assert having(database, "y<9")[0] == {}
    assert len(having(database, "y<9")[1]) == 1
    assert list(having(database, "x")[0].values()) == ["2.1-our-build"]


@pytest.mark.parametrize(
    "requirement", ["", "<2", "numpy 2", "a b", "numpy[x]<2", "numpy<2; python_version<'3'", "n @ https://x"]
)
def test_what_is_no_question_is_refused(database: Database, requirement: str) -> None:
    with pytest.raises(InvalidInput):
        database.read(lambda tx: environments.having(tx, requirement))
