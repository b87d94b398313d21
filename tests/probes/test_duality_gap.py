"""The bound of the distance from the minimum: never below the truth, and near it where it can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from featx.probes import duality_gap_sums
from featx.probes import problem as problems
from featx.probes.duality_gap import certify, objective_gap
from featx.probes.objective import evaluate, start_point
from featx.probes.problem import Problem, make_problem, to_coefficients
from featx.probes.softmax import unpenalised
from featx.probes.softmax_solver import fit_softmax

pytestmark = pytest.mark.usefixtures("one_thread")


def problem(k: int, *, C: float = 1.0, n: int = 300, d: int = 8, sharp: float = 1.0, **options: Any) -> Problem:
    rng = np.random.default_rng(k)
    X = np.maximum(rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) / 2, 0)
    logits = sharp * X @ rng.standard_normal((d, k))
    y = (logits - logits.mean(0) + rng.gumbel(size=(n, k))).argmax(1)
    y[:k] = np.arange(k)
    given = {"fit_intercept": True, "standardize": False, **options}
    weight = torch.from_numpy(rng.uniform(0, 2, n))
    return make_problem(torch.from_numpy(X), torch.from_numpy(y), k, C=C, weight=weight, **given)


def least(of: Problem) -> float:
    return fit_softmax(of, tol=1e-9, max_iter=2000).value


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("k", [2, 3, 10])
def test_bound_is_above_the_truth_and_small_at_the_end_of_a_fit(k: int, C: float, fit_intercept: bool) -> None:
    of = problem(k, C=C, fit_intercept=fit_intercept)
    found = fit_softmax(of, tol=1e-4, max_iter=1000)
    truth = evaluate(of, found.point).value - least(of)
    gap = objective_gap(of, found.point)
    assert gap is not None
    assert gap >= truth * (1 - 1e-6) - 1e-12 * found.value  # what float64 cannot tell
    assert gap <= 1e-5 * found.value


@pytest.mark.parametrize("far", [1e-6, 1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("k", [2, 4])
def test_bound_holds_anywhere(k: int, far: float) -> None:
    of = problem(k)
    best = fit_softmax(of, tol=1e-9, max_iter=2000)
    step = torch.from_numpy(np.random.default_rng(1).standard_normal(best.point.shape)) * far
    truth = evaluate(of, best.point + step).value - best.value
    gap = objective_gap(of, best.point + step)
    if far <= 1e-4:
        assert gap is not None
        assert gap <= (1.01 if k == 2 else 100) * truth + 1e-12 * best.value
    assert gap is None or gap >= truth * (1 - 1e-6) - 1e-12 * best.value


def test_two_classes_have_the_newton_decrement() -> None:
    of = problem(2)
    best = fit_softmax(of, tol=1e-9, max_iter=2000)
    near = best.point + 1e-5
    assert objective_gap(of, near) == pytest.approx(evaluate(of, near).value - best.value, rel=1e-3)


def test_float32_rows_and_standardised_ones() -> None:
    for options in ({"standardize": True}, {"standardize": True, "fit_intercept": False}):
        of = problem(4, **options)
        coarse = replace(of, X=of.X.float(), dtype=torch.float32)
        found = fit_softmax(coarse, tol=1e-4, max_iter=500)
        fine = replace(of, X=of.X.float().double())
        gap = objective_gap(coarse, found.point)
        truth = evaluate(fine, found.point).value - least(fine)
        assert gap is not None
        assert truth - 1e-9 * found.value <= gap <= 1e-6 * found.value


def test_without_the_curvature_the_intercept_alone_is_balanced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duality_gap_sums, "FULL_COLUMNS", 3)
    for k in (2, 5):
        for fit_intercept in (True, False):
            of = problem(k, C=1e-2, fit_intercept=fit_intercept)
            found = fit_softmax(of, tol=1e-5, max_iter=1000)
            gap = objective_gap(of, found.point)
            truth = evaluate(of, found.point).value - least(of)
            assert gap is not None
            assert truth <= gap + 1e-12 * found.value
            assert gap <= 1e-4 * found.value


def test_rows_that_each_rule_a_class_out_still_have_a_bound() -> None:
    of = problem(10, C=100.0, sharp=8.0)
    found = fit_softmax(of, tol=1e-5, max_iter=2000)
    gap = objective_gap(of, found.point)
    assert gap is not None
    assert evaluate(of, found.point).value - least(of) <= gap < 1e-2 * found.value


def test_class_means_of_the_weights_are_counted() -> None:
    of = problem(3)
    best = fit_softmax(of, tol=1e-9, max_iter=1000)
    moved = best.point.clone()
    moved[:, :-1] += 0.5  # the same probabilities, a larger penalty
    gap = objective_gap(of, moved)
    assert gap == pytest.approx(evaluate(of, moved).value - best.value, rel=1e-6)


def test_nothing_is_claimed_where_there_is_no_minimum() -> None:
    X = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1])
    weight = torch.ones(4, dtype=torch.float64)
    of = unpenalised(make_problem(X, y, 2, C=1.0, weight=weight, fit_intercept=True, standardize=False))
    for max_iter in (1, 5, 50):
        assert objective_gap(of, fit_softmax(of, tol=1e-9, max_iter=max_iter).point) is None


def test_without_a_penalty_there_is_a_bound_where_there_is_a_minimum() -> None:
    of = unpenalised(problem(3))
    found = fit_softmax(of, tol=1e-5, max_iter=1000)
    gap = objective_gap(of, found.point)
    assert gap is not None
    assert evaluate(of, found.point).value - least(of) <= gap + 1e-12 * found.value
    assert gap <= 1e-6 * found.value


def test_the_start_is_far_from_the_minimum() -> None:
    of = problem(3, C=100.0)
    gap = objective_gap(of, start_point(of))
    assert gap is None or gap >= evaluate(of, start_point(of)).value - least(of)


@pytest.mark.parametrize("far", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize("k", [2, 4])
def test_some_rows_prove_what_all_would(k: int, far: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that some rows' moves give holds as well; where it is not enough, all are moved."""
    of = problem(k, n=400)
    best = fit_softmax(of, tol=1e-9, max_iter=2000)
    step = far * torch.from_numpy(np.random.default_rng(1).standard_normal(best.point.shape))
    coef, intercept = (part.numpy() for part in to_coefficients(of, best.point + step))
    truth = evaluate(of, best.point + step).value - best.value
    whole = certify(of, coef, intercept)
    monkeypatch.setattr(problems, "ENOUGH_ROWS", 60)
    some = certify(of, coef, intercept, enough=best.value)
    assert problems.spared(of.weight, 9, 2) > 1
    assert whole.gap is not None
    assert some.gap is not None
    assert some.gap > whole.gap  # or all have moved
    assert some.gap >= truth * (1 - 1e-6) - 1e-12 * best.value
    assert some.value == pytest.approx(best.value + truth, rel=1e-12)
    more = certify(of, coef, intercept, enough=0.99 * some.gap)
    assert more.gap is not None
    assert whole.gap <= more.gap < some.gap
