"""Working units against numpy, there and back, whatever blocks X is read in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from featx.probes import problem as problems
from featx.probes.problem import (
    BLOCK_ROWS_CPU,
    BLOCK_VALUES,
    Problem,
    as_given,
    blocks,
    column_stats,
    from_coefficients,
    make_problem,
    row_blocks,
    to_coefficients,
    working_blocks,
)

N, D = 200, 4
CPU = torch.device("cpu")


def data(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Columns of other means and widths, and weights, two of them 0."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, D)) * [1, 1e-3, 50, 7] + [0, 2, -300, 1e4]
    weight = rng.uniform(0, 2, N)
    weight[[0, 5]] = 0
    return torch.from_numpy(X), torch.from_numpy(weight)


def problem_of(k: int = 3, *, dtype: torch.dtype = torch.float64, **options: Any) -> Problem:
    X, weight = data()
    given = {"fit_intercept": True, "standardize": False, **options}
    return make_problem(X.to(dtype), torch.arange(N) % k, k, C=1.0, weight=weight, **given)


def some_point(problem: Problem) -> Tensor:
    shape = (problem.n_rows, len(problem.ridge))
    return torch.from_numpy(np.random.default_rng(1).normal(size=shape))


# ---- columns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [2048, 64])
@pytest.mark.parametrize("centre", [True, False])
def test_stats_are_numpys(centre: bool, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "BLOCK_ROWS_CPU", rows)
    X, weight = data()
    shift, deviation = column_stats(X, weight, centre=centre)
    mean = np.average(X.numpy(), axis=0, weights=weight) if centre else np.zeros(D)
    spread = np.sqrt(np.average((X.numpy() - mean) ** 2, axis=0, weights=weight))
    np.testing.assert_allclose(shift, mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(deviation, spread, rtol=1e-12)


def test_rows_of_no_weight_count_for_nothing() -> None:
    X, weight = data()
    X[weight == 0] = 1e30
    found = column_stats(X, weight, centre=True)
    expected = column_stats(X[weight > 0], weight[weight > 0], centre=True)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def test_far_means_cost_no_digits_of_the_spread() -> None:
    X = torch.from_numpy(np.random.default_rng(0).normal(size=(N, 1)))
    near = column_stats(X, torch.ones(N).double(), centre=True)[1]
    far = column_stats(X + 2.0**40, torch.ones(N).double(), centre=True)[1]
    torch.testing.assert_close(far, near, rtol=1e-4, atol=0)  # what is left of X beside 1e12; of its square nothing is


# ---- blocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(1, 1), (64, 5), (10_000, 3), (5_000, 100_000), (0, 4), (7, 0)])
def test_slices_are_all_rows_in_order_and_none_is_too_large(n: int, d: int) -> None:
    slices = list(row_blocks(n, d, CPU))
    assert [i for rows in slices for i in range(rows.start, rows.stop)] == list(range(n))
    for rows in slices:
        assert 0 < rows.stop - rows.start <= BLOCK_ROWS_CPU
        assert rows.stop - rows.start <= 64 or (rows.stop - rows.start) * d <= BLOCK_VALUES["cpu"]


class InPieces:
    """As much of a streamed matrix as a problem needs."""

    def __init__(self, X: Tensor) -> None:
        self._X, self.shape, self.dtype, self.device = X, tuple(X.shape), X.dtype, X.device

    def __getitem__(self, row: int) -> Tensor:
        return self._X[row]

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        for start, stop in ((0, 90), (90, 180), (180, N)):
            yield slice(start, stop), self._X[start:stop].clone()


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_streamed_matrix_is_the_same_problem(fit_intercept: bool) -> None:
    X, weight = data()
    given: dict[str, Any] = {"C": 1.0, "weight": weight, "fit_intercept": fit_intercept, "standardize": False}
    target = torch.arange(N) % 3
    whole = make_problem(X, target, 3, **given)
    pieces = make_problem(InPieces(X), target, 3, **given)  # type: ignore[arg-type]
    assert [rows.stop for rows, _ in blocks(pieces.X)] == [90, 180, N]
    for name in ("shift", "inverse_scale", "ridge"):
        torch.testing.assert_close(getattr(pieces, name), getattr(whole, name), rtol=1e-12, atol=1e-14)
    rows = [torch.cat([block.clone() for _, block in working_blocks(one)]) for one in (whole, pieces)]
    torch.testing.assert_close(rows[1], rows[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_working_rows_are_shifted_scaled_and_have_their_ones(
    fit_intercept: bool, standardize: bool, dtype: torch.dtype
) -> None:
    problem = problem_of(dtype=dtype, fit_intercept=fit_intercept, standardize=standardize)
    rows = torch.cat([block.clone() for _, block in working_blocks(problem)])
    assert rows.dtype == problem.dtype
    assert isinstance(problem.X, Tensor)
    expected = (problem.X.double() - problem.shift) * problem.inverse_scale
    tolerance = 1e-5 if problem.dtype == torch.float32 else 1e-12
    torch.testing.assert_close(rows[:, :D].double(), expected, rtol=tolerance, atol=10 * tolerance)
    assert rows.shape[1] == D + fit_intercept == len(problem.ridge)
    assert (rows[:, D:] == 1).all()


# ---- the penalty ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_penalty_is_of_the_coefficients_of_columns_as_given(fit_intercept: bool) -> None:
    problem = problem_of(fit_intercept=fit_intercept)
    theta = some_point(problem)
    coefficients, _ = to_coefficients(problem, theta)
    paid = (problem.ridge * theta.square()).sum()
    assert float(paid) == pytest.approx(float(coefficients.square().sum()), rel=1e-12)
    assert problem.has_intercept == fit_intercept


def test_the_penalty_of_standardised_columns_is_1_and_the_intercept_is_free() -> None:
    problem = problem_of(standardize=True)
    torch.testing.assert_close(problem.ridge, torch.tensor([1.0] * D + [0.0]).double(), rtol=1e-12, atol=0)


def test_constant_columns_keep_their_scale_and_count_as_such() -> None:
    X, weight = data()
    X[:, 1] = 7.0
    problem = make_problem(X, torch.arange(N) % 2, 2, C=1.0, weight=weight, fit_intercept=True, standardize=False)
    assert problem.varies.tolist() == [1, 0, 1, 1]
    assert float(problem.inverse_scale[1]) == 1
    assert float(problem.shift[1]) == 7


def test_units_are_exact_in_the_dtype_of_the_products() -> None:
    problem = problem_of(dtype=torch.float32)
    for values in (problem.shift, problem.inverse_scale):
        assert torch.equal(values.float().double(), values)
    without = problem_of(dtype=torch.float32, fit_intercept=False, standardize=True)
    assert without.dtype == torch.float64  # nothing takes up what rounding does to the means


def test_far_columns_are_told_from_near_ones() -> None:
    assert problem_of().is_near_zero  # a float64 has digits enough for means of 1e3 deviations
    assert not problem_of(dtype=torch.float32).is_near_zero


# ---- there and back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("k", [2, 4])
def test_logits_are_the_same_in_both_units(k: int, fit_intercept: bool, standardize: bool) -> None:
    problem = problem_of(k, fit_intercept=fit_intercept, standardize=standardize)
    theta = some_point(problem)
    rows = torch.cat([block.clone() for _, block in working_blocks(problem)])
    weights, offset = as_given(problem, theta)
    assert isinstance(problem.X, Tensor)
    torch.testing.assert_close(problem.X @ weights.T + offset, rows @ theta.T, rtol=1e-9, atol=1e-7)


def test_intercepts_of_several_classes_have_mean_zero_and_change_no_probability() -> None:
    problem = problem_of(4)
    theta = some_point(problem) + 3
    coefficients, intercept = to_coefficients(problem, theta)
    _, offset = as_given(problem, theta)
    assert float(intercept.mean()) == pytest.approx(0, abs=1e-10 * float(offset.abs().max()))
    difference = offset - intercept
    torch.testing.assert_close(difference, difference.mean().expand(4), rtol=1e-9, atol=1e-9)
    again = from_coefficients(problem, coefficients, intercept)
    torch.testing.assert_close(again[:, :D], theta[:, :D], rtol=1e-10, atol=0)
    torch.testing.assert_close(again[:, D] - again[0, D], theta[:, D] - theta[0, D], rtol=1e-7, atol=1e-7)


def test_some_rows_stand_for_many_unless_one_outweighs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "ENOUGH_ROWS", 50)
    weight = torch.ones(N, dtype=torch.float64)
    assert problems.spared(weight, columns=4, rows_per_column=2) == 4
    assert problems.spared(weight, columns=4, rows_per_column=25) == 2
    assert problems.spared(weight, columns=1000, rows_per_column=2) == 1
    weight[7] = 1000.0
    assert problems.spared(weight, columns=4, rows_per_column=2) == 1


def test_part_of_every_block_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(problems.BLOCK_VALUES, "cpu", 64 * D)
    X, _ = data()
    taken = [list(range(N))[rows] for rows, _ in blocks(X, 3)]
    assert taken == [list(range(start, start + rows)) for start, rows in ((0, 22), (64, 22), (128, 22), (192, 3))]
    assert all(torch.equal(block, X[rows]) for rows, block in blocks(X, 3))


def test_a_column_that_varies_in_few_rows_keeps_its_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "ENOUGH_ROWS", 20)
    X, _ = data()
    X[:, 1] = 3.0
    X[-1, 1] = 4.0
    weight = torch.ones(N, dtype=torch.float64)
    found = make_problem(X, torch.arange(N) % 3, 3, C=1.0, weight=weight, fit_intercept=True, standardize=False)
    assert bool((found.varies == 1).all())
    torch.testing.assert_close(1 / found.inverse_scale[1], X[:, 1].std(correction=0))
