"""Which of the names that there are somebody may have meant by one that is not there."""

from collections.abc import Callable, Iterable
from difflib import SequenceMatcher
from heapq import nlargest

NAME_LIMIT = 100
"""Characters; a longer name is not compared, for that would take long and it is no slip of the hand."""
COUNTED = 100
"""Names whose letters are counted; the others have fewer of its letters, or more that are not among them."""
LOOKED_AT = 20
"""Of these the names that are compared letter by letter; the others differ in more letters than these do."""
NEAR = 0.7
"""Part of the letters that two names share in one order, at least."""
MOST = 3


def near(name: str, known: Iterable[str]) -> list[str]:
    """Those of the known names that look like `name`, the likeliest first; three at most.

    Upper and lower case are the same here, and so are `-`, `_` and a space.
    """
    if len(name) > NAME_LIMIT:
        return []
    wanted = _folded(name)
    matcher = SequenceMatcher(None, "", wanted, autojunk=False)

    def roughly(other: str) -> float:
        matcher.set_seq1(_folded(other))
        return matcher.quick_ratio()

    def exactly(other: str) -> float:
        matcher.set_seq1(_folded(other))
        return matcher.ratio()

    # whoever asks may hold the one writer or a loop: most names are told apart without difflib
    possible = nlargest(COUNTED, (other for other in known if len(other) <= NAME_LIMIT), key=_at_most(wanted))
    likely = nlargest(LOOKED_AT, possible, key=roughly)
    ranked = sorted(((exactly(other), other) for other in likely), key=lambda found: (-found[0], found[1]))
    return [other for share, other in ranked if share >= NEAR][:MOST]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The question, or nothing where no name is near."""
    found = near(name, known)
    return f"Did you mean {' or '.join(found)}?" if found else ""


def _at_most(wanted: str) -> Callable[[str], float]:
    """How much of its letters a name can share with the wanted one, told by which letters it has."""
    letters = wanted.encode()

    def share(other: str) -> float:
        there = _folded(other).encode()
        foreign, missing = there.translate(None, delete=letters), letters.translate(None, delete=there)
        shared = min(len(there) - len(foreign), len(letters) - len(missing))
        return 2.0 * shared / (len(letters) + len(there) or 1)

    return share


def _folded(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
