"""Who may call a gateway."""

import pytest

from headrace.errors import NotAuthenticated, PermissionRefused
from headrace.serving.gateway.admission import Admission, hash_token, login_required
from headrace.serving.nouns import Caller

KNOWN = {
    hash_token("hdr_ana"): Caller(token_hash=hash_token("hdr_ana"), principal_id="ana"),
    hash_token("hdr_nora"): Caller(token_hash=hash_token("hdr_nora"), principal_id="nora", may_read=False),
}


def test_loopback_asks_for_nothing_and_anything_else_for_a_known_token() -> None:
    open_door = Admission(login_required=login_required("127.0.0.1"), find=lambda _: None)
    open_door(None)
    open_door("whatever")
    guarded = Admission(login_required=login_required("0.0.0.0"), find=KNOWN.get)
    guarded("hdr_ana")
    for token in (None, "", "hdr_eve"):
        with pytest.raises(NotAuthenticated) as refused:
            guarded(token)
        assert "hdr_eve" not in str(refused.value)


def test_whoever_has_no_role_may_not_ask() -> None:
    guarded = Admission(login_required=True, find=KNOWN.get)
    with pytest.raises(PermissionRefused, match="nora") as refused:
        guarded("hdr_nora")
    assert "headrace access grant nora viewer" in str(refused.value)
