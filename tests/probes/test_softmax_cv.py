"""SoftmaxRegressionCV: what it chooses, what it chooses by, and scikit-learn's own checks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, StratifiedKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.errors import OptionError
from featx.probes import softmax_cv
from featx.probes.config import SWEEPS
from featx.probes.softmax import SoftmaxRegression
from featx.probes.softmax_cv import SoftmaxRegressionCV, best_of, halved

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = (1e-3, 1e-1, 10.0)


@parametrize_with_checks([SoftmaxRegressionCV(FEW, cv=2)])
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def noisy(n: int = 300, d: int = 20, k: int = 4, seed: int = 0) -> tuple[Any, Any]:
    """Few informative columns among many: neither the smallest nor the largest C is best."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, (X[:, :k] * 1.5 + rng.gumbel(size=(n, k))).argmax(1)


def test_scores_are_those_of_cold_fits_on_each_fold() -> None:
    X, y = noisy()
    model = SoftmaxRegressionCV(FEW, cv=3, tol=1e-7).fit(X, y)
    assert model.scores_.shape == (3, 3)
    for fold, (train, val) in enumerate(StratifiedKFold(3).split(X, y)):
        for column, C in enumerate(FEW):
            reference = LogisticRegression(C=C, tol=1e-8, max_iter=2000).fit(X[train], y[train])
            assert model.scores_[fold, column] == pytest.approx(reference.score(X[val], y[val]), abs=1e-9)
    assert FEW[int(model.scores_.mean(0).argmax())] == model.C_


def test_it_is_refitted_on_all_rows_with_the_chosen_C() -> None:
    X, y = noisy()
    model = SoftmaxRegressionCV(FEW, cv=3, standardize=True).fit(X, y)
    plain = SoftmaxRegression(model.C_, standardize=True).fit(X, y)
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    assert model.objective_gap_ == plain.objective_gap_
    assert model.converged_


def test_given_validation_rows_choose_and_are_then_learnt_from() -> None:
    X, y = noisy()
    given = SoftmaxRegressionCV(FEW).fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    split = PredefinedSplit(np.repeat([-1, 0], [200, 100]))
    same = SoftmaxRegressionCV(FEW, cv=split).fit(X, y)
    listed = SoftmaxRegressionCV(FEW, cv=[(np.arange(200), np.arange(200, 300))]).fit(X, y)
    for model in (same, listed):
        np.testing.assert_array_equal(model.scores_, given.scores_)
        np.testing.assert_array_equal(model.coef_, given.coef_)
    assert given.scores_.shape == (1, 3)
    np.testing.assert_array_equal(given.coef_, SoftmaxRegression(given.C_).fit(X, y).coef_)


def test_class_missing_from_validation_rows_or_from_training_rows() -> None:
    X, y = noisy()
    order = np.argsort(y == 3, kind="stable")  # the last class comes last
    for rows in (order, order[::-1]):
        model = SoftmaxRegressionCV(FEW).fit(X[rows][:230], y[rows][:230], X_val=X[rows][230:], y_val=y[rows][230:])
        assert model.classes_.tolist() == [0, 1, 2, 3]
        assert np.isfinite(model.scores_).all()


def test_labels_may_be_words() -> None:
    X, y = noisy()
    names = np.array(["ant", "bee", "cat", "dog"])
    words, numbers = SoftmaxRegressionCV(FEW, cv=2).fit(X, names[y]), SoftmaxRegressionCV(FEW, cv=2).fit(X, y)
    np.testing.assert_array_equal(words.predict(X), names[numbers.predict(X)])
    np.testing.assert_array_equal(words.scores_, numbers.scores_)


def test_of_equal_scores_the_smallest_C_is_chosen() -> None:
    X = np.repeat([[0.0], [1.0]], 20, axis=0)
    assert SoftmaxRegressionCV([100.0, 1.0, 10.0], cv=2).fit(X, X[:, 0]).C_ == 1.0
    third = 1 / 3
    assert best_of({2.0: [(0.1, True), (0.2, True)], 1.0: [(0.3, True), (third * 0, True)]}) == 1.0


