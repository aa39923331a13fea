"""The first admin of a platform that is bound to the network, made while nothing runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import AlreadyExists, HomeLocked, StartError
from headrace.kernel import access, events, migrate
from headrace.kernel.access import Role
from headrace.kernel.database import Tx
from headrace.kernel.settings import Settings
from headrace.kernel.sqlite import SqliteDatabase
from headrace.server import control
from headrace.server.home import hold_home
from headrace.server.offline import add_principal, require_admin


def test_the_first_admin_is_made_without_a_platform(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    token = add_principal(settings, "ana", [Role.ADMIN])
    database = migrate.open_database(settings)
    try:
        assert database.read(lambda tx: access.authenticate(tx, token.secret)).roles == (Role.ADMIN,)
        recorded = database.read(lambda tx: events.of_subject(tx, "principal/ana"))
        assert [(event.type, event.actor) for event in recorded] == [
            ("kernel.principal_created", "local"),
            ("kernel.token_issued", "local"),
        ]
        require_admin(database, "0.0.0.0")
    finally:
        database.close()
    with pytest.raises(AlreadyExists):
        add_principal(settings, "ana", [Role.ADMIN])


def test_a_home_in_use_is_left_alone(tmp_path: Path) -> None:
    with hold_home(tmp_path), pytest.raises(HomeLocked):
        add_principal(Settings(home=tmp_path), "ana", [Role.ADMIN])
    assert not (tmp_path / "headrace.db").exists()


@pytest.mark.parametrize("lack", ["nobody", "role", "token", "revoked", "disabled"])
def test_the_network_is_refused_while_no_admin_can_log_in(database: SqliteDatabase, lack: str) -> None:
    def make(tx: Tx) -> None:
        access.create_principal(tx, "ana", [Role.OPERATOR if lack == "role" else Role.ADMIN])
        if lack != "token":
            token = access.issue_token(tx, "ana")
            if lack == "revoked":
                access.revoke_token(tx, token.id)
        if lack == "disabled":
            access.create_principal(tx, "bo", [Role.ADMIN])  # the last admin cannot be disabled
            access.disable_principal(tx, "ana")

    if lack != "nobody":
        database.write(make, actor="local")
    with pytest.raises(StartError) as refused:
        require_admin(database, "0.0.0.0")
    assert "headrace access add" in str(refused.value.fix)


def test_control_itself_refuses_the_network(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="asks for a login"):
        control.run(Settings(home=tmp_path, host="0.0.0.0"), "control", 0)


@pytest.mark.loop
def test_up_says_how_to_make_the_first_admin_and_the_way_works(tmp_path: Path) -> None:
    def headrace(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-P", "-m", "headrace", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=project)

    project = tmp_path / "project"
    project.mkdir()
    (project / "queue.py").write_text("raise RuntimeError('a file of the user hides a module of the platform')")

    home = ("--home", str(tmp_path / "home"))
    refused = headrace("up", *home, "--host", "0.0.0.0", "--port", "0", "--gateway-port", "0")
    assert refused.returncode == 1
    assert "no admin has a token yet" in " ".join(refused.stderr.split())
    assert "headrace access add NAME --role admin --offline" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
    made = headrace("access", "add", "ana", "--role", "admin", "--offline", *home)
    assert made.returncode == 0
    assert made.stdout.strip().splitlines()[-1].startswith(access.TOKEN_PREFIX)
    unknown = headrace("access", "add", "bo", "--role", "king", "--offline", *home)
    assert unknown.returncode == 1
    assert "'king' is not a role" in unknown.stderr
