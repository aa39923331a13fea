"""Losses of answers about several classes: probabilities of each of them, or one of them.

Work-side. The log keeps what a model answers in three columns: a number, a list of numbers, or JSON of what is
neither. By the error a class may be compared with probabilities; the other losses take probabilities of both.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.kernel.lake import Lake
from headrace.project.paired import PairedLoss
from headrace.serving.log.feedback_join import read_effective
from headrace.statistics import paired_losses

READ = ("outputs", "answer")
"""Columns of the log besides the number."""
NEAR_ONE = 1e-3
"""So far the probabilities of a row may be from adding up to 1: models round them."""
NONE, UNFIT = -1, -2
"""The place of what is none of the classes, and of what cannot be a class."""

Places = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def outcomes(lake: Lake, model: str, name: str, classes: Sequence[str | int]) -> pa.Table:
    """What became of each prediction, by the feedback of a name: prediction_id and label, its place in the classes.

    What is none of the classes is no outcome.
    """
    said = read_effective(lake, model, {name}, column="value")
    label = _places(said["value"], classes, decode=True)
    known = label >= 0
    return pa.table({"prediction_id": said["prediction_id"].filter(pa.array(known)), "label": label[known]})


def truths(prediction_ids: pa.ChunkedArray, outcomes: pa.Table) -> Places:
    """What became of each prediction: a place in the classes, or `NONE` where it is not known.

    All of a release at once, for the outcomes are hashed anew by each call.
    """
    place = pc.index_in(prediction_ids, value_set=outcomes["prediction_id"].combine_chunks())
    where = place.fill_null(NONE).to_numpy()
    truth = np.full(len(prediction_ids), NONE)
    truth[where != NONE] = outcomes["label"].to_numpy()[where[where != NONE]]
    return truth


def of_answers(rows: pa.Table, truth: Places, quality: PairedLoss) -> pa.Array:
    """The loss of each row; null where it has none, and 0 where it is not known what became of it.

    Args:
        rows: of the prediction log, with the columns `output` and `READ`, as far as it has them.
        truth: of each row, see above; where a row is the answer to a copy, of what was asked.
        quality: which loss, with classes.
    """
    classes = quality.classes or ()
    found = np.full(rows.num_rows, np.nan)
    if "outputs" in rows.column_names:
        _of_probabilities(rows["outputs"], truth, quality, found)
    if quality.loss == "error":
        for name in ("output", "answer"):
            if name in rows.column_names:
                said = _places(rows[name], classes, decode=name == "answer")
                wrong = (said != truth) & (truth != NONE)
                found[said != UNFIT] = wrong[said != UNFIT]
    return pa.array(found, mask=np.isnan(found))


def _of_probabilities(column: pa.ChunkedArray, truth: Places, quality: PairedLoss, found: Floats) -> None:
    """Put the losses of what is a list of probabilities where they belong."""
    number = len(quality.classes or ())
    fits = pc.fill_null(pc.equal(pc.list_value_length(column), number), pa.scalar(value=False))
    rows = np.flatnonzero(fits.to_numpy())
    flat = pc.list_flatten(column.filter(fits))
    values = np.asarray(flat.to_numpy(), dtype=np.float64).reshape(len(rows), number)
    good = np.isfinite(values).all(axis=1)
    if quality.loss != "error":
        good &= (values >= 0.0).all(axis=1) & (np.abs(values.sum(axis=1) - 1.0) <= NEAR_ONE)
    found[rows[good]] = 0.0
    good &= truth[rows] != NONE
    found[rows[good]] = paired_losses.class_losses(
        quality.loss, values[good], truth[rows[good]], bound=quality.bound
    )


def _places(column: pa.ChunkedArray, classes: Sequence[str | int], *, decode: bool) -> Places:
    """Which of the classes each value is; 3.0 is 3, and a text is no number."""
    place_of: dict[object, int] = {each: place for place, each in enumerate(classes)}
    texts = isinstance(classes[0], str)
    encoded = column.combine_chunks().dictionary_encode()
    distinct = [msgspec.json.decode(each) if decode else each for each in encoded.dictionary.to_pylist()]
    places = [
        place_of.get(each, NONE) if (isinstance(each, str) if texts else _is_whole(each)) else UNFIT
        for each in distinct
    ]
    return np.array([*places, UNFIT])[encoded.indices.fill_null(len(distinct)).to_numpy()]


def _is_whole(value: object) -> bool:
    return isinstance(value, int | float) and float(value).is_integer()
