"""A/B tests and bandits: rollouts that are decided by what the answers brought, not by the absence of harm."""

from collections.abc import Sequence
from datetime import timedelta

from headrace.project.durations import parse_duration, parse_window
from headrace.project.rollout import Canary, Guarded


class Experiment(Guarded, frozen=True, kw_only=True):
    """What A/B tests and bandits have in common: which reward counts, and of which predictions."""

    reward: str
    share: int = 50
    ramp: Sequence[int] = ()
    range: Sequence[float] = (0.0, 1.0)
    lower_is_better: bool = False
    margin: float = 0.0
    matures_after: str = "1d"
    missing: float | None = None
    find: float | None = None
    split_alpha: float = 0.001
    minimum_time: str = "7d"
    ask_after: str = "30d"

    @property
    def steps(self) -> tuple[int, ...]:
        """Percent of the traffic at each step before anything is known; the last one is 100."""
        return (*self.ramp, self.share, 100)

    @property
    def matures_after_duration(self) -> timedelta:
        """How old a prediction is when its reward counts, or its lack."""
        return parse_duration(self.matures_after, where=self.declared_at, field="matures_after")

    def _check(self) -> None:
        self._check_text("reward", fix='Name the feedback that tells what an answer brought: reward="purchase".')
        self._check_number("share", at_least=1, at_most=99, whole=True, fix="Use a whole percent: share=50.")
        self._check_steps("ramp")
        if self.ramp and self.ramp[-1] >= self.share:
            self._refuse(f"the ramp {list(self.ramp)} does not lead up to {self.share}", fix="Use ramp=[5].")
        self._check_range()
        width = self.range[1] - self.range[0]
        self._check_number("margin", at_least=0, below=width, fix="Use the loss that you would accept: margin=0.0.")
        if self.missing is not None:
            low, high = self.range
            self._check_number(
                "missing", at_least=low, at_most=high, fix="Use a reward in the range, or None: missing=0.0."
            )
        if self.find is not None:
            self._check_number("find", above=0, at_most=width, fix="Use a difference, or None: find=0.01.")
        parse_duration(self.matures_after, where=self.declared_at, field="matures_after")
        self._check_error_rate("split_alpha")
        super()._check()

    def _check_range(self) -> None:
        ends = self.range
        fix = "Use the lowest and the highest reward there can be: range=(0, 1)."
        if not isinstance(ends, list | tuple) or len(ends) != 2:
            self._refuse(f"range cannot be {ends!r}", fix=fix)
        if not all(isinstance(end, int | float) and not isinstance(end, bool) and abs(end) < 1e15 for end in ends):
            self._refuse(f"range cannot be {ends!r}", fix=fix)
        if not ends[0] < ends[1]:
            self._refuse(f"range {ends!r} has no room", fix=fix)
        self._replace("range", (float(ends[0]), float(ends[1])))


class ABTest(Experiment, frozen=True, kw_only=True, tag="ab_test", tag_field="kind"):
    """Two versions side by side until it is shown which one brings more.

    The version is promoted when its mean reward is shown to be above the champion's, less the margin; it goes
    back when that is shown to be below it, or as soon as one of the signals of a canary shows harm. A unit stays
    with its version, and only what its first prediction brought counts.

    Args:
        reward: the name of the feedback that tells what an answer brought; more is better.
        share: percent of the units that the version answers.
        ramp: percents before that, judged as the steps of a canary: [5].
        range: the lowest and the highest reward there can be; what is beyond counts as the end.
        lower_is_better: for losses and costs.
        margin: the loss of reward that would be accepted, in its unit; 0 asks for a better version.
        matures_after: how old a prediction is when its reward counts, business time; feedback that is later than
            this after it does not count.
        missing: the reward of a prediction that has none by then: 0.0 where only successes are told. None leaves it
            out, and watches that rewards come as often on both.
        find: the difference that matters, of which is told beforehand how long it takes to find.
        alpha: the chance of a wrong verdict by the reward, in either direction together, and that of a wrong
            roll-back by the other signals, over the whole rollout, however often it is looked at.
        split_alpha: the chance that units are said to be split wrongly when they are not; the same for rewards that
            do not come as often on both.
        minimum_time: the shortest stay before the verdict promotes, wall time: a week has all its days in it.
        ask_after: without a verdict for so long a person is asked, wall time.
    """


class Bandit(Experiment, frozen=True, kw_only=True, tag="bandit", tag_field="kind"):
    """More of the units go to the version that is more probably the better one, and in the end all.

    The version's share moves to the probability that its mean reward is the higher one (Thompson's sampling). It is
    promoted when it is shown to be better, and goes back when it is shown to be worse, by the same test as in an
    `ABTest`, which holds while shares move.

    Args:
        reward: see `ABTest`; also share, ramp, range, lower_is_better, margin, matures_after, missing, find, alpha,
            split_alpha, minimum_time and ask_after.
        floor: percent of the units that either version keeps; below, what is found out comes too late.
        every: the share moves at most once in this time, wall time.
        change: by so many percent at least.
    """

    floor: int = 5
    every: str = "10m"
    change: int = 3

    @property
    def every_duration(self) -> timedelta:
        """The share moves at most once in this time."""
        return parse_window(self.every, where=self.declared_at, field="every")

    def _check(self) -> None:
        super()._check()
        self._check_number("floor", at_least=1, at_most=49, whole=True, fix="Use a whole percent: floor=5.")
        self._check_number("change", at_least=1, at_most=50, whole=True, fix="Use a whole percent: change=3.")
        if not self.floor <= self.share <= 100 - self.floor:
            self._refuse(f"the share {self.share} is beyond the floor of {self.floor}", fix="Use share=50.")
        parse_window(self.every, where=self.declared_at, field="every")


Rollout = Canary | ABTest | Bandit
"""How a version may take over the traffic."""

ROLLOUTS = (Canary, ABTest, Bandit)
