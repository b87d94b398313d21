"""The minimum of softmax regression's objective: L-BFGS as far as its metric leads, Newton steps for what is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from featx.probes.curvature import CurvatureMetrics, Metric
from featx.probes.lbfgs import Solution, line_search, minimise
from featx.probes.newton import NewtonStep, StepAt, minimise_by_newton, newton_step
from featx.probes.objective import Evaluation, evaluate, hessian_product, start_point
from featx.probes.problem import Problem
from featx.probes.root_steps import has_root, root_step
from featx.probes.row_threads import small_kernels_alone

LEEWAY = 5.0
"""L-BFGS's word that `tol` is reached is taken where Newton's decrement is within this multiple of it."""

WORTH = 0.1
"""The step that Newton's judgement found is taken where its decrement is more than this multiple of `tol`."""

LBFGS_STEPS = 100
"""After so many steps what is left is Newton's: the metric does not fit the classes."""

SAFE_INFLATION = 1e3
"""Columns that explain each other by more than this need the Hessian's products in float64."""


class Solver(Protocol):
    """A way to solve Newton's equation, for the problems that it suits."""

    def suits(self, problem: Problem) -> bool:
        """Tell whether the problem may be solved so."""

    def step(self, problem: Problem, theta: Tensor, at: Evaluation, metrics: CurvatureMetrics) -> NewtonStep:
        """Return the step at a point.

        Parameters
        ----------
        problem : Problem
            In float64.
        theta : Tensor of shape (k, p)
            The point, in working units.
        at : Evaluation
            The objective there.
        metrics : CurvatureMetrics
            Of this problem, kept from step to step.
        """


class ByProducts:
    """Conjugate gradients on products with the Hessian: for problems of any size."""

    def suits(self, problem: Problem) -> bool:
        """See `Solver`."""
        return True

    def step(self, problem: Problem, theta: Tensor, at: Evaluation, metrics: CurvatureMetrics) -> NewtonStep:
        """See `Solver`."""
        return _truncated_step(problem, theta, at.gradient, metrics(problem, theta, at.curvature), metrics)


class ByRoot:
    """A square root of the Hessian, formed whole: see `featx.probes.root_steps`."""

    def suits(self, problem: Problem) -> bool:
        """See `Solver`."""
        return has_root(problem)

    def step(self, problem: Problem, theta: Tensor, at: Evaluation, metrics: CurvatureMetrics) -> NewtonStep:
        """See `Solver`."""
        return root_step(problem, theta)


SOLVERS: dict[str, Solver] = {"products": ByProducts(), "root": ByRoot()}
"""What `refine` chooses from: of those that suit the problem the last, so that the more particular stand below."""


def fit_softmax(
    problem: Problem,
    *,
    tol: float,
    max_iter: int,
    start: Tensor | None = None,
    metrics: CurvatureMetrics | None = None,
    proves: Callable[[Solution], bool] | None = None,
) -> Solution:
    """Minimise the objective of `featx.probes.objective`.

    Parameters
    ----------
    problem : Problem
    tol : float
        Bound of the scale-free gradient norm.
    max_iter : int
    start : Tensor of shape (k, p), optional
        In working units; zero weights by default.
    metrics : CurvatureMetrics, optional
        From fits of the same data with another C.
    proves : callable, optional
        Tells of where L-BFGS ended whether it is proven to be good enough: then nothing more is done.

    Notes
    -----
    A float32 problem whose matrix products become too coarse before `tol` is reached is finished in float64, still
    one block of rows at a time. The end is judged in float64, and by the true Hessian; where that sees more to be had
    than the metric of L-BFGS did, Newton steps follow.
    """
    with small_kernels_alone(problem.X):
        return _fit(problem, tol, max_iter, start, metrics or CurvatureMetrics(), proves)


def _fit(
    problem: Problem,
    tol: float,
    max_iter: int,
    start: Tensor | None,
    metrics: CurvatureMetrics,
    proves: Callable[[Solution], bool] | None,
) -> Solution:
    start = start_point(problem) if start is None else start
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # fp32 means fp32: neither TF32 nor bf16
    try:
        most = min(max_iter, LBFGS_STEPS)
        first = _by_lbfgs(problem, start, tol, most, metrics)
        if not first.converged and first.n_iter < most and problem.dtype != torch.float64:
            fine = replace(problem, dtype=torch.float64)
            first = _after(first, _by_lbfgs(fine, first.point, tol, most - first.n_iter, metrics))
        if proves is not None and first.converged and proves(first):
            return replace(first, is_proven=True)
        return _finished(problem, first, tol, max_iter, metrics)
    finally:
        torch.set_float32_matmul_precision(before)


