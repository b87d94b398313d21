"""The bound on the distance from the minimum holds in every dtype, for the coefficients as they are used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hard_fits import HardFit, draw, judge
from hypothesis import given, settings
from hypothesis import strategies as st
from long_double import IS_WIDER

from featx import SoftmaxRegression

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not IS_WIDER, reason="numpy's longdouble is no wider than float64 here"),
]


def far_pair(dtype: type) -> tuple[Any, Any]:
    """Two columns at 80,000 that differ by 1: in float32, products with them keep nothing of their difference."""
    rng = np.random.default_rng(30)
    X = (rng.normal(size=(200, 2)) + 8e4).astype(dtype)
    return X, (X.astype(float) - 8e4) @ rng.normal(size=2) + rng.logistic(size=200) > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_columns_without_an_intercept(dtype: type) -> None:
    X, y = far_pair(dtype)
    found = judge(HardFit("far", X, y, None, {"C": 1e3, "fit_intercept": False}))
    assert found.converged
    assert found.gap is not None
    assert -1e-15 * found.minimum < found.truth <= found.gap < 1e-6 * found.minimum  # the reference is rounded, too


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}, {"fit_intercept": False, "standardize": True}])
def test_coefficients_that_folding_back_has_rounded(seed: int, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(150, 3)) + 1e8
    y = ((X - 1e8) @ rng.normal(size=(3, 4)) + rng.gumbel(size=(150, 4))).argmax(1)
    found = judge(HardFit("far", X, y, None, {"C": 100.0, **options}))
    assert found.gap is not None
    assert not found.is_violated


def test_the_bound_is_never_zero_where_something_is_left() -> None:
    for seed in range(40):
        fit = draw(seed)
        model = SoftmaxRegression(**fit.params).fit(fit.X, fit.y, fit.weight)
        assert model.objective_gap_ is None or model.objective_gap_ > 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**31))
def test_no_bound_is_below_the_truth(seed: int) -> None:
    """`tests/benchmarks/certificates.py` draws 5,000."""
    assert not judge(draw(seed)).is_violated
