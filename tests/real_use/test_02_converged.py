"""A fit that says it converged is within 1e-6 of the minimum; hard problems converge, or say what is the matter."""

from __future__ import annotations

import numpy as np
import pytest
from hard_fits import HardFit, draw, judge
from hypothesis import given, settings
from hypothesis import strategies as st
from long_double import IS_WIDER

from featx import SoftmaxRegression
from featx.linear_model import NotConvergedWarning

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not IS_WIDER, reason="numpy's longdouble is no wider than float64 here"),
]


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_means_of_1e8_without_an_intercept(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(200, 3)) + 1e8
    y = ((X - 1e8) @ rng.normal(size=(3, k)) + rng.gumbel(size=(200, k))).argmax(1)
    found = judge(HardFit("together", X, y, None, {"C": 1.0, "fit_intercept": False}))
    assert found.converged
    assert found.excess <= 1e-6


@pytest.mark.parametrize("C", [1e6, 1e18])
def test_ten_columns_that_are_equal_to_1e_8(C: float) -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(150, 1))
    X = base + 1e-8 * rng.normal(size=(150, 10))
    found = judge(HardFit("copies", X, base[:, 0] + rng.logistic(size=150) > 0, None, {"C": C}))
    assert found.converged
    assert found.excess <= 1e-6


@pytest.mark.parametrize("seed", range(6))
def test_heavy_tails_and_weights_from_0_to_20000(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, weight = rng.standard_cauchy(size=(20, 2)), rng.uniform(0, 2e4, 20)
    found = judge(HardFit("cauchy", X, rng.permutation(np.arange(20) % 8), weight, {"C": 4e4}))
    assert found.converged
    assert found.excess <= 1e-6


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**31))
def test_converged_means_converged(seed: int) -> None:
    found = judge(draw(seed))
    assert found.excess <= 1e-6 if found.converged else found.message


def test_separable_classes_without_a_penalty_say_so() -> None:
    X = np.arange(8.0)[:, None]
    with pytest.warns(NotConvergedWarning, match="no minimum"):
        model = SoftmaxRegression(penalty=None).fit(X, X[:, 0] > 3)
    assert not model.converged_
    assert model.objective_gap_ is None


def test_a_fit_cut_short_says_how_to_go_on() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 5))
    with pytest.warns(NotConvergedWarning, match="raise max_iter"):
        SoftmaxRegression(C=100.0, max_iter=1).fit(X, X[:, 0] + rng.normal(size=100) > 0)
