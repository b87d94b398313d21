"""Bins of equal mass, the expected calibration error, and the one without what chance adds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from featx.core.calibration_error import (
    BINS,
    debiased_calibration_error,
    equal_mass_bins,
    expected_calibration_error,
)


def test_errors_are_those_of_a_plain_computation() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(1000)
    right = rng.random(1000) < confidence**2
    order, ece, squares = np.argsort(confidence), 0.0, 0.0
    for i in range(15):
        rows = order[i * 1000 // 15 : (i + 1) * 1000 // 15]
        p, r = confidence[rows].mean(), right[rows].mean()
        ece += len(rows) / 1000 * abs(p - r)
        squares += len(rows) / 1000 * ((p - r) ** 2 - r * (1 - r) / (len(rows) - 1))
    bins = equal_mass_bins(confidence, right)
    assert bins.n.sum() == 1000
    assert len(bins.n) == BINS == 15
    assert expected_calibration_error(bins) == pytest.approx(ece, rel=1e-12)
    assert debiased_calibration_error(bins) == pytest.approx(math.sqrt(squares), rel=1e-12)


def test_rows_of_equal_confidence_share_a_bin_whatever_their_order() -> None:
    confidence, right = np.repeat([0.5, 1.0], [10, 90]), np.arange(100) % 2 == 0
    for order in (np.arange(100), np.arange(100)[::-1]):
        bins = equal_mass_bins(confidence[order], right[order])
        assert bins.n.tolist() == [10, 90]
        assert bins.accuracy.tolist() == [0.5, 0.5]
        assert expected_calibration_error(bins) == pytest.approx(0.45)


def test_chance_alone_gives_an_expected_error_but_hardly_a_debiased_one() -> None:
    rng = np.random.default_rng(0)
    plain, squares = [], []
    for _ in range(300):
        confidence = 0.5 + rng.random(300) / 2
        bins = equal_mass_bins(confidence, rng.random(300) < confidence)
        chance = bins.accuracy * (1 - bins.accuracy) / (bins.n - 1)
        squares.append(float(np.average((bins.accuracy - bins.confidence) ** 2 - chance, weights=bins.n)))
        plain.append(expected_calibration_error(bins))
        assert debiased_calibration_error(bins) == pytest.approx(math.sqrt(max(0.0, squares[-1])))
    assert np.mean(plain) > 0.05
    assert abs(np.mean(squares)) < 5e-4


@pytest.mark.parametrize("n", [0, 1, 2, 14])
def test_few_rows_are_a_bin_each(n: int) -> None:
    confidence = np.linspace(0.5, 0.9, n)
    bins = equal_mass_bins(confidence, np.ones(n, bool))
    assert bins.n.tolist() == [1] * n
    assert expected_calibration_error(bins) == pytest.approx(1 - 0.7) if n > 1 else True
    assert math.isnan(expected_calibration_error(bins)) is (n == 0)
    assert debiased_calibration_error(bins) == 0 if n else math.isnan(debiased_calibration_error(bins))
