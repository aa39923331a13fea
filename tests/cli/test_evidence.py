"""The evidence on a terminal: every number is there at 80 columns, and what did not pass says why."""

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console
from tests.delivery.samples import changed, sample, timings
from tests.delivery.test_recompute import recorded, stored

from headrace.cli.evidence import show_evidence
from headrace.project.gates import (
    Gate,
    at_least,
    calibrated,
    fair,
    latency,
    not_worse_than_production,
    size,
    slices,
)
from headrace.registry.nouns import Evidence, Verdict

GATES: list[Gate] = [
    at_least("roc_auc", 0.7),
    not_worse_than_production("roc_auc", margin=0.0001),
    fair(["region"], at_most=0.1, margin=0.05),
    slices("brier", ["age"], bound=0.3),
    calibrated(at_most=0.06),
    latency(p95_ms=3.0, slower_at_most=0.25),
    size(at_most_bytes=10_000),
]


def found(gap: float = 1.0) -> list[Evidence]:
    one = changed(sample(gap=gap), timings=timings())
    return [
        msgspec.structs.replace(
            recorded(gate, one, stored(gate, one)),
            gate=str(gate.__struct_config__.tag),
            release_id="rel_1",
            production_number=1,
        )
        for gate in GATES
    ]


def shown(evidence: list[Evidence], *, width: int = 80, details: bool = False) -> str:
    screen = Console(width=width, highlight=False, record=True, file=io.StringIO())
    show_evidence(screen, evidence, details=details)
    return screen.export_text()


def test_each_gate_has_its_numbers_in_eighty_columns() -> None:
    text = shown(found())
    lines = text.splitlines()
    assert "churn@2, against churn@1, intervals of 90 %" in text
    for one in found():
        (at,) = [place for place, line in enumerate(lines) if line.endswith(one.name) and one.verdict in line]
        numbers = next(line for line in lines[at + 1 :] if "decides" not in line)
        assert len(numbers) <= 80
        if one.low is not None and one.sample_size is not None:
            assert f"{one.low:.4f} to" in numbers
            assert f"{one.sample_size:,}" in numbers
            assert "●" in numbers
    assert "> -0.0001" in text
    assert "≤ 10,000" in text


def test_what_did_not_pass_says_why_and_how_to_compute_it_again() -> None:
    alike = shown(found(gap=0.0))
    assert "roc_auc not worse than production by 0.0001: the rows do not tell; they can show" in alike
    text = shown(found())
    assert "the rows show that it is not so" in text
    assert "headrace evidence recompute churn@2" in text


@pytest.mark.parametrize("width", [80, 200])
def test_details_show_parts_groups_and_bins(width: int) -> None:
    text = shown(found(), width=width, details=True)
    for word in ("selection", "region, change", "age = older", "against production", "mean score"):
        assert word.split()[0] in text


def test_a_reason_without_an_interval_and_a_warning_are_told() -> None:
    bare = msgspec.structs.replace(
        found()[0], verdict=Verdict.INCONCLUSIVE, value=None, low=None, high=None, smallest_detectable_effect=None,
        summary="roc_auc at least 0.7: a ROC curve needs both outcomes",
        details={"warning": "these rows have judged 12 releases"},
    )  # fmt: skip
    text = shown([bare, bare])
    assert text.count("these rows have judged 12 releases") == 1
    assert "a ROC curve needs both outcomes" in text


def test_what_data_say_is_no_markup() -> None:
    """Names of groups come from users' rows."""

    def odd(values: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
        return [{**value, **dict.fromkeys(names, "[/x][red]odd")} for value in values]

    evidence = []
    for one in found():
        details = dict(one.details)
        for kind, names in (("parts", ("name", "note")), ("groups", ("grouping", "group"))):
            if kind in details:
                details[kind] = odd(details[kind], *names)
        details |= {"decided_by": "[/x][red]odd", "warning": "[/w]"}
        evidence.append(msgspec.structs.replace(one, model="[/m]", name=f"{one.name} [/n]", details=details))
    check = msgspec.structs.replace(evidence[0], kind="check", summary="[/s]")
    text = shown([*evidence, check], width=200, details=True)
    for odd_text in ("[/m]@2, against [/m]@1", "[/x][red]odd decides", "[/n]", "[/w]", "[/s]", "recompute [/m]@2"):
        assert odd_text in text


def test_checks_alone_are_told_too() -> None:
    check = Evidence(
        model="churn", number=3, kind="check", name="schema", verdict=Verdict.PASS, summary="as declared"
    )
    assert "check schema: as declared" in shown([check])