def test_halving_looks_between_the_best_and_its_neighbours() -> None:
    def tried(**scores: float) -> dict[float, list[tuple[float, bool]]]:
        return {float(C[1:]): [(score, True)] for C, score in scores.items()}

    assert halved(tried(_1=0.1, _100=0.9, _10000=0.2)) == pytest.approx([10, 1000])
    assert halved(tried(_1=0.9, _100=0.1)) == pytest.approx([10])
    X, y = noisy()
    clip = SWEEPS["clip"]
    model = SoftmaxRegressionCV(clip.Cs, halvings=clip.halvings, cv=2).fit(X, y)
    assert 7 + 4 <= len(model.Cs_) <= 7 + 8
    steps = np.diff(np.log10(model.Cs_))
    assert steps.min() == pytest.approx(1 / 8)  # 8 to a decade, as the paper says
    assert (np.diff(model.Cs_) > 0).all()


def test_each_path_is_fitted_from_small_to_large(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = softmax_cv.fit_path

    def watched(problem: Any, Cs: Any, **options: Any) -> Any:
        seen.append((len(problem.target), list(Cs)))
        return real(problem, Cs, **options)

    monkeypatch.setattr(softmax_cv, "fit_path", watched)
    X, y = noisy()
    SoftmaxRegressionCV((10.0, 0.1, 1.0, 0.1), cv=2).fit(X, y)
    assert seen == [(150, [0.1, 1.0, 10.0])] * 2  # one problem a split, never the rows held out


def test_sample_weights_count_in_the_choice() -> None:
    X, y = noisy()
    weight = np.ones(len(y))
    weight[250:] = 0
    split = PredefinedSplit(np.repeat([-1, 0], [200, 100]))
    weighted = SoftmaxRegressionCV(FEW, cv=split).fit(X, y, sample_weight=weight)
    fewer = SoftmaxRegressionCV(FEW, cv=PredefinedSplit(np.repeat([-1, 0], [200, 50]))).fit(X[:250], y[:250])
    np.testing.assert_allclose(weighted.scores_, fewer.scores_)
    np.testing.assert_allclose(weighted.coef_, fewer.coef_, atol=1e-5)


def test_a_path_that_did_not_converge_is_told() -> None:
    X, y = noisy()
    with pytest.warns(ConvergenceWarning, match=r"of the path's 6 fits did not converge"):
        model = SoftmaxRegressionCV(FEW, cv=2, max_iter=1).fit(X, y)
    assert not model.path_converged_.all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SoftmaxRegressionCV(FEW, cv=2).fit(X, y).path_converged_.all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"Cs": []}, "Cs is empty"),
        ({"Cs": [1.0, -1.0]}, "C is -1.0"),
        ({"halvings": -1}, "halvings is -1"),
        ({"device": "gpu"}, "device is 'gpu'"),
        ({"normalize": "l1"}, "normalize is 'l1'"),
        ({"cv": [(np.arange(10), np.arange(10, 10))]}, "holds out no rows"),
        ({"cv": [(np.zeros(3, int), np.arange(10, 20))]}, "only one class"),
    ],
)
def test_bad_parameters_are_named(options: dict[str, Any], said: str) -> None:
    X, y = noisy()
    with pytest.raises(OptionError, match=said):
        SoftmaxRegressionCV(**options).fit(X, y)


def test_half_a_validation_set_is_refused() -> None:
    X, y = noisy()
    with pytest.raises(OptionError, match="X_val and y_val"):
        SoftmaxRegressionCV(FEW).fit(X, y, X_val=X)


def test_presets_are_the_published_ones() -> None:
    assert len(SWEEPS["dinov2"].Cs) == 45
    np.testing.assert_allclose(SWEEPS["dinov2"].Cs, np.logspace(-6, 5, 45))
    np.testing.assert_allclose(SWEEPS["clip"].Cs, np.logspace(-6, 6, 7))
    np.testing.assert_allclose(np.sort(1 / np.array(SWEEPS["kornblith"].Cs)), np.logspace(-6, 5, 45))
    assert all(preset.origin for preset in SWEEPS.values())
