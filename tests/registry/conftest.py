"""What the registry's tests share: people with roles, and a model whose two versions ana made."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from headrace.errors import HeadraceError
from headrace.kernel import access
from headrace.kernel.access import Role, create_principal
from headrace.kernel.database import Blocking, Database, Tx
from headrace.registry import approvals, evidence, models, policies, register, stages, versions
from headrace.registry.approval import Approval, Decision
from headrace.registry.nouns import (
    ApprovalStatus,
    Evidence,
    ModelFile,
    RegisterVersion,
    Stage,
    Verdict,
    Version,
)
from headrace.registry.rules import Policy

T = TypeVar("T")

PEOPLE = {
    "ana": [Role.DEVELOPER, Role.APPROVER],
    "cy": [Role.DEVELOPER],
    "bo": [Role.APPROVER],
    "eve": [Role.APPROVER],
    "op": [Role.OPERATOR],
    "vic": [Role.VIEWER],
    "adm": [Role.ADMIN],
}
YES = Decision(grant=True, meaning="I have reviewed the evidence and accept the risk.")
ADDRESS = "https://headrace.example"


class Office:
    """A database in which people act, as they do through a door: a refusal has its aftermath."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def act(self, name: str, work: Callable[[Tx], T]) -> T:
        return Blocking(self.database, actor=name, address=lambda: ADDRESS).write(work)

    def read(self, work: Callable[[Tx], T]) -> T:
        return self.database.read(work)

    def person(self, name: str) -> access.Principal:
        return self.database.read(lambda tx: access.acting(tx.acting_as(name)))

    def refused(self, name: str, work: Callable[[Tx], object]) -> HeadraceError:
        """The error that an attempt is answered with."""
        try:
            self.act(name, work)
        except HeadraceError as error:
            return error
        raise AssertionError("it was not refused")

    def waiting(self) -> Approval:
        """The only request that waits for a decision."""
        (found,) = self.read(lambda tx: approvals.search(tx, status=ApprovalStatus.REQUESTED))
        return found

    def decide(self, name: str, decision: Decision = YES, approval: Approval | None = None) -> Approval:
        """Somebody grants, or answers otherwise, the request that waits."""
        asked = approval or self.waiting()
        return self.act(name, lambda tx: approvals.decide(tx, asked.id, decision, access.acting(tx)))

    def prove(self, gate: str = "fair", verdict: Verdict = Verdict.PASS, **fields: Any) -> None:
        """Record evidence on the first version."""
        found = Evidence(model="churn", number=1, kind="gate", name=gate, gate=gate, verdict=verdict, **fields)
        self.act("worker", lambda tx: evidence.record(tx, found))

    def stage(self, number: int = 1) -> Stage:
        """Where a version stands."""
        return self.read(lambda tx: versions.get(tx, "churn", number)).stage

    @staticmethod
    def to(stage: Stage, number: int = 1, **options: Any) -> Callable[[Tx], Version]:
        """A move of a version of churn."""
        return lambda tx: stages.transition(tx, "churn", number, stage, "because", **options)

    def policy(self, **fields: object) -> Policy:
        """Set a policy on the production stage of churn, unless told otherwise."""
        given: dict[str, object] = {"model": "churn", "stage": Stage.PRODUCTION, **fields}
        if "alias" in given:
            del given["stage"]
        return self.act("adm", lambda tx: policies.put(tx, Policy(**given)))  # type: ignore[arg-type]


def files(letter: str) -> tuple[ModelFile, ...]:
    return (ModelFile(path="MLmodel", digest="sha256:" + letter * 64, size_bytes=1),)


@pytest.fixture
def office(database: Database) -> Office:
    """People, and the model `churn` with the versions 1 and 2."""

    def work(tx: Tx) -> None:
        for name, roles in PEOPLE.items():
            create_principal(tx, name, roles)
        models.create(tx, "churn")
        for run, letter in (("r1", "c"), ("r2", "d")):
            wanted = RegisterVersion(model="churn", run_id=run, files=files(letter))
            register.register_version(tx, wanted, author="ana")

    database.write(work, actor="ana")
    return Office(database)
