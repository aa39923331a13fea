"""scikit-learn's estimators in skops files: objects of reviewed types, and no code of the file runs."""

import io
import zipfile
from typing import Any

from headrace.errors import InternalError, PolicyRefused, TooLarge
from headrace.serving.runtimes import estimators
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Predict, Recipe, library
from headrace.training.trusted_types import TRUSTED_TYPES

UNPACKED_LIMIT_BYTES = 256 << 20
"""A file may unpack to so much, or to `UNPACKED_RATIO` times its own size."""
UNPACKED_RATIO = 100


def load(files: ModelFiles, recipe: Recipe) -> Predict:
    """An estimator of types that are reviewed, or allowed for this version.

    Raises:
        PolicyRefused: it holds other types.
        TooLarge: it unpacks to far more than it is.
        InternalError: the file is damaged.
    """
    content = files.read(recipe.file)
    require_modest(content, recipe.file)
    return estimators.prediction(read(content, recipe), recipe)


def read(content: bytes, recipe: Recipe) -> Any:
    """The object in a skops file.

    Raises:
        PolicyRefused: it holds types that nobody has reviewed.
        InternalError: the file is damaged.
    """
    skops = library("skops.io")
    library("sklearn")
    try:
        unknown = set(skops.get_untrusted_types(data=content))
    except Exception as error:
        raise _unreadable(recipe, error) from error
    refused = sorted(unknown - TRUSTED_TYPES - set(recipe.types))
    if refused:
        raise PolicyRefused(
            f"the model holds types that nobody has reviewed: {', '.join(refused)[:400]}",
            where=recipe.file,
            fix="Build it from scikit-learn's own estimators, or have an approver allow the types for this version:"
            " headrace models allow MODEL@N --type NAME --reason WHY",
        )
    try:
        return skops.loads(content, trusted=sorted(unknown))
    except Exception as error:
        raise _unreadable(recipe, error) from error


def require_modest(content: bytes, where: str) -> None:
    """Refuse a zip that unpacks to far more than it is, before anything of it is unpacked.

    Raises:
        TooLarge: it does.
        InternalError: it is no zip.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:
        raise InternalError(f"the model could not be read ({type(error).__name__})", where=where) from error
    if unpacked > max(UNPACKED_LIMIT_BYTES, UNPACKED_RATIO * len(content)):
        raise TooLarge(
            f"the model unpacks from {len(content)} to {unpacked} bytes", where=where, fix="Log it again."
        )


def _unreadable(recipe: Recipe, error: Exception) -> InternalError:
    return InternalError(
        f"the model could not be read ({type(error).__name__})", where=recipe.file, fix="Log it again."
    )
