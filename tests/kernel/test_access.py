"""Principals, roles and tokens, and the ways around them that must not work."""

import json
from datetime import timedelta

import pytest
import sqlalchemy as sa

from headrace.errors import AlreadyExists, Conflict, InvalidInput, NotAuthenticated, NotFound, PolicyRefused
from headrace.kernel import access, events
from headrace.kernel.access import LOCAL, Principal, Role, permits
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database, Tx
from headrace.kernel.tables import tokens

pytestmark = pytest.mark.both_databases


def create(database: Database, name: str = "ana", *roles: Role) -> Principal:
    return database.write(lambda tx: access.create_principal(tx, name, roles or (Role.DEVELOPER,)), actor="local")


def issue(database: Database, name: str = "ana", minutes: int | None = None) -> access.IssuedToken:
    def work(tx: Tx) -> access.IssuedToken:
        expires_at = None if minutes is None else tx.now + timedelta(minutes=minutes)
        return access.issue_token(tx, name, expires_at=expires_at)

    return database.write(work, actor="local")


def authenticate(database: Database, secret: str) -> Principal:
    return database.read(lambda tx: access.authenticate(tx, secret))


def test_a_token_proves_its_principal(database: Database) -> None:
    create(database, "ana", Role.DEVELOPER, Role.VIEWER)
    token = issue(database)
    principal = authenticate(database, token.secret)
    assert principal.id == "ana"
    assert principal.roles == (Role.VIEWER, Role.DEVELOPER)
    assert not principal.is_local


def test_a_token_is_256_random_bits_with_a_prefix(database: Database) -> None:
    create(database)
    secrets = {issue(database).secret for _ in range(20)}
    assert len(secrets) == 20
    assert all(secret.startswith("hdr_") and len(secret) == 4 + 43 for secret in secrets)


def test_the_secret_is_stored_nowhere(database: Database) -> None:
    create(database)
    token = issue(database)

    def everything(tx: Tx) -> str:
        rows = [str(row) for row in tx.execute(sa.select(tokens))]
        return " ".join(rows) + json.dumps([event.payload for event in events.recent(tx)], default=str)

    assert token.secret.removeprefix("hdr_") not in database.read(everything)
    assert token.secret not in repr(token)


@pytest.mark.parametrize(
    "forged",
    ["", "hdr_", "hdr_" + "A" * 43, "Bearer x", "hdr_" + "ü" * 43, "hdr_\ud800", "x" * 100_000, "' OR 1=1 --", "%"],
)
def test_a_forged_token_is_refused(database: Database, forged: str) -> None:
    create(database)
    issue(database)
    with pytest.raises(NotAuthenticated):
        authenticate(database, forged)


def test_the_stored_digest_is_no_token(database: Database) -> None:
    create(database)
    issue(database)
    digest = database.read(lambda tx: tx.execute(sa.select(tokens.c.digest)).scalar_one())
    for guess in (digest, "hdr_" + digest, ("hdr_" + digest)[:47]):
        with pytest.raises(NotAuthenticated):
            authenticate(database, guess)


def test_a_changed_token_is_refused(database: Database) -> None:
    create(database)
    secret = issue(database).secret
    for changed in (secret + "\n", secret + " ", " " + secret, secret.swapcase(), secret[:-1], secret + "\0"):
        with pytest.raises(NotAuthenticated):
            authenticate(database, changed)


def test_every_refusal_reads_the_same(database: Database, clock: ManualClock) -> None:
    create(database)
    create(database, "bo")
    expired, revoked, disabled = issue(database, minutes=5), issue(database), issue(database, "bo")
    database.write(lambda tx: access.revoke_token(tx, revoked.id), actor="local")
    database.write(lambda tx: access.disable_principal(tx, "bo"), actor="local")
    clock.advance(timedelta(minutes=5))
    messages = set()
    for secret in (expired.secret, revoked.secret, disabled.secret, "hdr_" + "A" * 43):
        with pytest.raises(NotAuthenticated) as refusal:
            authenticate(database, secret)
        messages.add(str(refusal.value))
    assert len(messages) == 1


