"""Paths over C: the same minima as single fits, in fewer steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from featx.probes.problem import Problem, make_problem
from featx.probes.regularization_path import fit_path
from featx.probes.softmax_solver import fit_softmax

CS = np.logspace(-3, 2, 11).tolist()


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    X = torch.randn(600, 12) @ torch.randn(12, 12)
    target = (X @ torch.randn(12, 4) + 3 * torch.randn(600, 4)).argmax(1)
    return make_problem(X, target, 4, C=1.0, weight=torch.ones(600).double(), fit_intercept=True, standardize=False)


@pytest.mark.parametrize("Cs", [CS, CS[::-1], [1.0], [1.0, 1.0, 1.0]])
def test_a_path_ends_where_single_fits_do(problem: Problem, Cs: list[float]) -> None:
    for C, solution in zip(Cs, fit_path(problem, Cs, tol=1e-6, max_iter=1000), strict=True):
        alone = fit_softmax(replace(problem, C=C), tol=1e-6, max_iter=1000)
        assert solution.converged
        assert solution.value == pytest.approx(alone.value, rel=1e-7)


def test_a_path_costs_less_than_single_fits(problem: Problem) -> None:
    path = sum(s.n_evaluations for s in fit_path(problem, CS, tol=1e-5, max_iter=1000))
    alone = sum(fit_softmax(replace(problem, C=C), tol=1e-5, max_iter=1000).n_evaluations for C in CS)
    assert path < 0.9 * alone


def test_a_path_is_walked_as_it_is_asked_for(problem: Problem) -> None:
    path = fit_path(problem, [1e-2, -1.0], tol=1e-5, max_iter=100)
    assert next(path).converged
