"""Explains one model's answers: by what the model says itself where it can, else by asking it from outside.

What a model says itself is believed only where base and contributions come to its own answer.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import NotServed
from headrace.serving.forms.inputs import Inputs, Outputs, take
from headrace.serving.runtimes import shapley
from headrace.serving.runtimes.explained import Subject, View, view_of
from headrace.serving.runtimes.own_contributions import LOG, LOG_ODDS, PROBABILITY, RAW, VALUE, Own
from headrace.serving.runtimes.recipe import Recipe

Floats = npt.NDArray[np.float64]
Params = dict[str, Any] | None

TOLERANCE = 1e-4
"""Base and contributions come to the answer within this, absolute and relative: XGBoost adds up in float32."""
OUTPUTS_LIMIT = 1_000
FEATURES_LIMIT = 2_000
NUMBERS_AT_ONCE = 4_000_000
"""Rows times outputs times features, as a model's own way gives them."""
FIRST_ROWS, PIECE_S = 10, 0.5
"""Of a model's own way so many rows are taken after the first, which tell how many take that long."""
EXACT_SOURCE = "Shapley 1953, over all coalitions"
SAMPLED_SOURCE = "Castro et al. 2009, in antithetic pairs (Mitchell et al. 2022)"


class Explainer:
    """Explains one model; used by one thread.

    Args:
        subject: the model.
        recipe: how it was loaded.
    """

    def __init__(self, subject: Subject, recipe: Recipe) -> None:
        self._subject = subject
        self._recipe = recipe
        self._background: Inputs | None = None
        self._prepared: Any = None
        self._known: Outputs | None = None

    def compare_with(self, background: Inputs) -> None:
        """Take the rows that stand for a feature that is not known."""
        self._background, self._known = background, None
        if self._subject.own is not None:
            self._prepared = self._subject.prepared(background)

    def predict(self, inputs: Inputs, params: Params) -> Outputs:
        """The model's answers, as callers get them."""
        return self._subject.predict(inputs, params)

    def explain(
        self, inputs: Inputs, params: Params, *, output: str | None, within_s: float, told: bool = False
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the answers are made of.

        Args:
            inputs: rows.
            params: of the request.
            output: label of the class or output that is asked for; None for the second of two classes, the
                likeliest of several, the first of other outputs.
            within_s: seconds that it may take.
            told: whether to say what callers get, too, where that is known without asking the model again.

        Returns:
            What holds for all rows, and arrays by name, `told` among them if it was asked for and is known.
            `refused` in the first says why there are none: `background`, `time` or `output`, whose `labels` say
            which there are.
        """
        until_s = time.perf_counter() + within_s
        ask = self._subject.ask
        answers = ask(inputs, params)
        view = self._subject.view
        if view is None:
            view = view_of(answers, self._answers_known(params))
        numbers = view.read(answers)
        if numbers.shape[1] > OUTPUTS_LIMIT:
            raise NotServed(f"explanations are of models with at most {OUTPUTS_LIMIT} outputs")
        chosen = _chosen(numbers, view, output)
        if chosen is None:
            return {"refused": "output", "labels": view.labels}, {}
        known = {"labels": view.labels}
        also = {"told": self._subject.told(answers)} if told and self._subject.told is not None else {}
        try:
            own = None if params else self._own(inputs, numbers, chosen, view, until_s)
        except shapley.TooSlow:
            return {"refused": "time"}, {}
        if own is not None:
            assert self._subject.own is not None
            name, source = self._subject.own[:2] if own.way is None else own.way
            method = {"name": name, "source": source, "by": own.by, "background_rows": own.background_rows}
            arrays = {"base": own.base, "contributions": own.contributions}
            return {**known, "scale": own.scale, "method": method}, {**arrays, **also, "chosen": chosen}
        if self._background is None:
            return {"refused": "background"}, {}
        try:
            method, arrays = self._from_outside(inputs, params, chosen, view, until_s)
        except shapley.TooSlow:
            return {"refused": "time"}, {}
        return {**known, "scale": view.scale, "method": method}, {**arrays, **also, "chosen": chosen}

    def _answers_known(self, params: Params) -> Outputs | None:
        """To the background, which is the same for every request that has no params of its own."""
        if self._background is None:
            return None
        if params:
            return self._subject.ask(self._background, params)
        if self._known is None:
            self._known = self._subject.ask(self._background, None)
        return self._known

    def _own(
        self, inputs: Inputs, numbers: Floats, chosen: npt.NDArray[np.intp], view: View, until_s: float
    ) -> Own | None:
        """The model's own contributions by feature to the chosen outputs, if they come to its answers.

        Raises:
            TooSlow: there is no time for all rows.
            NotServed: there are too many features.
        """
        sources, names = len(self._subject.sources), len(self._recipe.names)
        if self._subject.own is None:
            return None
        if names > FEATURES_LIMIT:
            raise _too_wide()
        most = max(1, NUMBERS_AT_ONCE // max(1, numbers.shape[1] * max(sources, names)))
        found: list[Own] = []
        done, began_s, row_s, at_once = 0, 0.0, 0.0, 1  # the first may have to prepare what all others use
        while done < len(numbers):
            left_s = until_s - time.perf_counter()
            if left_s <= 0 or row_s * (len(numbers) - done) > left_s:
                raise shapley.TooSlow
            places = np.arange(done, min(done + min(at_once, most), len(numbers)))
            own = self._own_of_some(take(inputs, places), numbers[places], view)
            if own is None:
                return None
            at = np.arange(len(places)), chosen[places]
            found.append(own._replace(base=own.base[at], contributions=own.contributions[at]))
            done += len(places)
            if done == 1:
                began_s, at_once = time.perf_counter(), FIRST_ROWS
                continue
            row_s = (time.perf_counter() - began_s) / (done - 1)
            at_once = 1 + int(PIECE_S / max(row_s, 1e-9))
        if not found:
            return None
        return found[0]._replace(
            base=np.concatenate([own.base for own in found]),
            contributions=np.concatenate([own.contributions for own in found]),
        )

    def _own_of_some(self, inputs: Inputs, numbers: Floats, view: View) -> Own | None:
        """The same for so few rows that all outputs fit into memory."""
        subject = self._subject
        assert subject.own is not None
        try:
            found = subject.own[2](subject.prepared(inputs), self._prepared)
        except Exception:  # noqa: BLE001 - it answers all the same, and can be asked from outside
            return None
        width = len(self._recipe.names) if found is not None and found.by_feature else len(subject.sources)
        if found is None or found.contributions.shape[2] != width:
            return None
        mapped = found.contributions
        if not found.by_feature:
            mapped = np.zeros((*found.contributions.shape[:2], len(self._recipe.names)))
            for place, source in enumerate(subject.sources):
                mapped[:, :, source] += found.contributions[:, :, place]
        base = found.base
        if base.shape[1] == 1 and numbers.shape[1] == 2:  # one sum stands for two classes
            base, mapped = np.concatenate([-base, base], axis=1), np.concatenate([-mapped, mapped], axis=1)
        if base.shape != numbers.shape:
            return None
        came_to = _LINKS[found.scale](base + mapped.sum(axis=2), view.scale)
        if not np.allclose(came_to, numbers, rtol=TOLERANCE, atol=TOLERANCE):
            return None
        return found._replace(base=base, contributions=mapped)

    def _from_outside(
        self, inputs: Inputs, params: Params, chosen: npt.NDArray[np.intp], view: View, until_s: float
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        columns, rebuilt = _columns(inputs, self._recipe)
        if len(columns) > FEATURES_LIMIT:
            raise _too_wide()
        assert self._background is not None

        def ask(asked: shapley.Columns) -> Floats:
            return view.read(self._subject.ask(rebuilt(asked), params))

        background = shapley.Background(ask, _columns(self._background, self._recipe)[0])
        found, rows = [], len(chosen)
        for place in range(rows):
            now_s = time.perf_counter()
            row = [column[place : place + 1] for column in columns]
            found.append(shapley.explain(ask, row, background, until_s=now_s + (until_s - now_s) / (rows - place)))
        each = list(zip(found, chosen.tolist(), strict=True))
        pairs = [values.pairs for values in found if values.pairs]
        arrays = {
            "base": np.array([values.base[output] for values, output in each]),
            "contributions": np.array([values.contributions[output] for values, output in each]),
        }
        method = {
            "name": "sampled_shapley" if pairs else "exact_shapley",
            "source": SAMPLED_SOURCE if pairs else EXACT_SOURCE,
            "by": "Headrace",
            "background_rows": background.rows,
        }
        if pairs:
            nothing = np.zeros((len(view.labels), len(columns)))
            errors = [nothing if values.errors is None else values.errors for values in found]
            arrays["errors"] = np.array(
                [error[output] for error, output in zip(errors, chosen.tolist(), strict=True)]
            )
            method["permutations"] = 2 * min(pairs)
        return method, arrays


def _too_wide() -> NotServed:
    return NotServed(f"explanations are of models with at most {FEATURES_LIMIT} features")


def _chosen(numbers: Floats, view: View, output: str | None) -> npt.NDArray[np.intp] | None:
    """Which output of each row is explained."""
    if output is not None:
        names = [(str(label), json.dumps(label, default=str)) for label in view.labels]  # True is `true` in JSON
        place = next((at for at, known in enumerate(names) if output in known), None)
        return None if place is None else np.full(len(numbers), place, dtype=np.intp)
    if view.scale == VALUE or len(view.labels) == 1:
        return np.zeros(len(numbers), dtype=np.intp)
    if len(view.labels) == 2:
        return np.ones(len(numbers), dtype=np.intp)
    return numbers.argmax(axis=1)


def _expit(sums: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-sums)))


def _softmax(sums: Floats) -> Floats:
    powers = np.exp(sums - sums.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


_LINKS: dict[str, Callable[[Floats, str], Floats]] = {
    VALUE: lambda sums, _scale: sums,
    PROBABILITY: lambda sums, _scale: sums,
    LOG_ODDS: lambda sums, _scale: _expit(sums),
    LOG: lambda sums, _scale: np.exp(sums),
    RAW: lambda sums, scale: sums if scale == RAW else _softmax(sums),
}
"""From base and contributions to the numbers that are explained, which have a scale of their own."""


def _columns(inputs: Inputs, recipe: Recipe) -> tuple[list[npt.NDArray[Any]], Callable[[shapley.Columns], Inputs]]:
    """One array for each feature, and the way back.

    Raises:
        NotServed: a tensor has more axes than rows and features.
    """
    if not isinstance(inputs, dict):
        return list(inputs.T), lambda columns: np.column_stack(list(columns))
    if recipe.columns:
        names = recipe.names
        return [inputs[name] for name in names], lambda columns: dict(zip(names, columns, strict=True))
    if len(inputs) != 1 or next(iter(inputs.values())).ndim != 2:
        raise NotServed(
            "explanations are of columns, or of one tensor of rows and features",
            where="MLmodel.signature.inputs",
            fix="Log the model with a signature of columns.",
        )
    ((name, tensor),) = inputs.items()
    return list(tensor.T), lambda columns: {name: np.column_stack(list(columns)).astype(tensor.dtype)}
