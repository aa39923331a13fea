"""Background work in pieces: one that fails is undone alone, and keeps no other from being done."""

from collections.abc import Callable, Iterable

from headrace.kernel.database import Tx

Piece = tuple[Tx, Callable[[Tx], object]]


def each_apart(pieces: Iterable[Piece]) -> None:
    """Do each piece, in a part of the transaction that is undone if it fails.

    A failure is told by raising, once no other piece was done: raising undoes all of the transaction.
    """
    problem: Exception | None = None
    done = 0
    for tx, do in pieces:
        try:
            tx.apart(do)
            done += 1
        except Exception as error:  # noqa: BLE001 - raised below, when it undoes nothing of the others
            problem = problem or error
    if problem is not None and not done:
        raise problem