def test_a_token_works_until_it_expires(database: Database, clock: ManualClock) -> None:
    create(database)
    token = issue(database, minutes=5)
    clock.advance(timedelta(minutes=5) - timedelta(microseconds=1))
    assert authenticate(database, token.secret).id == "ana"
    clock.advance(timedelta(microseconds=1))
    with pytest.raises(NotAuthenticated):
        authenticate(database, token.secret)


def test_a_token_that_has_expired_already_is_not_made(database: Database) -> None:
    create(database)
    with pytest.raises(InvalidInput):
        issue(database, minutes=0)


def test_revoking_one_token_leaves_the_others(database: Database) -> None:
    create(database)
    first, second = issue(database), issue(database)
    database.write(lambda tx: access.revoke_token(tx, first.id), actor="local")
    database.write(lambda tx: access.revoke_token(tx, first.id), actor="local")
    assert authenticate(database, second.secret).id == "ana"
    with pytest.raises(NotAuthenticated):
        authenticate(database, first.secret)
    records = database.read(lambda tx: access.tokens_of(tx, "ana"))
    assert {record.id for record in records if record.revoked_at is not None} == {first.id}


def test_a_token_of_another_workspace_cannot_be_revoked(database: Database) -> None:
    create(database)
    token = issue(database)
    with pytest.raises(NotFound):
        database.write(lambda tx: access.revoke_token(tx, token.id), actor="eve", workspace="other")
    assert authenticate(database, token.secret).workspace == "default"


def test_a_role_counts_and_stops_counting_at_once(database: Database) -> None:
    create(database)
    token = issue(database)
    database.write(lambda tx: access.grant_role(tx, "ana", Role.APPROVER), actor="local")
    assert permits(authenticate(database, token.secret), Role.APPROVER)
    database.write(lambda tx: access.revoke_role(tx, "ana", Role.APPROVER), actor="local")
    assert not permits(authenticate(database, token.secret), Role.APPROVER)


def test_nobody_is_given_the_role_system(database: Database) -> None:
    create(database)
    with pytest.raises(PolicyRefused):
        create(database, "bo", Role.SYSTEM)
    with pytest.raises(PolicyRefused):
        database.write(lambda tx: access.grant_role(tx, "ana", Role.SYSTEM), actor="local")


@pytest.mark.parametrize("name", ["local", "anonymous", "reader", "system", "system-worker-1"])
def test_the_platforms_names_are_not_given(database: Database, name: str) -> None:
    with pytest.raises(PolicyRefused):
        create(database, name)


@pytest.mark.parametrize("name", ["", "Ana", "a b", "../ana", "ana\n", "a" * 65, "-ana", "\u0430na"])
def test_odd_names_are_not_given(database: Database, name: str) -> None:
    with pytest.raises(InvalidInput):
        create(database, name)


def test_a_principal_needs_a_role(database: Database) -> None:
    with pytest.raises(InvalidInput):
        database.write(lambda tx: access.create_principal(tx, "ana", []), actor="local")


def test_a_name_is_never_given_twice(database: Database) -> None:
    create(database)
    database.write(lambda tx: access.disable_principal(tx, "ana"), actor="local")
    with pytest.raises(AlreadyExists):
        create(database)


def test_a_disabled_principal_gets_no_token(database: Database) -> None:
    create(database)
    database.write(lambda tx: access.disable_principal(tx, "ana"), actor="local")
    with pytest.raises(Conflict):
        issue(database)


def test_who_is_enabled_again_has_the_roles_and_no_token_of_before(database: Database) -> None:
    create(database, "ana", Role.APPROVER)
    before = issue(database)
    database.write(lambda tx: access.disable_principal(tx, "ana"), actor="local")
    for _ in range(2):
        again = database.write(lambda tx: access.enable_principal(tx, "ana"), actor="local")
        assert (again.disabled, again.roles) == (False, (Role.APPROVER,))
    with pytest.raises(NotAuthenticated):
        database.read(lambda tx: access.authenticate(tx, before.secret))
    after = issue(database)
    assert database.read(lambda tx: access.authenticate(tx, after.secret)).name == "ana"
    enabled = [event for event in database.read(lambda tx: events.after(tx, 0)) if "enabled" in event.type]
    assert [event.payload for event in enabled] == [{"tokens_revoked": 1}]


