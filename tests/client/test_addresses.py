import pytest

from headrace.client.addresses import without_login


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@host/x.git", "https://host/x.git"),
        ("https://host/x.git", "https://host/x.git"),
        ("git@host:x.git", "git@host:x.git"),
        ("ssh://git@host/x.git", "ssh://host/x.git"),
        ("/a/path", "/a/path"),
        ("", ""),
    ],
)
def test_addresses_are_shown_without_a_login(url: str, shown: str) -> None:
    assert without_login(url) == shown
