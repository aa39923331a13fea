"""A seed repeats a search, what is fixed stays fixed, and the best trial is the one that is kept."""

import msgspec

from headrace.project.search import Choice, Integers, LogUniform, ParameterValue, Search, Uniform
from headrace.training.search import search_parameters

SEARCH = Search(
    12,
    "roc_auc",
    {
        "rate": LogUniform(0.01, 1.0),
        "share": Uniform(0.0, 1.0),
        "depth": Integers(1, 9),
        "kind": Choice(("a", "b")),
    },
    seed=3,
)


def value(params: dict[str, ParameterValue]) -> float:
    return -abs(float(params["share"] or 0) - 0.3) + (params["kind"] == "a")


def tried(
    search: Search, fixed: dict[str, ParameterValue]
) -> tuple[list[dict[str, ParameterValue]], msgspec.Struct]:
    seen: list[dict[str, ParameterValue]] = []

    def objective(number: int, params: dict[str, ParameterValue]) -> float:
        assert number == len(seen)
        seen.append(params)
        return value(params)

    return seen, search_parameters(search, fixed, objective)


def test_the_best_trial_is_kept_and_a_seed_repeats_it() -> None:
    seen, found = tried(SEARCH, {"other": 7})
    best = max(seen, key=value)
    assert msgspec.to_builtins(found) == {"params": best, "value": value(best), "trials": 12}
    assert tried(SEARCH, {"other": 7}) == (seen, found)
    assert tried(msgspec.structs.replace(SEARCH, seed=4), {"other": 7})[0] != seen


def test_trials_stay_inside_the_space() -> None:
    seen, _ = tried(SEARCH, {})
    assert all(0.01 <= float(params["rate"] or 0) <= 1.0 for params in seen)
    assert all(params["depth"] in range(1, 10) for params in seen)
    assert {params["kind"] for params in seen} == {"a", "b"}


def test_a_fixed_value_is_not_searched() -> None:
    seen, found = tried(SEARCH, {"kind": "b"})
    assert {params["kind"] for params in seen} == {"b"}
    assert msgspec.to_builtins(found)["params"]["kind"] == "b"