def test_a_mistyped_name_is_told_which_one_is_near(database: Database) -> None:
    create(database, "ana", Role.APPROVER)
    with pytest.raises(NotFound, match="Did you mean ana"):
        database.write(lambda tx: access.enable_principal(tx, "anna"), actor="local")


def test_the_last_admin_stays(database: Database) -> None:
    create(database, "ana", Role.ADMIN)
    create(database, "bo", Role.ADMIN)
    database.write(lambda tx: access.revoke_role(tx, "bo", Role.ADMIN), actor="ana")
    with pytest.raises(Conflict):
        database.write(lambda tx: access.revoke_role(tx, "ana", Role.ADMIN), actor="ana")
    with pytest.raises(Conflict):
        database.write(lambda tx: access.disable_principal(tx, "ana"), actor="ana")


def test_each_change_writes_one_event_and_a_repeat_none(database: Database) -> None:
    create(database)
    token = issue(database)
    for _ in range(2):
        database.write(lambda tx: access.grant_role(tx, "ana", Role.OPERATOR), actor="local")
    for _ in range(2):
        database.write(lambda tx: access.revoke_role(tx, "ana", Role.OPERATOR), actor="local")
    for _ in range(2):
        database.write(lambda tx: access.revoke_token(tx, token.id), actor="local")
    for _ in range(2):
        database.write(lambda tx: access.disable_principal(tx, "ana"), actor="local")
    history = database.read(lambda tx: [event.type for event in events.of_subject(tx, "principal/ana")])
    assert history == [
        "kernel.principal_created",
        "kernel.token_issued",
        "kernel.role_granted",
        "kernel.role_revoked",
        "kernel.token_revoked",
        "kernel.principal_disabled",
    ]


def somebody(*roles: Role, disabled: bool = False) -> Principal:
    return Principal(id="ana", name="ana", roles=roles, disabled=disabled)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.SYSTEM])
def test_the_local_caller_and_an_admin_may_do_what_is_not_the_systems(role: Role) -> None:
    assert permits(LOCAL, role)
    assert permits(somebody(Role.ADMIN), role)


def test_only_the_system_may_do_what_is_the_systems() -> None:
    assert not permits(LOCAL, Role.SYSTEM)
    assert not permits(somebody(*(role for role in Role if role is not Role.SYSTEM)), Role.SYSTEM)
    assert permits(somebody(Role.SYSTEM), Role.SYSTEM)


@pytest.mark.parametrize("held", list(Role))
def test_any_role_may_look(held: Role) -> None:
    assert permits(somebody(held), Role.VIEWER)


@pytest.mark.parametrize("held", [Role.VIEWER, Role.DEVELOPER, Role.APPROVER, Role.OPERATOR])
def test_roles_do_not_contain_one_another(held: Role) -> None:
    allowed = {role for role in Role if permits(somebody(held), role)}
    assert allowed == {held, Role.VIEWER}


def test_no_role_and_a_disabled_principal_may_nothing() -> None:
    assert not any(permits(somebody(), role) for role in Role)
    assert not any(permits(somebody(*Role, disabled=True), role) for role in Role)


def test_who_a_transaction_acts_for_is_told_with_the_roles_of_now(database: Database) -> None:
    create(database, "ana", Role.APPROVER)
    create(database, "ada", Role.ADMIN)
    found = database.read(lambda tx: access.acting(tx.acting_as("ana")))
    assert (found.id, found.roles, found.is_local) == ("ana", (Role.APPROVER,), False)
    database.write(lambda tx: access.disable_principal(tx, "ana"), actor="root")
    assert database.read(lambda tx: access.acting(tx.acting_as("ana"))).disabled
    assert database.read(lambda tx: access.acting(tx.acting_as("local"))).is_local
    assert database.read(lambda tx: access.acting(tx.acting_as("system"))).roles == (Role.SYSTEM,)
    assert database.read(lambda tx: access.acting(tx.acting_as("nobody"))).roles == ()
