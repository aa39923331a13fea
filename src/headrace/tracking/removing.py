"""What a worker does about files at an artifact root whose run or logged model is gone for good."""

from headrace.kernel.roots import open_roots
from headrace.kernel.work import WorkContext
from headrace.tracking.jobs import Removed, RemoveFiles


def run_removal(context: WorkContext, payload: RemoveFiles) -> Removed:
    """Remove them; what another attempt removed already is not counted again.

    Raises:
        PolicyRefused: the place is below no root that the operator allows.
        Unavailable: the root does not answer.
    """
    roots = open_roots(context.settings)
    found = roots.files_below(payload.place)
    roots.delete(payload.place)
    return Removed(files=len(found), bytes=sum(file.size_bytes for file in found))
