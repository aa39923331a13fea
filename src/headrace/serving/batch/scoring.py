"""Batch scoring: a file or table of rows, answered by the very predictor that answers online.

Rows go through the same decoder and checks as a request's, in chunks no larger than one, so that what is refused
there is rejected here, with the same reason, and what is answered is answered the same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import HeadraceError, InvalidInput, ModelFault, SchemaMismatch
from headrace.kernel.lake import Lake
from headrace.serving.batch.scoring_inputs import Rows, Source
from headrace.serving.batch.scoring_outputs import Folder, Manifest, append_part
from headrace.serving.forms.inputs import Columns, Inputs, Outputs, join, row_answers
from headrace.serving.forms.json_forms import NAME_LENGTH, ROW_LIMIT
from headrace.serving.forms.signature import NUMBERS, Signature
from headrace.serving.loading.predictor import Fault, Predictor
from headrace.serving.log.compaction import predictions_table
from headrace.serving.log.logged_tables import logged_table
from headrace.serving.nouns import FieldPolicy

PART_ROWS = 100_000
RESERVED = ("row", "prediction_id", "prediction")
_REJECTS = pa.schema([("row", pa.int64()), ("where", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How rows are scored.

    Attributes:
        part_rows: rows of one file, which are held in memory at once.
        keep: columns that are copied beside the answers.
        reject: whether a row without an answer is put aside; else it ends the run.
        log: the lake of the platform whose prediction log takes the answers; None for none.
        business_at: when the log says that the answers were, in a replay; None takes the time of each part.
        table: a table of a lake that takes the answers too; None for files alone.
        tables: that lake.
    """

    part_rows: int = PART_ROWS
    keep: tuple[str, ...] = ()
    reject: bool = True
    log: Lake | None = None
    business_at: datetime | None = None
    table: str | None = None
    tables: Lake | None = None


@dataclass
class Scored:
    """What came of a part: answers with their rows' numbers, and the rows that have none."""

    places: list[npt.NDArray[np.int64]] = field(default_factory=list)
    inputs: list[Inputs] = field(default_factory=list)
    outputs: list[Outputs] = field(default_factory=list)
    rejects: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a version takes."""

    names: tuple[str, ...]
    texts: frozenset[str]
    """Columns that are not numbers."""
    fields: FieldPolicy


class Part(NamedTuple):
    """Rows of one file to be written, and the number of the first."""

    number: int
    start: int
    rows: Rows


Told = Callable[[int, int, int | None], None]
"""Takes how many rows are done, how many of them were rejected, and how many there are, if that is known."""


class Scorer(Protocol):
    """Answers parts: in this process, or on machines that are many.

    Thread safety: used by one thread.
    Order: parts come back in the order in which they were given, each once, however often one was tried.
    Ownership: few parts are taken before the first comes back, so that memory is bounded.
    Errors: SchemaMismatch or ModelFault for a row without an answer, unless such rows are put aside.
    """

    taken: Taken

    def answer(
        self, parts: Iterator[Part], columns: list[str], *, reject: bool, told: Callable[[int, int], None]
    ) -> Iterator[tuple[Part, Scored]]:
        """Answer parts, and tell meanwhile how many rows are done and were rejected since the last part."""
        ...


def taken_by(signature: Signature, fields: FieldPolicy) -> Taken:
    """What a version with this signature takes."""
    texts = frozenset(column.name for column in signature.columns if column.type not in NUMBERS)
    return Taken(names=tuple(signature.names), texts=texts, fields=fields)


class Alone:
    """Answers here; see `Scorer`."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.taken = taken_by(predictor.signature, predictor.version.fields)

    def answer(
        self, parts: Iterator[Part], columns: list[str], *, reject: bool, told: Callable[[int, int], None]
    ) -> Iterator[tuple[Part, Scored]]:
        """Answer parts one after another."""
        for part in parts:
            yield part, score_part(self._predictor, part, columns, reject=reject, told=told)


