"""Staging: what is tried through the real serving path before a person is asked."""

from headrace.project.declaration import Declaration


class Replay(Declaration, frozen=True, tag="replay", tag_field="kind"):
    """Scores entities of the training set through a gateway and compares with the recorded scores.

    Args:
        rows: how many entities are replayed.
    """

    rows: int = 500

    def _check(self) -> None:
        self._check_number(
            "rows", at_least=1, at_most=1_000_000, whole=True, fix="Use a whole number up to 1,000,000."
        )


def replay(rows: int = 500) -> Replay:
    """Replay this many entities of the training set through the gateway."""
    return Replay(rows)
