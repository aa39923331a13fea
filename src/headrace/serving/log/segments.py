"""Segment files of the prediction log: where they lie, and what their lines are.

Lines are JSON arrays, each of many rows that one version answered for the same reason: what they have in common
stands once, and their numbers as the bytes that the model was given, since writing out every number was most of the
cost of the log. The names of a version's features stand in a line before the version's first rows.
"""

import fcntl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar
from urllib.parse import quote, unquote

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.serving.assignment import Assignment, Counted
from headrace.serving.distinct import unit_hash
from headrace.serving.forms.filled import filled_fields
from headrace.serving.forms.inputs import Inputs, Outputs, row_answers, row_values, take
from headrace.serving.forms.json_forms import EntityValue
from headrace.serving.nouns import Arm, PredictionRecord, Purpose

Value = TypeVar("Value")

OPEN, CLOSED = ".open", ".segment"
BEGUN = ".begun"
"""Of a segment that is about to be open, until its gateway holds it; empty."""
ASIDE = ".refused"
"""A segment that the lake did not take, or whose gateway is gone. Each compaction tries it again; it goes by its
age, as rows do."""


ROWS_A_LINE = 1_000
"""About so many rows are in a line at most: a line is what a killed gateway may leave half written."""


class Logged(msgspec.Struct, frozen=True, gc=False):
    """What one version answered to one request, as the request path hands it in: arrays, not yet rows."""

    counted: Counted
    assignment: Assignment
    purpose: Purpose
    ids: Sequence[str]
    business_at: datetime
    at: datetime
    latency_us: int
    names: tuple[str, ...]
    inputs: Inputs
    outputs: Outputs | None
    """None tells that nobody got an answer of this version."""
    faults: dict[int, str] = {}
    unit: str | None = None
    """What the caller sticks to a version by; rows of entities have units of their own."""
    entity_key: str | None = None
    entities: Sequence[EntityValue] | None = None
    texts: frozenset[str] = frozenset()


class _Names(msgspec.Struct, frozen=True, array_like=True, tag="names"):
    version: int
    names: tuple[str, ...]
    texts: frozenset[str]


class Rows(msgspec.Struct, frozen=True, array_like=True, tag="rows"):
    """Rows that one version answered for the same reason, as a line holds them."""

    version: int
    arm: Arm
    propensity: float
    release_id: str | None
    step: int | None
    purpose: Purpose
    entity_key: str | None
    ids: list[str]
    business_at: list[datetime]
    at: list[datetime]
    latency_us: list[int]
    features: bytes | list[list[Any]]
    """Bytes of little-endian doubles where the model takes a matrix, else the values of each row."""
    outputs: list[Any]
    faults: dict[int, str]
    """By place among the rows."""
    entities: list[EntityValue] | None
    units: list[int | None] | None


class Block(NamedTuple):
    """A line with rows, and what stands elsewhere in its segment."""

    model: str
    names: tuple[str, ...]
    """Of the features."""
    texts: frozenset[str]
    """Those of them that are not numbers."""
    rows: Rows

    @property
    def features(self) -> npt.NDArray[np.float64] | list[list[Any]]:
        """Shape (rows, names), NaN for null or infinity; or the values of each row, None for null."""
        if not isinstance(self.rows.features, bytes):
            return self.rows.features
        matrix = self._matrix(self.rows.features)
        return np.where(np.isfinite(matrix), matrix, np.nan)

    @property
    def filled(self) -> list[list[str]] | None:
        """Of each row the features that are null because they were not sent; None where that is not told."""
        if not isinstance(self.rows.features, bytes):
            return None
        return filled_fields(self._matrix(self.rows.features), self.names)

    def _matrix(self, features: bytes) -> npt.NDArray[np.float64]:
        return np.frombuffer(features, "<f8").reshape(len(self.rows.ids), len(self.names))


class Lines:
    """Turns answers into the lines of one segment."""

    def __init__(self) -> None:
        self._named: dict[int, tuple[str, ...]] = {}
        self._encode = msgspec.json.Encoder(enc_hook=str).encode_lines

    def of(self, answers: Sequence[Logged]) -> bytes:
        """The lines of one model's answers."""
        lines: list[msgspec.Struct] = []
        named = dict(self._named)
        for alike in _alike(answers):
            first = alike[0]
            if named.get(first.counted.version) != first.names:
                lines.append(_Names(first.counted.version, first.names, first.texts))
                named[first.counted.version] = first.names
            lines.append(_rows(alike))
        encoded = self._encode(lines)
        self._named = named  # only now: names of lines that fail are not written
        return encoded


def _alike(answers: Sequence[Logged]) -> Iterator[list[Logged]]:
    """Answers that may share a line: of the same version, with the same names, for the same reason."""
    found: dict[Any, list[Logged]] = {}
    for logged in answers:
        told = logged if logged.outputs is not None else _silent(logged)
        if told.ids:
            reason = (told.counted, told.assignment, told.purpose, told.entities is None, id(told.names))
            alike = found.get(reason)
            if alike is None:
                alike = found[reason] = []
            alike.append(told)
    for alike in found.values():
        yield from _cut(alike)


def _cut(alike: list[Logged]) -> Iterator[list[Logged]]:
    """Parts of about `ROWS_A_LINE`; no request is divided."""
    begin = rows = 0
    for place, logged in enumerate(alike):
        if rows >= ROWS_A_LINE:
            yield alike[begin:place]
            begin, rows = place, 0
        rows += len(logged.ids)
    yield alike[begin:]


