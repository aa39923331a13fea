"""Segment files of the prediction log: where they lie, and what their lines are.

Lines are JSON arrays. The names of a version's features stand once in a segment, before the version's first line,
since they would be the longest part of every line.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from headrace.serving.distinct import unit_hash
from headrace.serving.forms import EntityValue
from headrace.serving.inputs import Inputs, Outputs, row_answers, row_values
from headrace.serving.nouns import Arm, PredictionRecord, Purpose

OPEN, CLOSED = ".open", ".segment"
ASIDE = ".refused"
"""A segment that the lake did not take, kept for whoever looks into it."""


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """What one version answered to one request, as the request path hands it in: arrays, not yet rows."""

    ids: Sequence[str]
    business_at: datetime
    at: datetime
    model: str
    version: int
    arm: Arm
    propensity: float
    release_id: str | None
    step: int | None
    entity_key: str | None = None
    entities: Sequence[EntityValue] | None = None
    unit: str | None = None
    """What the caller sticks to a version by; rows of entities have units of their own."""
    names: tuple[str, ...]
    texts: frozenset[str] = frozenset()
    inputs: Inputs
    outputs: Outputs | None
    faults: dict[int, str] = {}
    latency_us: int
    purpose: Purpose


class _Names(msgspec.Struct, frozen=True, array_like=True, tag="names"):
    version: int
    names: tuple[str, ...]
    texts: frozenset[str]


class _Row(msgspec.Struct, frozen=True, array_like=True, tag="row", gc=False):
    id: str
    business_at: datetime
    at: datetime
    version: int
    arm: Arm
    propensity: float
    release_id: str | None
    step: int | None
    entity: dict[str, EntityValue] | None
    features: list[Any]
    output: Any
    latency_us: int
    fault: str | None
    purpose: Purpose
    unit: int | None


class Lines:
    """Turns answers into the lines of one segment."""

    def __init__(self) -> None:
        self._named: dict[int, tuple[str, ...]] = {}
        self._encode = msgspec.json.Encoder(enc_hook=str).encode_lines

    def of(self, logged: Logged) -> bytes:
        """The lines of one version's answers to one request."""
        lines: list[msgspec.Struct] = []
        named = self._named.get(logged.version) == logged.names
        if not named:
            lines.append(_Names(logged.version, logged.names, logged.texts))
        answers = None if logged.outputs is None else row_answers(logged.outputs)
        units = _unit_hashes(logged)
        for place, features in enumerate(row_values(logged.inputs, logged.names)):
            fault = logged.faults.get(place)
            if answers is None and fault is None:
                continue  # nobody got an answer to this row
            entity = None
            if logged.entities is not None and logged.entity_key is not None:
                entity = {logged.entity_key: logged.entities[place]}
            lines.append(
                _Row(
                    logged.ids[place],
                    logged.business_at,
                    logged.at,
                    logged.version,
                    logged.arm,
                    logged.propensity,
                    logged.release_id,
                    logged.step,
                    entity,
                    features,
                    None if fault or answers is None else answers[place],
                    logged.latency_us,
                    fault,
                    logged.purpose,
                    units[place],
                )
            )
        encoded = self._encode(lines)
        self._named[logged.version] = logged.names  # only now: names of lines that fail are not written
        return encoded


def _unit_hashes(logged: Logged) -> Sequence[int | None]:
    """Of each row the hash of its unit, which tells units of one release apart and names none; None outside of one.

    Here, on the writer's thread, and not where a caller waits.
    """
    salt = logged.release_id
    if salt is not None and logged.entities is not None:
        return [unit_hash(salt, str(value)) for value in logged.entities]
    one = None if salt is None or logged.unit is None else unit_hash(salt, logged.unit)
    return [one] * len(logged.ids)


def read_segment(path: Path) -> Iterator[PredictionRecord | None]:
    """The records of a segment; None for a line that cannot be read, as a killed gateway may leave as its last."""
    decoder = msgspec.json.Decoder(_Names | _Row)
    model = unquote(path.parent.name)
    named: dict[int, _Names] = {}
    with path.open("rb") as file:
        for line in file:
            try:
                found = decoder.decode(line)
            except msgspec.DecodeError:
                yield None
                continue
            if isinstance(found, _Names):
                named[found.version] = found
            else:
                yield _record(model, found, named.get(found.version))


def folder_name(name: str) -> str:
    """A model's or gateway's name as the name of one folder, whatever signs it has."""
    return quote(name, safe="").replace(".", "%2E")


def segment_folder(root: Path, gateway: str, model: str) -> Path:
    """Where a gateway's segments of a model lie."""
    return root / folder_name(gateway) / folder_name(model)


def segments(root: Path, model: str, suffix: str) -> dict[str, list[Path]]:
    """A model's segments by gateway, each list in the order in which they were begun."""
    found: dict[str, list[Path]] = {}
    for path in sorted(root.glob(f"*/{folder_name(model)}/*{suffix}"), key=segment_number):
        found.setdefault(unquote(path.parent.parent.name), []).append(path)
    return found


def segment_number(path: Path) -> int:
    """Place of a segment in its gateway's order."""
    return int(path.stem)


def models_logged(root: Path) -> list[str]:
    """Models that have segments of any kind."""
    return sorted({unquote(path.parent.name) for path in root.glob("*/*/*") if path.suffix in {OPEN, CLOSED}})


def _record(model: str, row: _Row, named: _Names | None) -> PredictionRecord | None:
    if named is None or len(named.names) != len(row.features):
        return None  # the line with the names was not written whole
    return PredictionRecord(
        prediction_id=row.id,
        business_at=row.business_at,
        at=row.at,
        model=model,
        version=row.version,
        arm=row.arm,
        propensity=row.propensity,
        release_id=row.release_id,
        step=row.step,
        entity=row.entity,
        names=named.names,
        texts=named.texts,
        features=tuple(row.features),
        output=row.output,
        latency_us=row.latency_us,
        fault=row.fault,
        purpose=row.purpose,
        unit=row.unit,
    )
