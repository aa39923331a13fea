"""Contributions of trees beside those that are written down from their definition, coalition by coalition."""

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.runtimes.trees import Matrix, answers, chain, expected, grown, rows_of_halves

from headrace.serving.runtimes import tree_cover, tree_paths, tree_shapley
from headrace.serving.runtimes.tree_cover import CoverExplainer
from headrace.serving.runtimes.tree_paths import Nodes, Paths, paths_of
from headrace.serving.runtimes.tree_shapley import Listed, TreeExplainer

Worth = Callable[[frozenset[int]], Matrix]
SEEDS = st.integers(0, 2**31)


def by_coalitions(worth: Worth, players: list[int], features: int) -> Matrix:
    """Shapley values by their definition, shape (outputs, features); those who do not play have none."""
    total = np.zeros((len(worth(frozenset())), features))
    for player in players:
        others = [each for each in players if each != player]
        for size in range(len(others) + 1):
            weight = math.factorial(size) * math.factorial(len(others) - size) / math.factorial(len(players))
            for coalition in itertools.combinations(others, size):
                known = frozenset(coalition)
                total[:, player] += weight * (worth(known | {player}) - worth(known))
    return total


def against(trees: list[Nodes], row: Matrix, background: Matrix) -> Worth:
    @functools.cache
    def worth(known: frozenset[int]) -> Matrix:
        rows = background.copy()
        rows[:, list(known)] = row[list(known)]
        return np.asarray(sum(answers(tree, rows) for tree in trees)).mean(axis=0)

    return worth


def by_cover(trees: list[Nodes], row: Matrix) -> Worth:
    return functools.cache(lambda known: np.asarray(sum(expected(tree, row, known) for tree in trees)))


def forest(seed: int, trees: int, depth: int, outputs: int) -> tuple[list[Nodes], np.random.Generator]:
    generator = np.random.default_rng(seed)
    return [grown(generator, features=5, depth=depth, outputs=outputs) for _ in range(trees)], generator


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(0, 6), st.integers(1, 3), st.integers(1, 9))
def test_against_a_background_trees_give_what_the_definition_gives(
    seed: int, trees: int, depth: int, outputs: int, rows: int
) -> None:
    grown_trees, generator = forest(seed, trees, depth, outputs)
    background, asked = rows_of_halves(generator, rows, 5), rows_of_halves(generator, 3, 5)
    explainer = TreeExplainer(Paths(grown_trees), background)
    np.testing.assert_allclose(explainer.base, against(grown_trees, asked[0], background)(frozenset()), atol=1e-12)
    for row, found in zip(asked, explainer.contributions(asked), strict=True):
        exact = by_coalitions(against(grown_trees, row, background), list(range(5)), 5)
        np.testing.assert_allclose(found, exact, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(0, 6), st.integers(1, 3))
def test_without_a_background_trees_give_what_the_definition_gives(
    seed: int, trees: int, depth: int, outputs: int
) -> None:
    grown_trees, generator = forest(seed, trees, depth, outputs)
    asked = rows_of_halves(generator, 3, 5)
    explainer = CoverExplainer(Paths(grown_trees))
    np.testing.assert_allclose(explainer.base, by_cover(grown_trees, asked[0])(frozenset()), atol=1e-12)
    for row, found in zip(asked, explainer.contributions(asked), strict=True):
        np.testing.assert_allclose(found, by_coalitions(by_cover(grown_trees, row), list(range(5)), 5), atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(0, 7), st.integers(1, 3))
def test_sums_are_what_the_trees_answer(seed: int, trees: int, depth: int, outputs: int) -> None:
    grown_trees, generator = forest(seed, trees, depth, outputs)
    rows, paths = rows_of_halves(generator, 20, 5), Paths(grown_trees)
    np.testing.assert_allclose(
        paths.sums(paths.missed(rows)), sum(answers(tree, rows) for tree in grown_trees), atol=1e-12
    )


