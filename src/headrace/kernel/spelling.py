"""Which of the names that there are somebody may have meant by one that is not there."""

from collections.abc import Iterable
from difflib import SequenceMatcher
from heapq import nlargest

NAME_LIMIT = 100
"""Characters; a longer name is not compared, for that would take long and it is no slip of the hand."""
LOOKED_AT = 20
"""Names that are compared letter by letter; the others differ in more letters than these do."""
NEAR = 0.7
"""Part of the letters that two names share in one order, at least."""
MOST = 3


def near(name: str, known: Iterable[str]) -> list[str]:
    """Those of the known names that look like `name`, the likeliest first; three at most.

    Upper and lower case are the same here, and so are `-`, `_` and a space.
    """
    if len(name) > NAME_LIMIT:
        return []
    wanted = SequenceMatcher(None, "", _folded(name), autojunk=False)

    def roughly(other: str) -> float:
        wanted.set_seq1(_folded(other))
        return wanted.quick_ratio()

    def exactly(other: str) -> float:
        wanted.set_seq1(_folded(other))
        return wanted.ratio()

    likely = nlargest(LOOKED_AT, (other for other in known if len(other) <= NAME_LIMIT), key=roughly)
    ranked = sorted(((exactly(other), other) for other in likely), key=lambda found: (-found[0], found[1]))
    return [other for share, other in ranked if share >= NEAR][:MOST]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The question, or nothing where no name is near."""
    found = near(name, known)
    return f"Did you mean {' or '.join(found)}?" if found else ""


def _folded(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