def score_part(
    predictor: Predictor,
    part: Part,
    columns: list[str],
    *,
    reject: bool,
    told: Callable[[int, int], None] = lambda _done, _rejected: None,
) -> Scored:
    """Answer the rows of a part, in chunks no larger than a request.

    Raises:
        SchemaMismatch: a row does not fit, and rows are not to be rejected.
        ModelFault: the model failed on a row, and rows are not to be rejected.
    """
    scored = Scored()
    for place in range(0, len(part.rows), ROW_LIMIT):
        some = part.rows.slice(place, min(ROW_LIMIT, len(part.rows) - place))
        _answer(predictor, some, columns, part.start + place, scored, reject=reject)
        told(place + len(some), len(scored.rejects))
    return scored


def score(
    scorer: Scorer,
    source: Source,
    folder: Folder,
    wanted: Manifest,
    scoring: Scoring,
    *,
    now: Callable[[], datetime],
    told: Told = lambda _done, _rejected, _all: None,
) -> Manifest:
    """Score all rows into a folder; what a former run has written there is not done again.

    Raises:
        Conflict: the folder holds something else.
        SchemaMismatch: a row does not fit, and rows are not to be rejected.
        ModelFault: the model failed on a row, and rows are not to be rejected.
    """
    columns = _columns(scorer.taken, source, scoring)
    manifest = folder.begin(wanted)
    try:
        if manifest.complete:
            return manifest
        rows = rejected = part = 0
        while (known := folder.done(part)) is not None:
            rows, rejected, part = rows + sum(known), rejected + known[1], part + 1
        told(rows, rejected, source.rows)

        def heard(since: int, rejected_since: int) -> None:
            told(rows + since, rejected + rejected_since, source.rows)

        size = scoring.part_rows
        waiting = (Part(place, place * size, some) for place, some in enumerate(source.parts(size, part), part))
        for done, scored in scorer.answer(waiting, columns, reject=scoring.reject, told=heard):
            _write(scorer.taken, folder, manifest, scoring, done, scored, now())
            rows, rejected, part = rows + len(done.rows), rejected + len(scored.rejects), part + 1
        manifest = _completed(manifest, rows, rejected, part)
        folder.put_manifest(manifest)
    finally:
        folder.end()
    return manifest


def _completed(manifest: Manifest, rows: int, rejected: int, parts: int) -> Manifest:
    told: dict[str, Any] = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
    return Manifest(**(told | {"complete": True, "rows": rows, "rejected": rejected, "parts": parts}))


def _columns(taken: Taken, source: Source, scoring: Scoring) -> list[str]:
    """The columns that go to the model; those that are kept and are none of its own do not."""
    for name in scoring.keep:
        if name not in source.names:
            raise SchemaMismatch("the input has no such column to keep", where=name[:NAME_LENGTH])
        if name in RESERVED:
            raise InvalidInput("a kept column would hide one of the answers", where=name)
    own = set(taken.names)
    ignore = taken.fields.unknown == "ignore"
    return [name for name in source.names if name in own or not (ignore or name in scoring.keep)]


def _answer(
    predictor: Predictor, rows: Rows, columns: list[str], start: int, scored: Scored, *, reject: bool
) -> None:
    """Answer rows; when that fails, each half for itself, until the rows that it fails on are alone."""
    try:
        inputs = rows.inputs(predictor.forms, columns)
        outputs = _predict(predictor, inputs)
    except (SchemaMismatch, ModelFault) as problem:
        if len(rows) == 1:
            if not reject:
                raise _at(problem, start) from None
            scored.rejects.append((start, problem.where or "", problem.message))
            return
    else:
        scored.places.append(np.arange(start, start + len(rows), dtype=np.int64))
        scored.inputs.append(inputs)
        scored.outputs.append(outputs)
        return
    half = len(rows) // 2
    _answer(predictor, rows.slice(0, half), columns, start, scored, reject=reject)
    _answer(predictor, rows.slice(half, len(rows) - half), columns, start + half, scored, reject=reject)


