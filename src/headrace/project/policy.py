"""The delivery policy of a model: everything between a trained model and a watched one in production."""

from collections.abc import Sequence

from headrace.project.approval import Approval
from headrace.project.checks import Check, CompletenessCheck, SchemaCheck, StableDistributionCheck
from headrace.project.declaration import Declaration
from headrace.project.experiments import ROLLOUTS, Rollout
from headrace.project.fallback import Fallback
from headrace.project.gates import GATES, Gate
from headrace.project.monitors import DriftMonitor, Monitor, PerformanceMonitor, QualityMonitor
from headrace.project.retrain import Retrain
from headrace.project.rollout import Canary
from headrace.project.search import Search
from headrace.project.shadow import Shadow
from headrace.project.staging import Replay

KINDS: dict[str, tuple[type, ...]] = {
    "checks": (SchemaCheck, CompletenessCheck, StableDistributionCheck),
    "gates": GATES,
    "monitors": (DriftMonitor, QualityMonitor, PerformanceMonitor),
}
"""What each list may hold."""

EVIDENCE_KINDS: tuple[str, ...] = tuple(
    str(kind.__struct_config__.tag)  # type: ignore[attr-defined]
    for kind in (*GATES, Replay, *KINDS["checks"])
)
"""What there can be evidence of, by the names that projects use."""

OPTIONS: dict[str, type | tuple[type, ...]] = {
    "search": Search,
    "staging": Replay,
    "approval": Approval,
    "shadow": Shadow,
    "rollout": ROLLOUTS,
    "fallback": Fallback,
    "retrain": Retrain,
}
"""What each single setting may be, when it is not None."""


class DeliveryPolicy(Declaration, frozen=True, kw_only=True):
    """How versions of a model reach production and what watches them there.

    Args:
        checks: of the training set, before a model is trained.
        search: of the parameters; None trains once with the defaults.
        gates: what a version must prove.
        staging: what is tried through the serving path; None tries nothing.
        approval: who must agree; None asks nobody.
        shadow: what is tried on copies of the requests first; None tries nothing.
        rollout: how the traffic moves.
        fallback: what answers when the version in production cannot.
        monitors: what is watched in production.
        retrain: which alarms start a new training; None starts none.
        alerts: names of channels in the platform's settings; addresses are secrets and stay there.
        holdout_uses: after so many releases judged on one and the same rows, the evidence warns of it: who chooses
            among many on the same rows ends up with one that is lucky there.
    """

    checks: Sequence[Check] = ()
    search: Search | None = None
    gates: Sequence[Gate] = ()
    staging: Replay | None = None
    approval: Approval | None = None
    shadow: Shadow | None = None
    rollout: Rollout = Canary(declared_at="default")
    fallback: Fallback = Fallback(declared_at="default")
    monitors: Sequence[Monitor] = ()
    retrain: Retrain | None = None
    alerts: Sequence[str] = ()
    holdout_uses: int = 10

    def _check(self) -> None:
        for field, kinds in KINDS.items():
            self._check_list(field, kinds)
        for field, kind in OPTIONS.items():
            value = getattr(self, field)
            if value is not None and not isinstance(value, kind):
                kinds = kind if isinstance(kind, tuple) else (kind,)
                names = " or ".join(f"hr.{each.__name__}" for each in kinds)
                self._refuse(f"{field} must be a {names}", fix=f"It is a {type(value).__name__}.")
        if self.rollout is None:
            self._refuse("a model needs a rollout", fix="Leave rollout out to get the default, hr.Canary().")
        if self.fallback is None:
            self._refuse("a model needs a fallback", fix="Leave fallback out to get the default, hr.Fallback().")
        self._check_alerts()
        self._check_number("holdout_uses", at_least=1, whole=True, fix="Use a number of releases: holdout_uses=10.")
        watched = {monitor.__struct_config__.tag for monitor in self.monitors}
        for trigger in self.retrain.on if self.retrain else ():
            if trigger not in watched:
                self._refuse(
                    f"retraining on {trigger} without a {trigger} monitor never happens",
                    fix=f"Add hr.{trigger}(...) to monitors, or take {trigger!r} out of hr.Retrain(on=...).",
                )

    def _check_list(self, field: str, kinds: tuple[type, ...]) -> None:
        items = getattr(self, field)
        if not isinstance(items, list | tuple):
            self._refuse(f"{field} must be a list", fix=f"Write {field}=[...].")
        self._replace(field, tuple(items))
        for item in items:
            if not isinstance(item, kinds):
                known = ", ".join(str(kind.__struct_config__.tag) for kind in kinds)  # type: ignore[attr-defined]
                self._refuse(f"{item!r} does not belong in {field}", fix=f"Use one of: {known}.")

    def _check_alerts(self) -> None:
        if not isinstance(self.alerts, list | tuple):
            self._refuse("alerts must be a list", fix='Write alerts=["ops"].')
        self._replace("alerts", tuple(self.alerts))
        for channel in self.alerts:
            if isinstance(channel, str) and "://" in channel:
                self._refuse(
                    "an alert names a channel, not an address, because addresses hold secrets",
                    fix='Put the address into the platform\'s settings under a name and write alerts=["ops"].',
                )
            self._check_name("an alert channel", channel)
