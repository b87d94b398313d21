"""Accuracy, loss and confusion against scikit-learn's, and logits for classes a model has never seen."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    top_k_accuracy_score,
)
from sklearn.naive_bayes import GaussianNB

from featx.core.metrics import LARGEST_LOSS, full_logits, score
from featx.errors import FeatureError, OptionError
from featx.probes.softmax import SoftmaxRegression

Array = NDArray[Any]


def logits_and_labels(k: int = 4, n: int = 60) -> tuple[Array, Array]:
    rng = np.random.default_rng(k)
    return 3 * rng.standard_normal((n, k)), rng.integers(0, k, n)


def test_scores_are_scikit_learns() -> None:
    logits, y = logits_and_labels()
    scores = score(logits, y, 4)
    assert scores.accuracy == accuracy_score(y, logits.argmax(1))
    assert scores.loss == pytest.approx(log_loss(y, softmax(logits, axis=1)), rel=1e-12)
    np.testing.assert_array_equal(scores.confusion, confusion_matrix(y, logits.argmax(1)))
    assert scores.confusion.dtype == np.int64


@pytest.mark.parametrize("k", [2, 3, 7])
def test_the_brier_score_is_scikit_learns_and_sums_over_classes(k: int) -> None:
    logits, y = logits_and_labels(k)
    shares = softmax(logits, axis=1)
    found = score(logits, y, k).brier
    assert found == pytest.approx(np.square(shares - np.eye(k)[y]).sum(axis=1).mean(), rel=1e-12)
    given = shares[:, 1] if k == 2 else shares
    theirs = brier_score_loss(y, given, labels=np.arange(k), scale_by_half=False)
    assert found == pytest.approx(theirs, rel=1e-12)


def test_certain_rows_have_brier_scores_of_0_and_2() -> None:
    assert score([[0.0, -np.inf], [800.0, 0.0]], [0, 0], 2).brier == 0
    assert score([[0.0, -np.inf, -np.inf]], [1], 3).brier == 2


def test_true_classes_run_down_and_predicted_across() -> None:
    scores = score([[0.0, 1.0, 0.0]], [2], 3)
    assert scores.confusion.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_classes_without_rows_keep_their_place() -> None:
    scores = score([[9.0, 0, 0], [9.0, 0, 0]], [0, 1], 3)
    assert scores.confusion.shape == (3, 3)
    assert scores.accuracy == 0.5


def test_huge_logits_do_not_overflow() -> None:
    scores = score([[1e6, 0.0], [0.0, 1e6]], [0, 0], 2)
    assert scores.loss == pytest.approx(5e5)


def test_equal_logits_count_for_the_first_class() -> None:
    assert score([[0.0, 0.0]], [0], 2).accuracy == 1
    assert score([[0.0, 0.0]], [1], 2).accuracy == 0


def test_a_class_ruled_out_costs_what_scikit_learn_says() -> None:
    scores = score([[0.0, -np.inf]], [1], 2)
    assert scores.loss == LARGEST_LOSS
    assert scores.loss == pytest.approx(log_loss([1], [[1.0, 0.0]], labels=[0, 1]), rel=1e-6)


@pytest.mark.parametrize(
    ("logits", "y", "error"),
    [
        (np.zeros((2, 3)), [0, 3], OptionError),
        (np.zeros((2, 3)), [0, -1], OptionError),
        (np.zeros((2, 3)), [0, 1, 2], OptionError),
        (np.zeros((2, 2)), [0, 1], OptionError),
        (np.zeros((0, 3)), [], OptionError),
        (np.zeros((2, 3)), [0.0, 1.0], OptionError),
        (np.zeros((2, 3)), [[0], [1]], OptionError),
        ([[0.0, np.nan, 0], [0, 0, 0]], [0, 1], FeatureError),
        ([[0.0, 0, 0], [0, np.inf, 0]], [0, 1], FeatureError),
        ([[0.0, 0, 0], [-np.inf] * 3], [0, 1], FeatureError),
    ],
)
def test_what_cannot_be_scored_is_refused(logits: Any, y: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="expected"):
        score(logits, y, 3)


@pytest.mark.parametrize("classes", [[0, 1, 2], [1, 3], [0, 2, 4], [3, 4]])
@pytest.mark.parametrize("model", [LogisticRegression(), SoftmaxRegression(), GaussianNB()])
def test_full_logits_have_the_models_probabilities(model: Any, classes: list[int]) -> None:
    X, y = logits_and_labels(len(classes))
    model.fit(X, np.array(classes)[y])
    logits = full_logits(model, X, 5)
    probabilities = softmax(logits, axis=1)
    assert logits.shape == (len(X), 5)
    np.testing.assert_allclose(probabilities[:, classes], model.predict_proba(X), atol=1e-12)
    assert not np.delete(probabilities, classes, axis=1).any()
    np.testing.assert_array_equal(logits.argmax(1), model.predict(X))


@pytest.mark.parametrize("classes", [[0, 5], [-1, 0], ["a", "b"]])
def test_full_logits_refuse_classes_out_of_range(classes: list[Any]) -> None:
    X, y = logits_and_labels(2)
    model = LogisticRegression().fit(X, np.array(classes)[y])
    with pytest.raises(OptionError, match="expected whole numbers from 0 to 4"):
        full_logits(model, X, 5)


def test_metrics_need_no_torch() -> None:
    code = "import sys, featx.core.metrics; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_row_has_its_class_and_that_classes_probability() -> None:
    found = score([[0.0, math.log(3)], [5.0, -math.inf]], [0, 0], 2)
    assert found.predicted.tolist() == [1, 0]
    assert found.probability.tolist() == pytest.approx([0.75, 1.0])


@pytest.mark.parametrize("k", [2, 6, 9])
def test_balanced_accuracy_macro_f1_and_top5_are_scikit_learns(k: int) -> None:
    logits, y = logits_and_labels(k)
    scores = score(logits, y, k)
    predicted = logits.argmax(1)
    assert scores.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, predicted), rel=1e-12)
    assert scores.macro_f1 == pytest.approx(f1_score(y, predicted, average="macro", zero_division=0), rel=1e-12)
    if k > 5:
        assert scores.top5 == pytest.approx(top_k_accuracy_score(y, logits, k=5, labels=range(k)), rel=1e-12)


def test_classes_without_rows_count_as_scikit_learn_counts_them() -> None:
    # Class 1 has rows and is never predicted, class 2 is predicted and has none, class 3 has and is neither.
    y, predicted = np.array([0, 0, 0, 1]), np.array([0, 2, 0, 0])
    scores = score(np.eye(4)[predicted], y, 4)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert scores.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, predicted)) == pytest.approx(1 / 3)
    assert scores.macro_f1 == pytest.approx(f1_score(y, predicted, average="macro", zero_division=0))
    assert scores.macro_f1 == pytest.approx((2 / 3 + 0 + 0) / 3)


def test_top5_is_not_there_with_five_classes_or_fewer() -> None:
    assert math.isnan(score(*logits_and_labels(5), 5).top5)
    assert not math.isnan(score(*logits_and_labels(6), 6).top5)


def test_equal_logits_count_for_the_first_five_classes() -> None:
    tied = np.zeros((7, 7))
    assert score(tied, np.arange(7), 7).top5 == pytest.approx(5 / 7)
    one_above = tied + np.eye(7)[6]  # the last class is first: four places are left
    assert score(one_above, np.arange(7), 7).top5 == pytest.approx(5 / 7)
    assert score(one_above[:1], [4], 7).top5 == 0


def test_a_class_ruled_out_is_not_among_the_best_five() -> None:
    logits = [[0.0, -math.inf, -math.inf, -math.inf, -math.inf, -math.inf]]
    assert score(logits, [1], 6).top5 == 0
    assert score(logits, [0], 6).top5 == 1
