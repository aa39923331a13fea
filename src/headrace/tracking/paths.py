"""Paths of artifacts: relative, plain, and never outside their owner."""

from urllib.parse import unquote

from headrace.errors import InvalidInput

PATH_LIMIT = 1000
FILES = "artifacts"
MODELS = "models"
PATH_LIMIT_BYTES = 2000
"""In UTF-8; an index of PostgreSQL takes no more than about 2,700."""
SEGMENT_LIMIT_BYTES = 255
"""What a file system takes as a name: a file that is logged can be downloaded again."""
_DECODINGS = 8
_UNDECODABLE = "\ufffd"


def confined(path: str) -> str:
    """The path of a file inside its owner, unchanged, once it is known to stay there.

    It is refused however it is disguised: percent-encoded once or several times, with backslashes, absolute, with
    `.` or `..` or an empty segment, with NUL or another control character, with `#`, which URLs cut off, or with
    the mark that stands for bytes which are no text.

    Raises:
        InvalidInput: the path is not plain.
    """
    if not path or len(path) > PATH_LIMIT:
        raise _refused(path, f"an artifact's path has 1 to {PATH_LIMIT} characters")
    if _UNDECODABLE in path or any("\ud800" <= character <= "\udfff" for character in path):
        raise _refused(path, "an artifact's path is valid Unicode")
    encoded = path.encode()
    if len(encoded) > PATH_LIMIT_BYTES or max(map(len, encoded.split(b"/"))) > SEGMENT_LIMIT_BYTES:
        limits = f"{PATH_LIMIT_BYTES} bytes, and {SEGMENT_LIMIT_BYTES} between two slashes"
        raise _refused(path, f"an artifact's path has at most {limits}")
    decoded = path
    for _ in range(_DECODINGS):
        _require_plain(path, decoded)
        following = unquote(decoded)
        if following == decoded:
            return path
        decoded = following
    raise _refused(path, "an artifact's path is not encoded over and over")


def at_the_end_of(url: bytes, found: str) -> str:
    """The path of a file at the end of a URL as it was sent; `found` is what the router made of it.

    The router leaves empty segments out, so that `/etc/passwd`, `a//b` or `a/` would be kept under another name.

    Raises:
        InvalidInput: there are such segments.
    """
    asked = unquote(url.partition(b"?")[0].decode("latin-1"))
    if "//" in asked or asked.endswith("/"):
        raise _refused(asked, "an artifact's path is relative, without empty segments")
    return found.removeprefix("/")


def confined_folder(path: str) -> str:
    """Like `confined`, for a folder to list: it may be empty, and may end in one slash."""
    trimmed = path.removesuffix("/")
    return confined(trimmed) if trimmed else ""


def run_files(location: str, run_id: str) -> str:
    """Where a run's files are below its experiment's location, in MLflow's layout."""
    return f"{location}/{run_id}/{FILES}"


def model_files(location: str, model_id: str) -> str:
    """Where a logged model's files are below its experiment's location, in MLflow's layout."""
    return f"{location}/{MODELS}/{model_id}/{FILES}"


def _require_plain(path: str, decoded: str) -> None:
    if decoded.startswith("/") or "\\" in decoded or decoded[1:3] == ":/":
        raise _refused(path, "an artifact's path is relative, with forward slashes")
    if "#" in decoded or any(ord(character) < 32 or ord(character) == 127 for character in decoded):
        raise _refused(path, "an artifact's path has no # and no control characters")
    if any(segment in {"", ".", ".."} for segment in decoded.split("/")):
        raise _refused(path, "an artifact's path has no empty, '.' or '..' segment")


def _refused(path: str, problem: str) -> InvalidInput:
    return InvalidInput(
        problem,
        where=f"path {path[:100]!r}",
        fix="Use a path like plots/roc.png, relative to the run or the model.",
    )
