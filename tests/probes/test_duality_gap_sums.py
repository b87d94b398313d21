"""The certificate's sums against long double: each is as near to the truth as it says, and no bound is below it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from featx.probes import duality_gap_sums
from featx.probes import problem as problems
from featx.probes.duality_gap_sums import (
    Move,
    exact_blocks,
    largest_moves,
    look,
    newton_move,
    probabilities,
    root_at,
    smallest,
)
from featx.probes.objective import evaluate
from featx.probes.problem import Problem, make_problem
from featx.probes.softmax import unpenalised

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(
        np.finfo(np.longdouble).eps >= np.finfo(float).eps, reason="numpy's longdouble is no wider than float64 here"
    ),
]

Array = np.ndarray[Any, Any]
N, D = 150, 4
SHAPES = [(k, fit_intercept) for k in (2, 3, 5) for fit_intercept in (True, False)]


@pytest.fixture(autouse=True)
def _in_three_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "BLOCK_ROWS_CPU", 64)


def problem_of(k: int, fit_intercept: bool, dtype: torch.dtype = torch.float64, **options: Any) -> Problem:
    rng = np.random.default_rng(k)
    X = rng.normal(size=(N, D)) * [1, 1e-3, 30, 5] + [0, 2e-3, -200, 40]
    weight = rng.uniform(0, 2, N)
    weight[[0, 70]] = 0
    given = {"C": 0.7, "standardize": False, **options}
    target = torch.from_numpy(rng.integers(0, k, N))
    return make_problem(
        torch.from_numpy(X).to(dtype), target, k, weight=torch.from_numpy(weight), fit_intercept=fit_intercept, **given
    )


def some_weights(problem: Problem, size: float = 0.5, seed: int = 1) -> Tensor:
    """Weights (k, p) whose class means are zero."""
    shape = (problem.n_rows, len(problem.ridge))
    theta = torch.from_numpy(np.random.default_rng(seed).normal(size=shape) * size)
    return theta - theta.mean(0) if len(theta) > 1 else theta


class Exact:
    """What is to be found, in long double."""

    def __init__(self, problem: Problem, theta: Tensor) -> None:
        def wide(tensor: Tensor) -> Array:
            return tensor.numpy().astype(np.longdouble)

        assert isinstance(problem.X, Tensor)
        self.C, self.ridge, self.weight, self.theta = problem.C, *map(wide, (problem.ridge, problem.weight, theta))
        self.A = (wide(problem.X) - wide(problem.shift)) * wide(problem.inverse_scale)
        if problem.has_intercept:
            self.A = np.column_stack([self.A, np.ones(N, np.longdouble)])
        self.logits = self.A @ self.theta.T
        # All classes, the first of two having no logit of its own.
        logits = self.logits if len(theta) > 1 else np.column_stack([np.zeros(N), self.logits[:, 0]])
        share = np.exp(logits - logits.max(1, keepdims=True))
        self.p = share / share.sum(1, keepdims=True)
        others = np.eye(problem.n_classes)[problem.target.numpy()] == 0
        residual = np.where(others, self.p, -(self.p * others).sum(1, keepdims=True))
        self.residual = residual if len(theta) > 1 else residual[:, 1:]
        self.s = self.p.min(1) if len(theta) > 1 else self.p.prod(1)

    @property
    def gradient(self) -> Array:
        return self.C * (self.residual * self.weight[:, None]).T @ self.A + self.theta * self.ridge

    @property
    def curvature(self) -> Array:
        return self.C * (self.A.T * (self.weight * self.s)) @ self.A

    def jacobians(self) -> Array:
        """``diag(p_i) - p_i p_i^T`` of every row; of two classes, p (1 - p)."""
        if len(self.theta) == 1:
            return self.s[:, None, None]
        return np.stack([np.diag(p) - np.outer(p, p) for p in self.p])


def assert_within(found: Tensor, truth: Array, error: Tensor) -> None:
    assert (np.abs(found.numpy() - truth) <= error.numpy()).all()


# ---- a look at the rows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"standardize": True}, {"dtype": torch.float32}], ids=str)
@pytest.mark.parametrize(("k", "fit_intercept"), SHAPES)
def test_the_gradient_is_known_to_its_error(k: int, fit_intercept: bool, options: dict[str, Any]) -> None:
    problem = problem_of(k, fit_intercept, **options)
    theta = some_weights(problem)
    point, exact = look(problem, theta, 0.0), Exact(problem, theta)
    assert_within(point.gradient, exact.gradient, point.error)
    sizes = exact.C * np.abs(exact.residual * exact.weight[:, None]).T @ np.abs(exact.A)
    assert (point.error.numpy() < 1e-11 * (sizes + np.abs(exact.theta * exact.ridge))).all()
    truth = np.abs(exact.logits - np.concatenate([(b @ theta.T).numpy() for _, b in exact_blocks(problem)])).max()
    assert truth <= point.blur < 1e-11


@pytest.mark.parametrize(("k", "fit_intercept"), SHAPES)
def test_the_other_sums_are_what_they_are_called(k: int, fit_intercept: bool) -> None:
    problem = problem_of(k, fit_intercept)
    theta = some_weights(problem)
    point, exact = look(problem, theta, 0.0), Exact(problem, theta)
    assert point.curvature is not None
    np.testing.assert_allclose(point.curvature.numpy(), exact.curvature.astype(float), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(point.squares.numpy(), (exact.C * exact.weight @ exact.A**2).astype(float), rtol=1e-12)
    root = root_at(problem, point)
    assert torch.equal(root, root.triu())
    np.testing.assert_allclose((root.T @ root).numpy(), exact.curvature.astype(float), rtol=1e-9, atol=1e-9)
    unsure = 1 - exact.p.max(1) if k > 2 else exact.s
    assert point.mean_curvature == pytest.approx(float(exact.C * exact.weight @ unsure), rel=1e-11)
    # Of k classes, k - 1 times what the solver's own passes find at most.
    assert (k - 1) / 2 <= point.mean_curvature / evaluate(problem, theta).curvature <= k - 1 + 1e-9


def test_a_row_counts_the_same_in_every_block() -> None:
    problem = problem_of(3, fit_intercept=True)
    assert isinstance(problem.X, Tensor)
    problem.X[3] *= 100  # in the first block, and then in the last
    theta = some_weights(problem)
    turned = replace(problem, X=problem.X.flip(0), target=problem.target.flip(0), weight=problem.weight.flip(0))
    one, other = look(problem, theta, 0.0), look(turned, theta, 0.0)
    assert one.blur == pytest.approx(other.blur, rel=1e-9)
    assert one.slack == pytest.approx(other.slack, rel=1e-9)
    torch.testing.assert_close(one.gradient, other.gradient, rtol=1e-9, atol=1e-9)
    step = some_weights(problem, size=0.1, seed=2)
    moves = [largest_moves(p, at, [step], [(0.0, 1.0)])[0] for p, at in ((problem, one), (turned, other))]
    assert moves[0] == pytest.approx(moves[1], rel=1e-9)
    assert newton_move(problem, one, step).largest == pytest.approx(newton_move(turned, other, step).largest, rel=1e-9)


@pytest.mark.parametrize("k", [2, 4])
def test_a_certain_row_keeps_the_digits_of_what_it_leaves(k: int) -> None:
    problem = unpenalised(problem_of(k, fit_intercept=True))
    theta = some_weights(problem, size=60.0)
    likely = Exact(problem, theta).p.argmax(1)
    left = Exact(replace(problem, target=torch.from_numpy(likely)), theta).residual
    certain = np.abs(left).max(1) < 1e-13  # of p - 1, float64 would keep three digits
    weight = torch.from_numpy(certain.astype(float))
    problem = replace(problem, target=torch.from_numpy(likely), weight=weight)
    assert certain.sum() > 20
    gradient = look(problem, theta, 0.0).gradient
    np.testing.assert_allclose(gradient, Exact(problem, theta).gradient.astype(float), rtol=1e-9)


def test_too_many_columns_have_no_curvature(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(3, fit_intercept=True)
    for most, known in ((D, False), (D + 1, True)):
        monkeypatch.setattr(duality_gap_sums, "FULL_COLUMNS", most)
        assert (look(problem, some_weights(problem), 0.0).curvature is not None) is known


@pytest.mark.parametrize(("k", "fit_intercept"), SHAPES)
def test_an_error_that_all_logits_share_is_paid_for(k: int, fit_intercept: bool) -> None:
    problem = problem_of(k, fit_intercept)
    theta = some_weights(problem)
    plain, point, exact = look(problem, theta, 0.0), look(problem, theta, 1e-3), Exact(problem, theta)
    assert point.blur - plain.blur == pytest.approx(1e-3)
    assert (point.shifted == 0) is fit_intercept
    change = exact.C * exact.weight @ exact.residual
    for signs in itertools.product((-1, 1), repeat=problem.n_rows):
        wrong = 1e-3 * np.array(signs)
        moved = exact.C * exact.weight @ np.einsum("i,nij,j->n", wrong, exact.jacobians(), wrong)
        assert moved <= point.slack**2
        assert fit_intercept or abs(change @ wrong) <= point.shifted


# ---- moves ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "fit_intercept"), SHAPES)
def test_a_newton_move_is_the_hessian_times_its_step(k: int, fit_intercept: bool) -> None:
    problem = problem_of(k, fit_intercept)
    theta, step = some_weights(problem), some_weights(problem, size=0.1, seed=2)
    point, exact = look(problem, theta, 0.0), Exact(problem, theta)
    move, moved = newton_move(problem, point, step), exact.A @ step.numpy().astype(np.longdouble).T
    product = np.einsum("nij,nj->ni", exact.jacobians(), moved)
    assert_within(move.change, exact.C * (product * exact.weight[:, None]).T @ exact.A, move.error)
    assert float(move.error.norm()) < 1e-9 * float(move.change.norm())
    size = float(exact.C * exact.weight @ (product * moved).sum(1))
    assert size <= move.size <= size * (1 + 1e-10)
    jacobian = exact.C * np.einsum("n,nij->ij", exact.weight, exact.jacobians())
    np.testing.assert_allclose(move.jacobian.numpy(), jacobian.astype(float), rtol=1e-11)
    relative = moved - (exact.p * moved).sum(1, keepdims=True) if k > 2 else moved
    assert move.largest == pytest.approx(float(np.abs(relative).max()), rel=1e-11)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_a_balance_is_no_smaller_than_the_move_it_stands_for(k: int) -> None:
    problem = problem_of(k, fit_intercept=True)
    theta = some_weights(problem)
    point, exact = look(problem, theta, 0.0), Exact(problem, theta)
    move = newton_move(problem, point, torch.zeros_like(theta))
    left = some_weights(problem, size=1e-3, seed=3)
    found = move.balance(left, torch.zeros_like(left), point)
    assert found is not None
    jacobian = exact.C * np.einsum("n,nij->ij", exact.weight, exact.jacobians()).astype(float)
    v = np.linalg.pinv(jacobian, rcond=1e-12) @ left[:, -1].numpy()
    relative = v - (exact.p @ v)[:, None] if k > 2 else v
    assert np.sqrt(v @ jacobian @ v) <= found[0] < 10 * np.sqrt(v @ jacobian @ v)
    assert np.abs(relative).max() <= found[1]


def test_nothing_is_balanced_where_rounding_decides() -> None:
    problem = problem_of(3, fit_intercept=True)
    point = look(problem, some_weights(problem), 0.0)
    flat = torch.tensor([[1.0, -1, 0], [-1, 1, 0], [0, 0, 1e-16]], dtype=torch.float64)
    left = torch.zeros_like(point.theta)
    assert Move(left, left, 0.0, 0.0, flat).balance(left, left, point) is None


@pytest.mark.parametrize("blur", [(0.0, 1.0), (0.1, 1e9), (1e9, 0.2), (0.05, 0.2)])
@pytest.mark.parametrize("k", [2, 4])
def test_the_largest_move_counts_how_well_a_step_is_known(k: int, blur: tuple[float, float]) -> None:
    problem = problem_of(k, fit_intercept=True)
    theta = some_weights(problem)
    point, exact = look(problem, theta, 0.0), Exact(problem, theta)
    steps = [some_weights(problem, size=0.1, seed=seed) for seed in (2, 3)]
    with np.errstate(divide="ignore"):
        own = 1 / np.sqrt(exact.C * exact.weight * exact.s)  # infinite for rows without weight
    by_size, by_own = blur
    unknown = np.minimum(by_size * np.linalg.norm(exact.A.astype(float), axis=1), by_own * own)
    for step, found in zip(steps, largest_moves(problem, point, steps, [blur] * 2), strict=True):
        truth = float((np.abs(exact.A @ step.numpy().T).max(1) + unknown).max())
        assert truth <= found * (1 + 1e-12)
        assert found == pytest.approx(truth, rel=1e-10)


# ---- a row ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(-300, 300), min_size=1, max_size=6))
def test_the_smallest_share_is_never_above_the_truth(logits: list[float]) -> None:
    row = torch.tensor([logits], dtype=torch.float64)
    exact = np.array(logits, np.longdouble)
    exact = exact if len(logits) > 1 else np.concatenate([np.zeros(1, np.longdouble), exact])
    share = np.exp(exact - exact.max())
    share /= share.sum()
    found, p = smallest(row, probabilities(row)).item(), probabilities(row)[0].numpy()
    truth = share.min() if len(logits) > 1 else share.prod()
    assert truth * (1 - 1e-11) <= found <= truth
    np.testing.assert_allclose(p, (share if len(logits) > 1 else share[1:]).astype(float), rtol=1e-12)
