"""How often the same rows have judged a model: who picks among many on the same rows ends up with a lucky one.

Each release that is judged on a set of rows counts once, whatever is repeated. The rows are named by whose they
are, with what outcome and as of when, so the same ones count as the same under another id, too. The chance that at
least one of k models that are all too bad passes a gate at error rate alpha is at most k alpha; that is what the
warning says.

Sources: Dwork et al., "The Reusable Holdout: Preserving Validity in Adaptive Data Analysis" (2015); the bound is
Bonferroni's.
"""

from typing import Any

import msgspec

from headrace.delivery import tables
from headrace.kernel.database import Tx
from headrace.registry.nouns import Evidence

WITHOUT_ROWS = frozenset({"latency", "size"})
"""Gates that no labelled row plays a part in."""


def use(tx: Tx, model: str, evaluation: str, release_id: str) -> int:
    """Count that a release was judged on these rows; how many were by now, this one included."""
    tables.add_holdout_use(tx, model, evaluation, release_id)
    return tables.count_holdout_uses(tx, model, evaluation)


def noted(found: Evidence, evaluation: str, uses: int, *, warn_after: int) -> Evidence:
    """The evidence with how often its rows were used, and a warning when that was more often than agreed."""
    if not evaluation or found.gate in WITHOUT_ROWS:
        return found
    details: dict[str, Any] = {**found.details, "evaluation_digest": evaluation, "holdout_uses": uses}
    summary = found.summary
    if uses > warn_after:
        warning = _warning(found, uses)
        details["warning"] = warning
        summary = f"{summary}; warning: {warning}"
    return msgspec.structs.replace(found, summary=summary, details=details)


def _warning(found: Evidence, uses: int) -> str:
    alpha = found.details.get("alpha")
    chance = f", so a worse one passes by luck with a chance of up to {min(1.0, uses * alpha):.0%}" if alpha else ""
    return f"these rows have judged {uses} releases{chance}; take newer rows"
