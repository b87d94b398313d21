"""P-values of many pairs at once: against scipy one by one, all signs, and statsmodels' correction."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from featx.core.statistics import exact_mcnemar, holm, sign_flips


@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_holm_is_statsmodels(n: int) -> None:
    p = np.random.default_rng(n).beta(0.2, 1, n)
    p[: n // 3] = p[0]  # equal ones, too
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12)


def test_holm_keeps_the_order_and_never_exceeds_one() -> None:
    assert holm([0.9, 0.01, 0.02, 0.5]).tolist() == pytest.approx([1.0, 0.04, 0.06, 1.0])


def test_mcnemar_of_many_pairs_is_the_binomial_test_of_each() -> None:
    b, c = np.array([0, 0, 3, 10, 400, 5000]), np.array([0, 4, 3, 2, 480, 4700])
    expected = [stats.binomtest(int(i), int(i + j)).pvalue if i + j else 1.0 for i, j in zip(b, c, strict=True)]
    np.testing.assert_allclose(exact_mcnemar(b, c), expected, rtol=1e-9)


@pytest.mark.parametrize("n", [10, 14])
def test_flipped_signs_are_those_of_all_signs(n: int) -> None:
    """Against the share of all 2^n sums that are at least as far from 0."""
    found = np.random.default_rng(n).integers(-5, 6, (40, n)) / 5 + 0.2
    signs = np.array([*itertools.product([-1, 1], repeat=n)])
    for differences in np.round(found, 1):
        sums = np.abs(signs @ np.abs(differences))
        expected = np.mean(sums >= abs(differences.sum()) - 1e-9)
        p = sign_flips(differences.sum(), np.sum(differences**2), np.count_nonzero(differences), 0.2)
        assert p == pytest.approx(expected, abs=0.04)


def test_few_differences_have_no_small_p_value() -> None:
    assert sign_flips(5.0, 5.0, 5) == pytest.approx(2 / 32)
    assert sign_flips(0.0, 0.0, 0) == 1.0
