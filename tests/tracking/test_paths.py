"""No path leaves its owner, however it is disguised."""

import pytest

from headrace.errors import InvalidInput
from headrace.tracking.paths import confined, confined_folder


@pytest.mark.parametrize(
    "path", ["model.pkl", "plots/roc.png", "a b/ö.txt", "100%.txt", "a..b/c", "...", ".hidden", "a%20b"]
)
def test_plain_paths_pass_unchanged(path: str) -> None:
    assert confined(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "..",
        "../x",
        "a/../b",
        "a/..",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "/etc/passwd",
        "C:/x",
        "a\\b",
        "..\\x",
        "%2e%2e/x",
        "a/%2e%2e/b",
        "%252e%252e%252fx",
        "%2Fetc",
        "a%00b",
        "a\x00b",
        "a\nb",
        "a#b",
        "a%23b",
        "%" + "25" * 20 + "2e",
        "x" * 1001,
        "\ud800",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="path") as caught:
        confined(path)
    assert caught.value.fix


def test_folders_may_be_empty_and_end_in_a_slash() -> None:
    assert [confined_folder(path) for path in ("", "/", "a", "a/b/")] == ["", "", "a", "a/b"]
    with pytest.raises(InvalidInput):
        confined_folder("../")
