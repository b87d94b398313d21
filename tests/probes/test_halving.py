"""Successive halving: it chooses what a search over all candidates does, of nested rows, and says how surely."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from featx.errors import OptionError
from featx.probes.config import FitConfig
from featx.probes.evaluation import fit_head
from featx.probes.halving import Halving, InMemory, halve, nested_order, sizes_of
from featx.probes.softmax import SoftmaxRegression

pytestmark = pytest.mark.usefixtures("one_thread")

CS = (1e-3, 1e-1, 10.0)


def _data(noise: float, n: int = 1400, seed: int = 0) -> dict[str, tuple[Any, npt.NDArray[np.int64]]]:
    random = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = (np.eye(3, 6)[y] + noise * random.standard_normal((n, 6))).astype(np.float32)
    return {"train": (X[:1100], y[:1100]), "val": (X[1100:], y[1100:]), "test": (X[:0], y[:0])}


@pytest.fixture(scope="module")
def halving() -> Halving:
    layers = {"poor": InMemory(_data(9.0)), "good": InMemory(_data(0.5)), "useless": InMemory(_data(99.0))}
    return halve(layers, FitConfig(halving=True), "cpu", CS)


def test_it_chooses_what_a_full_search_chooses(halving: Halving) -> None:
    data = _data(0.5)
    found = {C: SoftmaxRegression(C, standardize=True).fit(*data["train"]).score(*data["val"]) for C in CS}
    assert halving.layer == "good"
    assert min(C for C in CS if found[C] == max(found.values())) == halving.C
    search = halving.search()
    assert search["accuracy"] == [found[C] for C in search["values"]]  # the last fits are those of all rows
    assert all(search["converged"])


def test_each_round_keeps_the_better_half_on_twice_the_rows(halving: Halving) -> None:
    assert [one.rows for one in halving.rounds] == [275, 550, 1100]
    assert [len(one.right) for one in halving.rounds] == [9, 5, 3]
    for one, following in zip(halving.rounds, halving.rounds[1:], strict=False):
        assert set(one.kept) == set(following.right)
        dropped = set(one.right) - set(one.kept)
        assert max(map(one.accuracy, dropped)) <= min(map(one.accuracy, one.kept))


def test_the_record_tells_what_was_done_and_how_sure_it_is(halving: Halving) -> None:
    told = halving.as_dict()
    assert told["candidates"] == 9
    assert told["share_of_rows"] == pytest.approx((275 * 9 + 550 * 5 + 1100 * 3) / (9 * 1100))
    chances = told["chances"]
    assert chances["another_layer"] <= chances["another"] <= 1
    assert chances["runner_up"]["chance"] <= chances["another"]
    assert chances["dropped_last"]["layer"] == "poor"
    assert chances["dropped_last"]["chance"] < 0.01  # it is far behind


def test_equal_layers_are_a_toss_and_a_clear_one_is_sure() -> None:
    even = halve({"a": InMemory(_data(2.0)), "b": InMemory(_data(2.0, seed=1))}, FitConfig(halving=True), "cpu", (0.1,))
    assert 0.02 < even.chances["another_layer"] < 0.98
    clear = halve({"a": InMemory(_data(0.5)), "b": InMemory(_data(50.0))}, FitConfig(halving=True), "cpu", (0.1,))
    assert (clear.layer, clear.chances["another_layer"]) == ("a", 0.0)


def test_rows_are_nested_and_have_the_classes_shares() -> None:
    labels = np.repeat([0, 1, 2], [700, 290, 10])
    order = nested_order(labels, seed=3)
    assert sorted(order) == list(range(1000))
    assert set(labels[order[:3]]) == {0, 1, 2}  # one of each first
    assert np.abs(np.bincount(labels[order[:200]]) - [140, 58, 2]).max() <= 2
    assert (order != nested_order(labels, seed=4)).any()
    assert sizes_of(5000, 10, 64) == [312, 625, 1250, 2500, 5000]
    assert sizes_of(5000, 10, 4) == [2500, 5000]  # no more rounds than there is to drop
    assert sizes_of(300, 10, 64) == [300]


def test_the_head_is_refitted_on_validation_rows_too_and_scored_by_one_that_has_not_seen_them() -> None:
    data = _data(2.0)
    fitted = fit_head(data, FitConfig(halving=True), 3)
    both = [np.concatenate(parts) for parts in zip(data["train"], data["val"], strict=True)]
    whole = SoftmaxRegression(fitted.config.C, standardize=True).fit(*both)
    assert fitted.search["chosen"] == fitted.config.C
    np.testing.assert_allclose(fitted.model.coef_, whole.coef_, rtol=1e-3, atol=1e-4)
    assert fitted.scores["val"].accuracy == max(fitted.search["accuracy"]) == fitted.blind.score(*data["val"])


@pytest.mark.parametrize(
    "other", [{"sweep": "clip"}, {"head": "lda"}, {"shots": 3}, {"penalty": "l1"}, {"normalize": "l2"}]
)
def test_what_it_does_not_go_with_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="halving"):
        FitConfig(halving=True, **other)
