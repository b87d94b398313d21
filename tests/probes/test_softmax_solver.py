"""The solver's minimum against long double, and the ways it takes to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from long_double import Reference
from torch import Tensor

from featx.probes import softmax_solver
from featx.probes.lbfgs import Solution
from featx.probes.objective import evaluate, hessian_product, start_point
from featx.probes.problem import Problem, make_problem, to_coefficients
from featx.probes.softmax_solver import fit_softmax, refine

pytestmark = pytest.mark.usefixtures("one_thread")

N, D = 120, 4


def data(k: int, *, rare: bool = False) -> tuple[Any, Any]:
    rng = np.random.default_rng(k)
    X = rng.normal(size=(N, D)) @ rng.normal(size=(D, D))
    y = (X @ rng.normal(size=(D, k)) + rng.gumbel(size=(N, k))).argmax(1)
    y[:k] = np.arange(k)
    if rare:  # two of a hundred rows for the last class
        y[y == k - 1] = 0
        y[:2] = k - 1
    return X, y


def problem_of(k: int = 3, C: float = 1.0, dtype: torch.dtype = torch.float64, *, rare: bool = False) -> Problem:
    X, y = data(k, rare=rare)
    weight = torch.ones(N, dtype=torch.float64)
    return make_problem(
        torch.from_numpy(X).to(dtype), torch.from_numpy(y), k, C=C, weight=weight, fit_intercept=True, standardize=False
    )


def least(problem: Problem) -> float:
    """The minimum, in long double."""
    assert isinstance(problem.X, Tensor)
    return float(Reference(problem.X.numpy(), problem.target.numpy(), problem.C).minimum())


def value(problem: Problem, theta: Tensor) -> float:
    """The objective at the coefficients that a point stands for, in long double."""
    assert isinstance(problem.X, Tensor)
    coefficients, intercept = (one.numpy() for one in to_coefficients(problem, theta))
    return float(Reference(problem.X.numpy(), problem.target.numpy(), problem.C).objective(coefficients, intercept))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("C", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("k", [2, 4])
def test_the_minimum_is_long_doubles(k: int, C: float, dtype: torch.dtype) -> None:
    problem = problem_of(k, C, dtype)
    found, best = fit_softmax(problem, tol=1e-7, max_iter=1000), least(problem)
    assert found.converged
    assert found.gradient_norm <= 1e-7
    assert best * (1 - 1e-14) <= value(problem, found.point) <= best * (1 + 1e-12)
    assert found.value == pytest.approx(value(problem, found.point), rel=1e-12)


def test_rare_classes_converge_by_the_true_hessian() -> None:
    problem = problem_of(5, 1e3, rare=True)
    found, best = fit_softmax(problem, tol=1e-5, max_iter=1000), least(problem)
    at = evaluate(problem, found.point)
    # Twice what is left, by a solution of Newton's equation.
    size = found.point.numel()
    units = torch.eye(size, dtype=torch.float64).view(-1, *found.point.shape)
    hessian = torch.stack([hessian_product(problem, found.point, unit).flatten() for unit in units])
    step = torch.linalg.lstsq(hessian, at.gradient.flatten()[:, None], driver="gelsd").solution[:, 0]
    left = float(at.gradient.flatten() @ step) / 2
    assert found.converged
    assert left <= (softmax_solver.LEEWAY * 1e-5) ** 2 * at.value
    assert value(problem, found.point) <= best * (1 + 1e-8)


def test_a_warm_start_at_the_minimum_takes_no_step() -> None:
    problem = problem_of()
    first = fit_softmax(problem, tol=1e-9, max_iter=1000)
    again = fit_softmax(problem, tol=1e-4, max_iter=1000, start=first.point)
    assert (again.n_iter, again.converged) == (0, True)
    assert torch.equal(again.point, first.point)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_it_takes_no_more_steps_than_it_may_and_says_so(steps: int) -> None:
    problem = problem_of()
    found = fit_softmax(problem, tol=1e-10, max_iter=steps)
    assert (found.n_iter, found.converged) == (steps, False)
    assert found.value == pytest.approx(evaluate(problem, found.point).value, rel=1e-15)
    assert found.value <= evaluate(problem, start_point(problem)).value


def test_what_lbfgs_leaves_is_newtons(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of()
    best = fit_softmax(problem, tol=1e-9, max_iter=1000)
    monkeypatch.setattr(softmax_solver, "LBFGS_STEPS", 2)
    found = fit_softmax(problem, tol=1e-9, max_iter=1000)
    assert found.converged
    assert 2 < found.n_iter < best.n_iter  # Newton's are fewer
    torch.testing.assert_close(found.point, best.point, rtol=0, atol=1e-6)


def test_passes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(softmax_solver, "evaluate", lambda *a: calls.append(1) or evaluate(*a))
    for steps in (2, 1000):
        calls.clear()
        found = fit_softmax(problem_of(dtype=torch.float32), tol=1e-7, max_iter=steps)
        assert found.n_evaluations == len(calls)


# ---- refining -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_root", [True, False])
def test_refining_leads_on_to_the_minimum(has_root: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax_solver, "has_root", lambda _: has_root)
    problem = problem_of(C=100.0)
    rough = fit_softmax(problem, tol=1e-1, max_iter=1000)
    fine = refine(problem, rough, tol=1e-8, max_iter=1000)
    best = least(problem)
    assert value(problem, rough.point) > best * (1 + 1e-9)
    assert value(problem, fine.point) <= best * (1 + 1e-12)
    assert fine.converged
    assert fine.n_iter > rough.n_iter
    assert fine.n_evaluations > rough.n_evaluations


def test_of_two_points_the_better_one_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of()
    rough = fit_softmax(problem, tol=1e-2, max_iter=1000)
    worse = Solution(rough.point + 1, rough.value + 1, 0.0, 9, 9, True)
    monkeypatch.setattr(softmax_solver, "_by_newton", lambda *_: worse)
    assert refine(problem, rough, tol=1e-8, max_iter=1000) is rough
    better = replace(worse, value=rough.value - 1)
    monkeypatch.setattr(softmax_solver, "_by_newton", lambda *_: better)
    assert refine(problem, rough, tol=1e-8, max_iter=1000) is better


@pytest.mark.parametrize("is_proven", [True, False])
def test_a_proof_spares_the_judgement(is_proven: bool) -> None:
    problem, asked = problem_of(), list[Solution]()

    def proves(solution: Solution) -> bool:
        asked.append(solution)
        return is_proven

    found = fit_softmax(problem, tol=1e-4, max_iter=1000, proves=proves)
    judged = fit_softmax(problem, tol=1e-4, max_iter=1000)
    assert [one.converged for one in asked] == [True]
    assert found.is_proven == is_proven
    assert torch.equal(found.point, asked[0].point if is_proven else judged.point)


def test_no_proof_is_asked_for_where_steps_ran_out() -> None:
    def proves(solution: Solution) -> bool:
        raise AssertionError("a point that is not at the end")

    assert not fit_softmax(problem_of(), tol=1e-9, max_iter=2, proves=proves).is_proven
