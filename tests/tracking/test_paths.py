"""No path leaves its owner, however it is disguised."""

import pytest

from headrace.errors import InvalidInput
from headrace.tracking.paths import at_the_end_of, confined, confined_folder


@pytest.mark.parametrize(
    "path",
    [
        "model.pkl",
        "plots/roc.png",
        "a b/ö.txt",
        "100%.txt",
        "a..b/c",
        "...",
        ".hidden",
        "a%20b",
        "x" * 255,
        "/".join(["ö" * 127] * 7),
    ],
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
        "/".join(["x" * 200] * 5),
        "/".join(["\U00020000" * 60] * 9),
        "a/" + "x" * 256,
        "ö" * 128,
        "\ud800",
        "a\ufffdb",
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


def test_what_the_router_would_leave_out_is_refused() -> None:
    assert at_the_end_of(b"/api/v1/runs/1/artifacts/a/%C3%B6?x=//", "/a/ö") == "a/ö"
    for url in (b"/artifacts//etc/passwd", b"/artifacts/a//b", b"/artifacts/a%2f%2Fb", b"/a%2f?x"):
        with pytest.raises(InvalidInput, match="empty segments"):
            at_the_end_of(url, "/a")
