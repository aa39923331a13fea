"""Paths of artifacts: relative, plain, and never outside their owner."""

from urllib.parse import unquote

from headrace.errors import InvalidInput

PATH_LIMIT = 1000
FILES = "artifacts"
MODELS = "models"
_DECODINGS = 8


def confined(path: str) -> str:
    """The path of a file inside its owner, unchanged, once it is known to stay there.

    It is refused however it is disguised: percent-encoded once or several times, with backslashes, absolute, with
    `.` or `..` or an empty segment, with NUL or another control character, or with `#`, which URLs cut off.

    Raises:
        InvalidInput: the path is not plain.
    """
    if not path or len(path) > PATH_LIMIT:
        raise _refused(path, f"an artifact's path has 1 to {PATH_LIMIT} characters")
    decoded = path
    for _ in range(_DECODINGS):
        _require_plain(path, decoded)
        following = unquote(decoded)
        if following == decoded:
            return path
        decoded = following
    raise _refused(path, "an artifact's path is not encoded over and over")


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
    if any("\ud800" <= character <= "\udfff" for character in decoded):
        raise _refused(path, "an artifact's path is valid Unicode")
    if any(segment in {"", ".", ".."} for segment in decoded.split("/")):
        raise _refused(path, "an artifact's path has no empty, '.' or '..' segment")


def _refused(path: str, problem: str) -> InvalidInput:
    return InvalidInput(
        problem,
        where=f"path {path[:100]!r}",
        fix="Use a path like plots/roc.png, relative to the run or the model.",
    )
