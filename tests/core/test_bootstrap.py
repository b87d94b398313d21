"""The bootstrap over rows: against numpy's own draws of rows, and how often its intervals hold the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from featx.core.bootstrap import Resampled, RowScore
from featx.reports.row_scores import macro_f1_score

Array = np.ndarray[Any, Any]
LABELS = np.repeat(np.arange(4), [30, 40, 50, 80])


def column(values: Any) -> RowScore:
    return RowScore(np.asarray(values, np.float32)[:, None])


def by_hand(values: Array, labels: Array, draws: int) -> Array:
    """Means of rows drawn by class, one draw after the other, stretched as Rao and Wu say."""
    rng = np.random.default_rng(9)
    found = np.zeros(draws)
    for label in np.unique(labels):
        own = values[labels == label]
        n = len(own)
        for draw in range(draws):
            drawn = own[rng.integers(0, n, n)]
            found[draw] += (own.sum() + np.sqrt(n / (n - 1)) * (drawn.sum() - own.sum())) / len(values)
    return found


def test_draws_are_spread_as_rows_drawn_within_each_class() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(len(LABELS)) + LABELS
    found = Resampled([column(values)], LABELS, draws=4000).drawn[:, 0]
    expected = by_hand(values, LABELS, 4000)
    assert found.mean() == pytest.approx(values.mean(), abs=0.003)
    assert found.std() == pytest.approx(expected.std(), rel=0.05)
    # What tells classes apart does not vary: a draw without strata would.
    assert found.std() < 0.6 * values.std() / np.sqrt(len(values))


def test_equal_rows_may_be_given_once_with_their_count() -> None:
    right = np.random.default_rng(1).random(len(LABELS)) < 0.8
    kinds, counts = np.unique(2 * LABELS + right, return_counts=True)
    whole = Resampled([column(right)], LABELS)
    counted = Resampled([column(kinds % 2)], kinds // 2, counts)
    assert counted.values == pytest.approx(whole.values)
    assert counted.interval(0) == pytest.approx(whole.interval(0), abs=0.006)


def test_the_same_seed_gives_the_same_draws_and_another_does_not() -> None:
    score = [column(np.arange(200) % 3 == 0)]
    first, again, other = (Resampled(score, LABELS, draws=50, seed=seed).drawn for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_scores_share_their_draws() -> None:
    right = np.random.default_rng(2).random(len(LABELS)) < 0.7
    other = right.copy()
    other[:2] = ~other[:2]
    found = Resampled([column(right), column(other), column(right)], LABELS)
    alone, paired = found.interval(0), found.difference(0, 1)
    assert alone is not None
    assert paired is not None
    assert np.ptp(paired) < np.ptp(alone) / 2
    assert found.difference(0, 2) is None  # no draw tells them apart


def test_what_no_draw_changes_has_no_interval() -> None:
    assert Resampled([column(np.ones(200))], LABELS, draws=100).interval(0) is None
    # Of so many rows in classes of such sizes, float32 sums of ones are further from 1 than rounding by itself.
    labels = np.sort(np.random.default_rng(1469).integers(0, 10, 1469))
    right = Resampled([column(np.ones(1469)), macro_f1_score(labels, labels, 10)], labels, draws=2000)
    assert (right.interval(0), right.interval(1)) == (None, None)


@pytest.mark.parametrize("labels", [np.arange(20), np.repeat([0, 1, 2], [1, 9, 10]), np.zeros(20, int)], ids=str)
def test_classes_of_one_row_vary_too(labels: Array) -> None:
    values = np.arange(20) % 2
    found = Resampled([column(values)], labels, draws=2000)
    assert found.drawn.std() == pytest.approx(values.std(ddof=1) / np.sqrt(20), rel=0.25)


def test_macro_f1_of_every_draw_is_that_of_its_rows() -> None:
    """Of rows that a draw gives as counts: scikit-learn's, weighted by them."""
    rng = np.random.default_rng(3)
    predicted = np.where(rng.random(len(LABELS)) < 0.7, LABELS, rng.integers(0, 4, len(LABELS)))
    score = macro_f1_score(LABELS, predicted, 4)
    counts = rng.multinomial(200, np.full(200, 1 / 200))
    expected = f1_score(LABELS, predicted, average="macro", sample_weight=counts)
    assert score.of(counts / 200) == pytest.approx(expected)
    found = Resampled([score], LABELS, draws=500)
    assert found.values[0] == pytest.approx(f1_score(LABELS, predicted, average="macro"))
    ends = found.interval(0)
    assert ends is not None
    assert ends[0] < found.values[0] < ends[1]


def test_influence_is_the_change_by_one_more_row() -> None:
    rng = np.random.default_rng(4)
    predicted = np.where(rng.random(len(LABELS)) < 0.7, LABELS, rng.integers(0, 4, len(LABELS)))
    score, shares = macro_f1_score(LABELS, predicted, 4), np.full(200, 1 / 200)
    more = shares.copy()
    more[5] += 1e-6
    change = (score.of(more) - score.of(shares)) / 1e-6
    assert score.influence(shares)[5] == pytest.approx(change, rel=1e-3)


@pytest.mark.parametrize("accuracy", [0.6, 0.95])
def test_intervals_hold_the_truth_as_often_as_they_say(accuracy: float) -> None:
    """Of 400 stratified test sets of 200 rows; the standard error of the share is 0.011."""
    rng = np.random.default_rng(5)
    n, by_class = 20, accuracy + np.linspace(-0.04, 0.04, 10)
    held = differed = 0
    for at in range(400):
        right = rng.binomial(n, by_class)
        agreed = rng.binomial(right, 0.9)  # the second is right on most of these, and on some others
        gained = rng.binomial(n - right, 0.4)
        kinds = np.stack([agreed, right - agreed, gained, n - right - gained], axis=1)
        seen = kinds.ravel() > 0
        one, two = (np.tile(kind, 10)[seen] for kind in ([1, 1, 0, 0], [1, 0, 1, 0]))
        labels = np.repeat(np.arange(10), 4)[seen]
        found = Resampled([column(one), column(two)], labels, kinds.ravel()[seen], draws=500, seed=at)
        ends, apart = found.interval(0), found.difference(0, 1)
        truth = by_class.mean()
        held += ends is not None and ends[0] <= truth <= ends[1]
        differed += apart is not None and apart[0] <= truth - (0.9 * truth + 0.4 * (1 - truth)) <= apart[1]
    assert 0.92 <= held / 400 <= 0.98
    assert 0.92 <= differed / 400 <= 0.98
