"""A verdict computed again from its evidence and the stored scores, by anyone, without the platform.

    from headrace.delivery.recompute import recompute
    again = recompute(evidence, content)  # the bytes that evidence.scores names
    assert again.agrees

What agrees is what a decision rests on: the verdict, the estimate and its interval, and the number of rows.
"""

import hashlib
import math

import msgspec

from headrace.delivery import stored_scores
from headrace.delivery.findings import Finding
from headrace.delivery.verdicts import judge
from headrace.errors import InvalidInput
from headrace.project.gates import Gate
from headrace.registry.nouns import Evidence

TOLERANCE = 1e-9
"""How far numbers may lie apart: the same arithmetic on another machine."""
COMPARED = ("value", "low", "high", "margin", "smallest_detectable_effect")


class Recomputed(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict beside the one that was recorded.

    Attributes:
        evidence: as it was recorded.
        finding: computed again.
        differences: the fields in which the two differ; empty when they agree.
    """

    evidence: Evidence
    finding: Finding
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the recorded verdict is what its scores say."""
        return not self.differences


def recompute(evidence: Evidence, content: bytes | None, *, size_bytes: int | None = None) -> Recomputed:
    """Compute a gate's verdict again.

    Args:
        evidence: of a gate.
        content: the file that `evidence.scores` names; None for a gate that needs none.
        size_bytes: of the version's files, for a gate on their size.

    Raises:
        InvalidInput: the evidence is not that of a gate, or the file is not the one that it names.
    """
    gate = gate_of(evidence)
    if evidence.scores is not None:
        digest = None if content is None else f"sha256:{hashlib.sha256(content).hexdigest()}"
        if digest != evidence.scores:
            raise InvalidInput(
                "these are not the scores behind the evidence",
                where="scores",
                fix=f"They are in {evidence.scores}.",
            )
    sample = stored_scores.nothing() if content is None else stored_scores.read(content)
    finding = judge(gate, msgspec.structs.replace(sample, size_bytes=size_bytes))
    return Recomputed(evidence=evidence, finding=finding, differences=_differences(evidence, finding))


def gate_of(evidence: Evidence) -> Gate:
    """The gate as it was declared.

    Raises:
        InvalidInput: the evidence is that of a check, or of the staging.
    """
    if evidence.kind != "gate" or not evidence.declaration:
        raise InvalidInput(
            f"evidence of a {evidence.kind} is not computed from scores",
            where=f"evidence/{evidence.id}",
            fix="Name the evidence of a gate.",
        )
    return msgspec.convert(evidence.declaration, Gate)


def _differences(evidence: Evidence, finding: Finding) -> tuple[str, ...]:
    found = [name for name in COMPARED if not _same(getattr(evidence, name), getattr(finding, name))]
    if evidence.verdict.value != finding.verdict.value:
        found.insert(0, "verdict")
    if evidence.sample_size != finding.sample_size:
        found.append("sample_size")
    return tuple(found)


def _same(recorded: float | None, again: float | None) -> bool:
    """Whether two numbers agree; one that JSON cannot hold was recorded as none."""
    if recorded is None or again is None:
        return recorded is None and (again is None or not math.isfinite(again))
    return math.isclose(recorded, again, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
