"""Temperature scaling: scikit-learn's temperature, a proof of the optimum, and rows that determine none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from logit_rows import drawn, problems
from long_double import IS_WIDER
from scipy.special import log_softmax, softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from featx.errors import FeatureError, OptionError
from featx.probes.temperature import FLAT, FLATTEST, NO_BETTER, RIDGE, SEPARABLE, fit_temperature

Wide = np.longdouble


def slope(logits: Any, y: Any, temperature: float) -> Any:
    """Return the derivative of log loss and ridge by t in long double, at this temperature."""
    z = logits.astype(Wide)
    spread = np.sqrt(np.mean(np.square(z - z.mean(axis=1, keepdims=True))))
    t, u = spread / Wide(temperature), (z - z[np.arange(len(y)), y][:, None]) / spread
    p = np.exp(t * u - (t * u).max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return (p * u).sum() / len(y) + Wide(RIDGE) * t


@pytest.mark.parametrize("k", [2, 3, 10])
def test_it_is_scikit_learns(k: int) -> None:
    rng = np.random.default_rng(k)
    X = rng.standard_normal((600, 8))
    y = (X[:, :k].argmax(axis=1) + (rng.random(600) < 0.2)) % k
    model = LogisticRegression(C=1e4).fit(X[:60], y[:60])
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(X[60:], y[60:])
    values = model.decision_function(X[60:])
    logits = np.column_stack([np.zeros(540), values]) if k == 2 else values
    found = fit_temperature(logits, y[60:])
    beta = theirs.calibrated_classifiers_[0].calibrators[0].beta_ * (2 if k == 2 else 1)  # theirs are of -z and z
    assert found.temperature == pytest.approx(1 / beta, rel=1e-6)
    ours = softmax(logits * found.scale + found.offset, axis=1)
    np.testing.assert_allclose(ours, theirs.predict_proba(X[60:]), atol=1e-6)


@pytest.mark.parametrize(("n", "k", "size"), [(20, 2, 1.0), (50, 2, 0.01), (200, 5, 30.0), (300, 40, 1e8)])
def test_it_is_the_minimum_and_its_objective_the_mean_log_loss(n: int, k: int, size: float) -> None:
    logits, y = drawn(n, k, size)
    found = fit_temperature(logits, y)

    def loss(temperature: float) -> float:
        return float(-log_softmax(logits / temperature, axis=1)[np.arange(n), y].mean())

    assert found.objective == pytest.approx(loss(found.temperature), abs=1e-9)
    assert all(loss(found.temperature) <= loss(found.temperature * by) + 1e-12 for by in (0.9, 0.999, 1.001, 1.1))
    assert 0 <= found.objective_gap < 1e-15
    assert (found.scale == 1 / found.temperature).all() or np.allclose(found.scale * found.temperature, 1, rtol=1e-15)
    assert not found.offset.any()


def test_the_size_of_logits_does_not_matter() -> None:
    logits, y = drawn(80, 4, 1.0)
    plain = fit_temperature(logits, y).temperature
    for by in (1e-200, 1e-3, 1e12, 1e250):
        assert fit_temperature(logits * by, y).temperature == pytest.approx(plain * by, rel=1e-12)


@settings(max_examples=80, deadline=None)
@given(problems())
def test_whatever_the_rows_the_proof_holds(problem: tuple[Any, Any]) -> None:
    logits, y = problem
    found = fit_temperature(logits, y)
    low, high = found.temperature_bounds
    assert found.temperature > 0
    assert low <= found.temperature <= high
    assert np.isfinite([*found.scale, found.objective]).all()
    assert 0 <= found.objective_gap < 1e-9
    assert found.objective <= math.log(logits.shape[1]) + 1e-3  # not worse than guessing, at the largest T
    if not IS_WIDER or found.notes == (FLAT,):
        return
    # The derivative by t = spread / T rises: above 0 at the lower temperature, below at the higher one.
    if NO_BETTER in found.notes:
        assert slope(logits, y, found.temperature) >= 0
    else:
        assert slope(logits, y, low) >= 0 >= slope(logits, y, high)


def test_rows_that_are_all_right_are_held_by_the_ridge_and_told() -> None:
    logits = 5 * np.eye(3)[[0, 1, 2, 0]]
    found = fit_temperature(logits, np.array([0, 1, 2, 0]))
    assert found.notes == (SEPARABLE,)
    assert 0.1 < found.temperature < 0.3  # 5 / T is about 27, where e^-27 meets 1e-12
    assert found.objective < 1e-9


def test_rows_that_are_certain_and_wrong_end_near_guessing() -> None:
    logits = 500 * np.eye(3)[[0, 1, 2, 0]]
    found = fit_temperature(logits, np.array([1, 2, 0, 1]))
    assert found.notes == (NO_BETTER,)
    assert found.objective == pytest.approx(math.log(3), rel=1e-3)
    assert np.ptp(logits[0] * found.scale) < 10 * FLATTEST
    assert ((logits * found.scale).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_equal_logits_leave_it_at_1() -> None:
    found = fit_temperature(np.full((4, 3), 7.0), np.array([0, 1, 2, 0]))
    assert (found.temperature, found.notes) == (1.0, (FLAT,))
    assert found.objective == pytest.approx(math.log(3))


@pytest.mark.parametrize(
    ("logits", "y", "says"),
    [
        ([[1.0, 2.0]], [2], "labels are"),
        ([[1.0, 2.0]], [0.5], "labels are"),
        ([[1.0], [2.0]], [0, 0], "k at least 2"),
        ([[1.0, 2.0]], [0, 1], "shape"),
        (np.empty((0, 3)), np.empty(0, int), "n at least 1"),
    ],
)
def test_what_is_no_problem_is_refused(logits: Any, y: Any, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        fit_temperature(logits, y)


def test_a_row_that_is_not_finite_is_named() -> None:
    with pytest.raises(FeatureError, match="row 1"):
        fit_temperature([[0.0, 1.0], [np.nan, 1.0]], [0, 1])
