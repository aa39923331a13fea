"""PairedLoss: what a version in shadow must show by the outcomes of the requests that both versions answered."""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

from headrace.project.declaration import Declaration
from headrace.project.durations import parse_window

LOSSES = ("log_loss", "brier", "error", "absolute_error", "squared_error")
OF_PROBABILITIES = frozenset({"log_loss", "brier", "error"})
"""Losses of the probability of class 1, against an outcome of 0 or 1; of each class, where classes are named."""
LOG_LOSS_BOUND = math.log(100.0)
"""Of a probability of 1 % for what came true."""

MOST_CLASSES = 10_000

Loss = Literal["log_loss", "brier", "error", "absolute_error", "squared_error"]
Before = Literal["canary", "full_traffic", "nothing"]


class PairedLoss(Declaration, frozen=True):
    """Compares the losses of both versions on the same requests, once it is final what became of them.

    A version goes back as soon as its mean loss is shown to be above production's by more than the margin. It goes
    on when that is shown not to be so.

    Args:
        loss: "log_loss", "brier" or "error" of a probability; "absolute_error" or "squared_error" of a number.
        margin: how much greater the mean loss may be, in units of the loss, above 0.
        feedback: the name of the feedback that is the outcome; None takes the model's label: feedback under its
            name or as `label`, else what is computed from the label's source.
        matures_after: how long after a request its outcome is final, business time; needed with `feedback`, since
            the model's label says it itself.
        before: what may not begin until it is shown: "canary", any answer to a caller; "full_traffic", the step
            at which all traffic is the version's; "nothing", so that it only takes the version back.
        at_most: a greater loss of a request counts as this. Of log_loss ln 100 unless it is said, as if nothing
            had a probability below 1 %; needed for errors of numbers, which have no bound of their own.
        classes: of a model with several: what the outcome may be, in the order of the probabilities that the model
            answers with. By "error" it may answer with a class too. Outcomes are feedback then.
    """

    loss: Loss
    margin: float
    feedback: str | None = None
    matures_after: str | None = None
    before: Before = "canary"
    at_most: float | None = None
    classes: Sequence[str | int] | None = None

    @property
    def bound(self) -> float:
        """What no loss of a request exceeds."""
        if self.at_most is not None:
            return self.at_most
        return LOG_LOSS_BOUND if self.loss == "log_loss" else 1.0

    @property
    def maturity(self) -> timedelta | None:
        """How long after a request its outcome is final; None where the model's label says it."""
        if self.matures_after is None:
            return None
        return parse_window(self.matures_after, where=self.declared_at, field="matures_after")

    def _check(self) -> None:
        if self.loss not in LOSSES:
            self._refuse(f"there is no loss {self.loss!r}", fix=f"Use one of: {', '.join(LOSSES)}.")
        if self.before not in {"canary", "full_traffic", "nothing"}:
            self._refuse(f"before cannot be {self.before!r}", fix='Use "canary", "full_traffic" or "nothing".')
        if self.at_most is not None:
            if self.loss in {"brier", "error"}:
                self._refuse(f"{self.loss} is never above 1", fix="Leave at_most out.")
            self._check_number("at_most", above=0, fix="Use the greatest loss that shall count: at_most=100.")
        elif self.loss not in OF_PROBABILITIES:
            self._refuse(
                f"{self.loss} has no bound, and one request could decide alone",
                fix="Say what a request may count at most: at_most=100.",
            )
        self._check_number("margin", above=0, below=self.bound, fix="Use units of the loss: margin=0.01.")
        if self.classes is not None:
            self._check_classes()
        if self.feedback is not None:
            self._check_text("feedback", fix='Use the name of the feedback: feedback="label".')
            if self.matures_after is None:
                self._refuse(
                    f"feedback {self.feedback!r} does not say when it is final",
                    fix='Add matures_after="7d": by when whatever comes has come.',
                )
            parse_window(self.matures_after, where=self.declared_at, field="matures_after")
        elif self.matures_after is not None:
            self._refuse(
                "the model's label says itself when it is final",
                fix='Leave matures_after out, or name feedback: feedback="label".',
            )

    def _check_classes(self) -> None:
        classes = self.classes
        fix = 'Name each class once, in the order of the probabilities: classes=["cat", "dog", "bird"].'
        if not isinstance(classes, list | tuple) or not 2 <= len(classes) <= MOST_CLASSES:
            self._refuse(f"classes cannot be {str(classes)[:200]}", fix=fix)
        if len({type(each) for each in classes}) > 1 or type(classes[0]) not in {str, int}:
            self._refuse("classes are all texts, or all whole numbers", fix=fix)
        if len(set(classes)) < len(classes):
            self._refuse("a class is named twice", fix=fix)
        if self.loss not in OF_PROBABILITIES:
            self._refuse(f"{self.loss} is of numbers and not of classes", fix='Use loss="log_loss".')
        if self.feedback is None:
            self._refuse(
                "the model's label is 0 or 1, and not one of several classes",
                fix='Name the feedback that is the outcome: feedback="label", matures_after="7d".',
            )
        self._replace("classes", tuple(classes))
