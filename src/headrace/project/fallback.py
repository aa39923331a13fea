"""Fallback: what answers when the version in production cannot."""

from headrace.project.declaration import Declaration


class Fallback(Declaration, frozen=True):
    """Who is asked instead of a version that fails, and what is said when nobody can answer.

    A challenger that fails is always replaced by the champion, and a champion by the version before it while that
    is still loaded. An answer that came this way is marked in the response and in the log.

    Args:
        default: the answer when no version gives one, or none in time; None: the caller gets the error.
        keep_previous: whether the version before stays loaded after the cooling, to take over when the champion
            fails. It takes the memory of a second model.
    """

    default: float | None = None
    keep_previous: bool = False

    def _check(self) -> None:
        if self.default is not None:
            self._check_number("default", fix="Use a finite number, the answer for a row: default=0.02.")
        if not isinstance(self.keep_previous, bool):
            self._refuse(f"keep_previous cannot be {self.keep_previous!r}", fix="Write True or False.")