def _silent(logged: Logged) -> Logged:
    """The rows of which there is something to tell where nobody got an answer: those that the version failed on.

    Of what another version has answered the others are told as well, by themselves, so that their units stay known.
    """
    failed = logged.purpose is not Purpose.REPLACED
    places = [place for place in range(len(logged.ids)) if (place in logged.faults) is failed]
    return msgspec.structs.replace(
        logged,
        ids=[logged.ids[place] for place in places],
        inputs=take(logged.inputs, places),
        faults={index: logged.faults[place] for index, place in enumerate(places) if failed},
        entities=None if logged.entities is None else [logged.entities[place] for place in places],
    )


def _rows(alike: Sequence[Logged]) -> Rows:
    first = alike[0]
    sizes = [len(logged.ids) for logged in alike]
    outputs: list[Any] = []
    faults: dict[int, str] = {}
    for logged, size in zip(alike, sizes, strict=True):
        for place, kind in logged.faults.items():
            faults[len(outputs) + place] = kind
        outputs += [None] * size if logged.outputs is None else row_answers(logged.outputs)
    for place in faults:
        outputs[place] = None
    return Rows(
        version=first.counted.version,
        arm=first.assignment.arm,
        propensity=first.assignment.propensity,
        release_id=first.counted.release_id,
        step=first.counted.step,
        purpose=first.purpose,
        entity_key=first.entity_key,
        ids=_each_row([logged.ids for logged in alike]),
        business_at=_repeated([logged.business_at for logged in alike], sizes),
        at=_repeated([logged.at for logged in alike], sizes),
        latency_us=_repeated([logged.latency_us for logged in alike], sizes),
        features=_features(alike),
        outputs=outputs,
        faults=faults,
        entities=None if first.entities is None else _each_row([logged.entities or () for logged in alike]),
        units=None if first.counted.release_id is None else _each_row([_unit_hashes(logged) for logged in alike]),
    )


def _features(alike: Sequence[Logged]) -> bytes | list[list[Any]]:
    tables = [logged.inputs for logged in alike]
    matrices = [table for table in tables if not isinstance(table, dict)]
    if len(matrices) == len(tables):
        return np.concatenate(matrices).astype("<f8", copy=False).tobytes()
    return _each_row([row_values(table, alike[0].names) for table in tables])


def _repeated(values: list[Value], times: list[int]) -> list[Value]:
    if len(values) == sum(times):
        return values
    return [value for value, size in zip(values, times, strict=True) for _ in range(size)]


def _each_row(values: Iterable[Iterable[Value]]) -> list[Value]:
    return list(chain.from_iterable(values))


def _unit_hashes(logged: Logged) -> Sequence[int | None]:
    """Of each row the hash of its unit, which tells units of one release apart and names none; None outside of one.

    Here, on the writer's thread, and not where a caller waits.
    """
    salt = logged.counted.release_id
    if salt is not None and logged.entities is not None:
        return [unit_hash(salt, str(value)) for value in logged.entities]
    one = None if salt is None or logged.unit is None else unit_hash(salt, logged.unit)
    return [one] * len(logged.ids)


def read_blocks(path: Path) -> Iterator[Block | None]:
    """What a segment holds; None for a line that cannot be read, as a killed gateway may leave as its last."""
    decoder = msgspec.json.Decoder(_Names | Rows)
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
                continue
            names = named.get(found.version)
            if names is None:  # their line was not written whole
                yield None
            else:
                yield Block(model, names.names, names.texts, found)


def read_segment(path: Path) -> Iterator[PredictionRecord | None]:
    """The records of a segment, one by one; None for a line that cannot be read."""
    for block in read_blocks(path):
        if block is None:
            yield None
        else:
            yield from _records(block)


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


def hold(file: BinaryIO) -> None:
    """Show for as long as this process lives that it writes this segment."""
    with suppress(OSError):  # where the disk knows no locks nobody adopts
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def adopt(root: Path, model: str) -> bool:
    """Set aside what gateways that are gone have left open, to be taken one by one; whether there was any."""
    found = False
    for path in root.glob(f"*/{folder_name(model)}/*{OPEN}"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.rename(path.with_suffix(ASIDE))
            found = True
    return found


def models_logged(root: Path) -> list[str]:
    """Models that have segments of any kind."""
    kinds = {OPEN, CLOSED, ASIDE}
    return sorted({unquote(path.parent.name) for path in root.glob("*/*/*") if path.suffix in kinds})


def _records(block: Block) -> Iterator[PredictionRecord]:
    rows, features = block.rows, block.features
    values = features if isinstance(features, list) else features.tolist()
    for place in range(len(rows.ids)):
        entity = None
        if rows.entities is not None and rows.entity_key is not None:
            entity = {rows.entity_key: rows.entities[place]}
        yield PredictionRecord(
            prediction_id=rows.ids[place],
            business_at=rows.business_at[place],
            at=rows.at[place],
            model=block.model,
            version=rows.version,
            arm=rows.arm,
            propensity=rows.propensity,
            release_id=rows.release_id,
            step=rows.step,
            entity=entity,
            names=block.names,
            texts=block.texts,
            features=tuple(None if value != value else value for value in values[place]),
            output=rows.outputs[place],
            latency_us=rows.latency_us[place],
            fault=rows.faults.get(place),
            purpose=rows.purpose,
            unit=None if rows.units is None else rows.units[place],
        )
