"""Newton steps by a root of the Hessian, against the Hessian itself, and where rounding hides what it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from featx.probes import root_steps
from featx.probes.objective import evaluate, hessian_product
from featx.probes.problem import Problem, make_problem
from featx.probes.root_steps import MOST_WEIGHTS, has_root, root_step
from featx.probes.softmax import unpenalised


def problem_of(X: Tensor, k: int, *, C: float = 2.0, fit_intercept: bool = True, seed: int = 0) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(len(X)) % k
    weight = torch.rand(len(X), generator=generator, dtype=torch.float64)
    return make_problem(X.double(), target, k, C=C, weight=weight, fit_intercept=fit_intercept, standardize=False)


def normal(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hessian(problem: Problem, theta: Tensor) -> Tensor:
    """All of it (k p, k p), product by product."""
    units = torch.eye(theta.numel(), dtype=torch.float64).view(-1, *theta.shape)
    return torch.stack([hessian_product(problem, theta, unit).flatten() for unit in units])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(2, 6),
    st.integers(1, 5),
    st.integers(8, 60),
    st.booleans(),
    st.integers(0, 10_000),
    st.floats(0.01, 100.0),
)
def test_the_step_solves_newtons_equation(k: int, d: int, n: int, fit_intercept: bool, seed: int, C: float) -> None:
    problem = problem_of(normal(n, d, seed), k, C=C, fit_intercept=fit_intercept, seed=seed)
    theta = normal(problem.n_rows, len(problem.ridge), seed + 1)
    gradient = evaluate(problem, theta).gradient
    found = root_step(problem, theta)
    assert found.settled
    assert torch.allclose(hessian_product(problem, theta, found.step), gradient, atol=1e-9 * float(gradient.norm()))
    assert found.decrement == pytest.approx(float((gradient * found.step).sum()), rel=1e-9)
    assert found.hidden == 0


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(normal(90, 3), 4)
    theta = normal(4, 4, 1)
    whole = root_step(problem, theta)
    monkeypatch.setattr(root_steps, "BLOCK_VALUES", 500)
    assert torch.allclose(root_step(problem, theta).step, whole.step, rtol=1e-10)


@pytest.mark.parametrize("k", [2, 3])
def test_a_curvature_1e_20_times_the_largest_is_known(k: int) -> None:
    """Of two weights that move against each other the large rows know nothing."""
    small = torch.tensor([[1.0, -1.0], [-2.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    X = torch.cat([torch.full((6, 2), 2.0**33, dtype=torch.float64), small.repeat(k, 1)])
    weight = torch.ones(len(X), dtype=torch.float64)
    target = torch.cat([torch.arange(6) % k, torch.arange(3 * k) // 3])
    given = make_problem(X, target, k, C=1.0, weight=weight, fit_intercept=False, standardize=False)
    problem = unpenalised(given)
    theta = torch.zeros(problem.n_rows, 2, dtype=torch.float64)
    against = torch.tensor([1.0, -1.0], dtype=torch.float64)
    alone = (small.repeat(k, 1) @ against)[:, None]  # the same for a single weight on what is left
    rest = make_problem(alone, target[6:], k, C=1.0, weight=weight[6:], fit_intercept=False, standardize=False)
    expected = root_step(unpenalised(rest), theta[:, :1])
    found = root_step(problem, theta)
    assert found.decrement == pytest.approx(expected.decrement + _of_the_sum(problem, theta), rel=1e-6)


def _of_the_sum(problem: Problem, theta: Tensor) -> float:
    """The decrement of both weights moved alike, on all rows."""
    X = (problem.X.sum(1) / 2)[:, None]
    alike = make_problem(
        X, problem.target, problem.n_classes, C=1.0, weight=problem.weight, fit_intercept=False, standardize=False
    )
    return root_step(unpenalised(alike), theta[:, :1]).decrement


def test_weights_that_no_row_touches_follow_their_penalty_alone() -> None:
    X = torch.cat([normal(30, 2), torch.zeros(30, 1)], dim=1)
    problem = problem_of(X, 3)
    theta = normal(3, 4, 1)
    found = root_step(problem, theta)
    assert torch.allclose(found.step[:, 2], theta[:, 2], rtol=1e-15)


def test_columns_that_are_copies_hide_nothing_without_a_penalty() -> None:
    X = normal(40, 3)
    problem = unpenalised(problem_of(torch.cat([X, X[:, :1] + X[:, 1:2]], dim=1), 3))
    theta = normal(3, 5, 1)
    found = root_step(problem, theta)
    assert found.hidden == 0
    assert found.norm(1.0) == found.norm_to_be_had(1.0)


def test_what_a_tiny_penalty_has_to_gain_along_copies_is_told() -> None:
    X = normal(40, 1).repeat(1, 2)
    problem = problem_of(X, 2, fit_intercept=False)
    problem = replace(problem, ridge=torch.full((2,), 1e-40, dtype=torch.float64))
    theta = torch.tensor([[1e19, -1e19]], dtype=torch.float64)
    found = root_step(problem, theta)
    assert found.hidden == pytest.approx(2e-2, rel=1e-9)


def test_rows_whose_curvature_is_lost_may_promise_more() -> None:
    """Columns that cancel in the large rows do not in the small ones."""
    X = torch.tensor([[1e20, 1e20], [1.0, -1.0]], dtype=torch.float64).repeat(8, 1)
    problem = unpenalised(problem_of(X, 2, fit_intercept=False))
    found = root_step(problem, torch.zeros(1, 2, dtype=torch.float64))
    small = problem.weight[1::2].sum() * problem.C
    assert found.hidden == pytest.approx(float((small / 2) ** 2 / (small / 4)), rel=1e-9)
    assert found.norm(1.0) > found.norm_to_be_had(1.0)


def test_values_that_are_not_finite_settle_nothing() -> None:
    problem = problem_of(normal(20, 2), 2)
    theta = torch.full((1, 3), torch.nan, dtype=torch.float64)
    assert not root_step(problem, theta).settled


def test_without_any_curvature_nothing_is_settled() -> None:
    X = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    problem = unpenalised(problem_of(X, 2, fit_intercept=False))
    theta = torch.tensor([[-1e4]], dtype=torch.float64)  # certain, and wrong
    assert not root_step(problem, theta).settled


def test_large_problems_have_no_root() -> None:
    assert has_root(problem_of(normal(20, 5), 4))
    assert not has_root(problem_of(normal(20, MOST_WEIGHTS), 2))
    assert not has_root(problem_of(torch.zeros(100_000, 1).expand(-1, 100), 4))