@pytest.mark.parametrize("features", [8, 9, 16, 17, 32, 33, 50, 62])
def test_long_paths_fit_into_the_bits_of_their_numbers(features: int) -> None:
    """Features in which the row and the background agree play no part, so the definition needs few of them."""
    generator = np.random.default_rng(features)
    row = np.where(generator.random(features) < 0.9, 1.0, -1.0)
    background = np.tile(row, (4, 1))
    players = sorted({0, features // 2, *generator.choice(features, 5).tolist(), features - 1})
    background[:, players] = generator.choice([-1.0, 1.0], size=(4, len(players)))
    tree = chain(features, outputs=2)
    found = TreeExplainer(Paths([tree]), background).contributions(row[None])[0]
    np.testing.assert_allclose(
        found, by_coalitions(against([tree], row, background), players, features), atol=1e-12
    )


@pytest.mark.parametrize("features", [9, 10])
def test_long_paths_without_a_background_too(features: int) -> None:
    tree, row = chain(features), np.ones(features)
    row[4] = -1.0
    found = CoverExplainer(Paths([tree])).contributions(row[None])[0]
    exact = by_coalitions(by_cover([tree], row), list(range(features)), features)
    np.testing.assert_allclose(found, exact, atol=1e-12)


def test_longer_paths_are_not_taken() -> None:
    assert paths_of([chain(62)]) is not None
    assert paths_of([chain(63)]) is None


def test_without_a_background_long_paths_add_up() -> None:
    tree = chain(60)
    row = np.where(np.arange(60) == 40, -1.0, 1.0)
    explainer = CoverExplainer(Paths([tree]))
    found = explainer.contributions(row[None])[0]
    np.testing.assert_allclose(explainer.base + found.sum(axis=1), answers(tree, row[None])[0], atol=1e-10)


def test_more_leaves_than_can_be_held_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_paths, "LEAVES_LIMIT", 9)
    assert paths_of([chain(8)]) is not None
    assert paths_of([chain(9)]) is None


def test_of_too_many_background_rows_the_first_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_shapley, "PAIRS_LIMIT", 60)
    monkeypatch.setattr(tree_shapley, "FEWEST_ROWS", 3)
    generator = np.random.default_rng(4)
    background = rows_of_halves(generator, 30, 5)
    explainer = TreeExplainer(Paths([chain(5)]), background)
    assert explainer.rows == 10
    np.testing.assert_allclose(explainer.base, answers(chain(5), background[:10]).mean(axis=0))


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_many_rows_in_pieces_give_what_each_gives_alone(outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    trees, generator = forest(outputs, 12, 6, outputs)
    background, rows = rows_of_halves(generator, 25, 5), rows_of_halves(generator, 40, 5)
    whole = TreeExplainer(Paths(trees), background).contributions(rows)
    own = CoverExplainer(Paths(trees)).contributions(rows)
    for module, name, size in (
        (tree_shapley, "AT_ONCE", 100),
        (tree_shapley, "BLOCK", 50),
        (tree_paths, "AT_ONCE", 300),
        (tree_cover, "AT_ONCE", 200),
    ):
        monkeypatch.setattr(module, name, size)
    explainer, without = TreeExplainer(Paths(trees), background), CoverExplainer(Paths(trees))
    np.testing.assert_allclose(explainer.contributions(rows), whole, atol=1e-12)
    np.testing.assert_allclose(without.contributions(rows), own, atol=1e-12)
    for place in (0, 39):
        np.testing.assert_allclose(explainer.contributions(rows[place : place + 1])[0], whole[place], atol=1e-12)


def test_where_classes_share_what_one_gains_the_others_lose() -> None:
    """One of them is then not computed but taken from the others."""
    trees, generator = forest(7, 3, 5, 3)
    shares = [
        tree._replace(value=np.abs(tree.value) / np.abs(tree.value).sum(axis=1, keepdims=True)) for tree in trees
    ]
    background, row = rows_of_halves(generator, 8, 5), rows_of_halves(generator, 1, 5)
    found = TreeExplainer(Paths(shares), background).contributions(row)[0]
    exact = by_coalitions(against(shares, row[0], background), list(range(5)), 5)
    np.testing.assert_allclose(found, exact, atol=1e-12)


def test_where_each_tree_has_one_class_it_gives_to_no_other() -> None:
    trees, generator = forest(9, 3, 5, 3)
    alone = [tree._replace(value=tree.value * (np.arange(3) == place)) for place, tree in enumerate(trees)]
    background, rows = rows_of_halves(generator, 8, 5), rows_of_halves(generator, 4, 5)
    for row, found in zip(rows, TreeExplainer(Paths(alone), background).contributions(rows), strict=True):
        exact = by_coalitions(against(alone, row, background), list(range(5)), 5)
        np.testing.assert_allclose(found, exact, atol=1e-12)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 2**16 - 1), max_size=20))
def test_bits_are_listed_where_they_are(numbers: list[int]) -> None:
    owner, place = Listed()(np.array(numbers, dtype=np.uint16))
    expected_bits = [(at, bit) for at, number in enumerate(numbers) for bit in range(16) if number >> bit & 1]
    assert list(zip(owner.tolist(), place.tolist(), strict=True)) == expected_bits


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_bits_are_counted_in_numbers_of_every_size(kind: type[np.uint8]) -> None:
    numbers = [0, 1, 5, int(np.iinfo(kind).max), 1 << (np.iinfo(kind).bits - 1)]
    assert Listed().count(np.array(numbers, dtype=kind)).tolist() == [number.bit_count() for number in numbers]
