"""Who may call a gateway."""

import pytest

from headrace.errors import NotAuthenticated
from headrace.serving.admission import Admission, hash_token, login_required


def test_loopback_asks_for_nothing_and_anything_else_for_a_known_token() -> None:
    open_door = Admission(login_required=login_required("127.0.0.1"), known=lambda _: False)
    open_door(None)
    open_door("whatever")
    guarded = Admission(login_required=login_required("0.0.0.0"), known={hash_token("hdr_ana")}.__contains__)
    guarded("hdr_ana")
    for token in (None, "", "hdr_eve"):
        with pytest.raises(NotAuthenticated) as refused:
            guarded(token)
        assert "hdr_eve" not in str(refused.value)