def refine(problem: Problem, solution: Solution, *, tol: float, max_iter: int) -> Solution:
    """Go on from a solution by Newton steps in float64, to another `tol` of the true Hessian's gradient norm.

    The steps are those of the last of `SOLVERS` that suits the problem. Of the two points, the better one is returned.
    """
    fine, metrics = replace(problem, dtype=torch.float64), CurvatureMetrics()
    solver = [solver for solver in SOLVERS.values() if solver.suits(fine)][-1]

    def step_at(theta: Tensor, at: Evaluation) -> NewtonStep:
        return solver.step(fine, theta, at, metrics)

    with small_kernels_alone(problem.X):
        found = _by_newton(problem, solution, step_at, tol, max_iter)
    return found if found.value <= solution.value else solution


def _finished(problem: Problem, first: Solution, tol: float, max_iter: int, metrics: CurvatureMetrics) -> Solution:
    """Return the solution once it is judged in float64, with Newton steps where they have more to gain."""
    fine = replace(problem, dtype=torch.float64)
    at = evaluate(fine, first.point)
    first = replace(first, value=at.value, n_evaluations=first.n_evaluations + 1)
    if first.converged:
        metric = metrics(problem, first.point, at.curvature)
        seen = _truncated_step(problem, first.point, at.gradient, metric, metrics)
        if (norm := seen.norm(at.value)) <= LEEWAY * tol:
            return _stepped(fine, first, at, seen) if norm > WORTH * tol and first.n_iter < max_iter else first
    if first.n_iter >= max_iter:
        return replace(first, converged=False)

    def step_at(theta: Tensor, at: Evaluation) -> NewtonStep:
        return _truncated_step(problem, theta, at.gradient, metrics(fine, theta, at.curvature), metrics)

    return _by_newton(problem, first, step_at, tol, max_iter)


def _stepped(fine: Problem, first: Solution, at: Evaluation, seen: NewtonStep) -> Solution:
    """Take the step that the judgement found: it costs one pass, and is what a proof most often lacks."""
    noise = torch.finfo(torch.float64).eps
    search = line_search(lambda theta: evaluate(fine, theta), first.point, at, -seen.step, noise)
    first = replace(first, n_evaluations=first.n_evaluations + search.trials)
    if search.found is None or search.found.value > at.value:
        return first
    return replace(first, point=first.point + search.step, value=search.found.value, n_iter=first.n_iter + 1)


def _truncated_step(
    problem: Problem, theta: Tensor, gradient: Tensor, metric: Metric, metrics: CurvatureMetrics
) -> NewtonStep:
    """Return the step by the Hessian's products, in the precision that the last metric asks for."""
    seen = replace(problem, dtype=torch.float64) if metrics.inflation > SAFE_INFLATION else problem
    return newton_step(lambda step: hessian_product(seen, theta, step), gradient, metric)


def _by_newton(problem: Problem, first: Solution, step_at: StepAt, tol: float, max_iter: int) -> Solution:
    fine = replace(problem, dtype=torch.float64)
    second = minimise_by_newton(
        lambda theta: evaluate(fine, theta),
        step_at,
        first.point,
        tol=tol,
        max_iter=max_iter - first.n_iter,
        noise=torch.finfo(torch.float64).eps,
    )
    return _after(first, second)


def _by_lbfgs(problem: Problem, start: Tensor, tol: float, max_iter: int, metrics: CurvatureMetrics) -> Solution:
    return minimise(
        lambda theta: evaluate(problem, theta),
        start,
        lambda theta, curvature: metrics(problem, theta, curvature),
        tol=tol,
        max_iter=max_iter,
        noise=torch.finfo(problem.dtype).eps,
    )


def _after(first: Solution, second: Solution) -> Solution:
    return replace(
        second,
        n_iter=first.n_iter + second.n_iter,
        n_evaluations=first.n_evaluations + second.n_evaluations,
    )
