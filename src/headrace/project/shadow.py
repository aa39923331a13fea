"""Shadow: a version answers what production answers, for nobody, before it answers anybody."""

from typing import Literal

from headrace.project.declaration import Declaration
from headrace.project.paired import PairedLoss


class Shadow(Declaration, frozen=True):
    """A copy of the requests goes to the version, and what it answers is compared with what production answered.

    It serves nobody: its answers are logged and thrown away. It goes back by itself when it is shown to fail more
    often than production on the same requests.

    Args:
        percent: of the units whose requests are copied.
        units: compared at least, before it goes on.
        flips: the share of units that may be decided otherwise than by production; None only shows it. Beyond it
            the release holds and asks, since a better version decides otherwise too.
        difference: how far apart the answers may be on average; None only shows it. Beyond it the release asks.
        then: "canary" goes on by itself, "person" waits until somebody resumes the release.
        quality: what it must show by what became of the requests; None does not ask for outcomes.
    """

    percent: int = 100
    units: int = 1000
    flips: float | None = None
    difference: float | None = None
    then: Literal["canary", "person"] = "canary"
    quality: PairedLoss | None = None

    def _check(self) -> None:
        self._check_number("percent", at_least=1, at_most=100, whole=True, fix="Use a whole percent: percent=100.")
        self._check_number("units", at_least=1, whole=True, fix="Use a number of units: units=1000.")
        if self.flips is not None:
            self._check_number("flips", above=0, below=1, fix="Use a fraction, or None: flips=0.05.")
        if self.difference is not None:
            self._check_number("difference", above=0, fix="Use a number above 0, or None: difference=0.02.")
        if self.quality is not None:
            self._check_kind("quality", PairedLoss, "hr.PairedLoss")
        if self.then not in {"canary", "person"}:
            self._refuse(f"then cannot be {self.then!r}", fix='Use "canary" or "person".')
