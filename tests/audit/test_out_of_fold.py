"""Folds keep duplicates together, and nobody is judged by what learnt from itself or its duplicate."""

from __future__ import annotations

import numpy as np
import pytest

from featx.audit.out_of_fold import JudgeConfig, can_be_judged, combine, deal_out, log_probabilities, plan_judgings
from featx.errors import OptionError
from featx.probes.softmax import SoftmaxRegression

CONFIG = JudgeConfig(folds=4)


def test_each_row_of_one_split_is_judged_once_by_rows_that_are_not_its_duplicates() -> None:
    labels, groups = np.arange(40) % 3, np.arange(40) // 2
    judgings = plan_judgings(labels, ["all"] * 40, groups, CONFIG)
    assert np.array_equal(np.sum([one.judged for one in judgings], axis=0), np.ones(40))
    for one in judgings:
        assert (one.learns ^ one.judged).all()
        assert not set(groups[one.learns]) & set(groups[one.judged])


def test_folds_are_stratified_and_follow_the_seed() -> None:
    labels = np.repeat([0, 1], [80, 20])
    fold = deal_out(labels, np.arange(100), CONFIG)
    assert np.bincount(fold[labels == 1]).tolist() == [5, 5, 5, 5]
    assert np.array_equal(fold, deal_out(labels, np.arange(100), CONFIG))
    assert not np.array_equal(fold, deal_out(labels, np.arange(100), JudgeConfig(folds=4, seed=1)))


def test_other_splits_are_judged_by_training_rows_without_their_duplicates() -> None:
    labels = np.array([0, 1] * 10 + [0, 1, -1])
    splits = ["train"] * 20 + ["test"] * 3
    groups = np.arange(23)
    groups[20] = 7  # the first test row is training row 7 again
    *folds, last = plan_judgings(labels, splits, groups, CONFIG)
    assert np.flatnonzero(last.judged).tolist() == [20, 21]
    assert np.flatnonzero(~last.learns[:20]).tolist() == [7]
    assert not any(one.learns[20:].any() or one.judged[20:].any() for one in folds)


def test_probabilities_are_those_of_a_fit_without_the_judged_rows() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    X = rng.normal(size=(60, 4)) + labels[:, None]
    judgings = plan_judgings(labels, ["all"] * 60, None, CONFIG)
    found = log_probabilities(X, labels, 3, judgings, CONFIG)
    one = judgings[2]
    model = SoftmaxRegression(CONFIG.C, standardize=True).fit(X[one.learns], labels[one.learns])
    assert np.allclose(np.exp(found[one.judged]), model.predict_proba(X[one.judged]), atol=1e-4)


def test_a_row_that_is_alone_in_its_class_is_not_judged() -> None:
    labels = np.array([0] * 20 + [1] * 20 + [2])
    X = np.random.default_rng(0).normal(size=(41, 3))
    judgings = plan_judgings(labels, ["all"] * 41, None, CONFIG)
    able = can_be_judged(labels, judgings)
    assert np.flatnonzero(~able).tolist() == [40]
    found = log_probabilities(X, labels, 3, judgings, CONFIG)
    assert found[40, 2] == -np.inf
    assert np.allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)


def test_a_fold_without_two_classes_to_learn_from_judges_nobody() -> None:
    labels = np.array([0] * 20 + [1])
    judgings = plan_judgings(labels, ["all"] * 21, None, CONFIG)
    assert len(judgings) == CONFIG.folds - 1
    assert all(one.learns[20] for one in judgings)
    assert not can_be_judged(labels, judgings)[20]
    with pytest.raises(OptionError, match="no rows of two classes"):
        plan_judgings(np.zeros(20, np.int64), ["all"] * 20, None, CONFIG)


def test_classes_smaller_than_the_folds_are_many_are_dealt_out_all_the_same() -> None:
    fold = deal_out(np.arange(12) // 2, np.arange(12), JudgeConfig(folds=5))
    assert sorted(np.bincount(fold).tolist()) == [2, 2, 2, 3, 3]


def test_layers_are_combined_by_the_geometric_mean_of_probabilities() -> None:
    one, two = np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]])
    means = np.sqrt(one * two)
    assert np.allclose(np.exp(combine([np.log(one), np.log(two)])), means / means.sum())


@pytest.mark.parametrize("values", [{"folds": 1}, {"C": 0.0}, {"seed": -1}])
def test_values_that_cannot_be_worked_with_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(values))):
        JudgeConfig(**values)  # type: ignore[arg-type]


def test_fewer_images_than_folds_are_refused() -> None:
    with pytest.raises(OptionError, match="3 labelled images"):
        plan_judgings(np.array([0, 1, 0, 1]), ["all"] * 4, np.array([0, 1, 2, 2]), CONFIG)