def _predict(predictor: Predictor, inputs: Inputs) -> Outputs:
    try:
        return predictor.predict(inputs)
    except Fault as fault:
        unfit = predictor.unfit(inputs)
        if unfit:
            column, found = predictor.unfit_in(inputs, unfit[0])
            raise SchemaMismatch(f"the model cannot take {found} here", where=column[:NAME_LENGTH]) from None
        raise ModelFault(f"the model failed on the row ({fault.kind})") from None


def _at(problem: HeadraceError, row: int) -> HeadraceError:
    where = f"row {row}" + (f", {problem.where}" if problem.where else "")
    fix = "Without --strict such rows are put aside, with the reason."
    return type(problem)(problem.message, where=where, fix=fix)


def _write(
    taken: Taken,
    folder: Folder,
    manifest: Manifest,
    scoring: Scoring,
    part: Part,
    scored: Scored,
    now: datetime,
) -> None:
    """Log a part's answers, then write them: what is written is done, and would not be logged any more."""
    places = np.concatenate(scored.places) if scored.places else np.empty(0, dtype=np.int64)
    numbers = pa.array(places)
    ids = pc.binary_join_element_wise(manifest.run_id, numbers.cast(pa.string()), ".")
    columns: dict[str, Any] = {"row": numbers, "prediction_id": ids}
    if scoring.keep:
        kept = part.rows.table(list(scoring.keep)).take(pa.array(places - part.start))
        columns |= {name: kept.column(name) for name in scoring.keep}
    outputs = _joined(scored.outputs)
    columns |= answers(outputs)
    table = pa.table(columns)
    if scoring.log is not None and outputs is not None:
        predictions = predictions_table(manifest.model)
        logged = logged_table(
            ids,
            join(scored.inputs),
            outputs,
            names=taken.names,
            texts=taken.texts,
            model=manifest.model,
            version=manifest.version,
            at=now,
            business_at=scoring.business_at or now,
            schema=scoring.log.snapshot(predictions).schema if scoring.log.exists(predictions) else None,
        )
        append_part(scoring.log, predictions, manifest.run_id, part.number, logged)
    if scoring.table is not None and scoring.tables is not None:
        append_part(scoring.tables, scoring.table, manifest.run_id, part.number, table)
    folder.write(part.number, table, _rejects(scored.rejects))


def answers(outputs: Outputs | None) -> dict[str, pa.Array]:
    """Answers as columns: `prediction`, a list for several classes, or `prediction.<name>` for named ones."""
    if outputs is None:
        return {"prediction": pa.nulls(0, pa.float64())}
    if isinstance(outputs, dict):
        return {f"prediction.{name}": _array(values) for name, values in outputs.items()}
    return {"prediction": _array(outputs)}


def _array(values: npt.NDArray[Any]) -> pa.Array:
    if values.ndim == 2:
        flat = pa.array(np.ascontiguousarray(values, dtype=np.float64).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1]).cast(pa.list_(pa.float64()))
    return pa.array(row_answers(values) if values.dtype.kind in "UO" else values)


def _joined(parts: Sequence[Outputs]) -> Outputs | None:
    if not parts:
        return None
    first = parts[0]
    if isinstance(first, dict):
        names = list(first)
        return {name: np.concatenate([_column(part, name) for part in parts]) for name in names}
    return np.concatenate([part for part in parts if not isinstance(part, dict)])


def _column(part: Outputs, name: str) -> npt.NDArray[Any]:
    assert isinstance(part, dict)
    found: Columns = part
    return found[name]


def _rejects(rejects: Sequence[tuple[int, str, str]]) -> pa.Table:
    columns = list(zip(*rejects, strict=True)) or [(), (), ()]
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, _REJECTS, strict=True)]
    return pa.table(arrays, schema=_REJECTS)
