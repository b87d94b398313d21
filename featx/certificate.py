"""How far a softmax regression can be from its minimum at most: a duality gap, found in one pass over the rows or two.

Every row's loss is the largest of the linear functions ``<p - e_y, z> + H(p)`` of its logits z, p being any
probabilities, e_y the true class and H the entropy (Fenchel's inequality; Yu, Huang and Lin 2011 derive the dual of
multinomial logistic regression from it). Any choice of p therefore bounds the minimum from below, provided that the
resulting gradient ``G = C sum_i w_i (p_i - e_i) x_i^T`` vanishes in columns without a penalty, such as the intercept's.

The model's own p leave a gap of ``g R^-1 g / 2`` (g the gradient, R the penalties): far too much where the loss
curves more than the penalty, and none at all with an intercept, where G is not quite zero. So p is moved by

    d_i = -s_i (I - 11^T / k) V x_i,  s_i the row's smallest probability (p (1 - p) for two classes),

which moves G by exactly ``-V S``, with ``S = C sum_i w_i s_i x_i x_i^T``. ``V = g (S + R)^-1`` closes the gap to

    f(theta) - min f <= g . V / (2 (1 - t)),   t = max_ik |(V x_i)_k|,

as long as t < 1, which keeps p + d probabilities: the entropy falls by no more than its second-order term over
``1 - t``, and unpenalised columns are balanced by construction. For two classes, S + R is the Hessian, and the bound
what a Newton step would gain. For any other V it is ``<V S, V> / (2 (1 - t)) + r R^-1 r / 2`` with ``r = g - V S``.

Where that fails, because every row rules some class out or S is too large to be computed, the intercept alone is
balanced, by ``d_i = -(diag(p_i) - p_i p_i^T) v`` with one v for all rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from featx.objective import Problem, working_blocks

FULL_COLUMNS = 4096
"""Above so many columns S is not computed."""

LARGEST_T = 0.9
DAMPING = (1.0, 1e1, 1e2, 1e3, 1e4)
"""Where t is larger, R is multiplied in V by the next of these: steps shrink, and part of the imbalance stays and is
paid for. Unpenalised columns stay balanced."""


class _Bound(NamedTuple):
    """A move V of shape (k, p), its ``<V S, V>``, and the half of ``r R^-1 r`` that is left."""

    step: Tensor
    moved: float
    left: float

    def at(self, t: float) -> list[float]:
        return [self.left + self.moved / (2 * (1 - t))] if t < LARGEST_T else []


def objective_gap(problem: Problem, theta: Tensor) -> float | None:
    """Return an upper bound of the objective at `theta` less its minimum, or None where the proof does not go through.

    Rows are brought into working units in float64, and so are the sums; rounding of that size apart, the bound holds.
    None is returned at points far from the minimum, and where there may be none: without a penalty, for separable
    classes.

    Parameters
    ----------
    problem : Problem
    theta : Tensor of shape (k, p)
        In working units.
    """
    # Class means of zero: the same probabilities for no more penalty.
    centred = theta if problem.n_rows == 1 else theta - theta.mean(0, keepdim=True)
    excess = float((problem.ridge * (theta.square() - centred.square())).sum()) / 2
    gradient, curvature = _one_pass(problem, centred)
    found: list[float] = []
    if curvature is not None:
        moves = [_damped(problem.ridge, gradient, curvature, factor) for factor in DAMPING]
        found = _bounds(problem, moves[:1]) or _bounds(problem, moves[1:])
    found = found or _balanced_intercept(problem, centred, gradient)
    return max(0.0, min(found) + excess) if found else None


def _one_pass(problem: Problem, theta: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the gradient (k, p) and S (p, p), None where it would have too many columns."""
    p = len(problem.ridge)
    gradient = torch.zeros_like(theta)
    curvature = torch.zeros(p, p, dtype=torch.float64, device=theta.device) if p <= FULL_COLUMNS else None
    for rows, block in _blocks(problem):
        weight = problem.weight[rows]
        probability = _probabilities(block @ theta.T)
        gradient += (_residual(probability, problem.target[rows]) * weight[:, None]).T @ block
        if curvature is not None:
            smallest = probability.min(1).values if problem.n_rows > 1 else _jacobian_diagonal(probability)[:, 0]
            scaled = (block * (weight * smallest).sqrt()[:, None]).to(problem.dtype)
            curvature += scaled.T @ scaled
    return problem.C * gradient + theta * problem.ridge, None if curvature is None else problem.C * curvature


def _damped(ridge: Tensor, gradient: Tensor, curvature: Tensor, factor: float) -> _Bound | None:
    """Return the move ``V = g (S + factor R)^-1``, or None where that matrix is singular."""
    factored, failed = torch.linalg.cholesky_ex(curvature + torch.diag(factor * ridge))
    step = torch.cholesky_solve(gradient.T, factored).T
    if int(failed) or not bool(torch.isfinite(step).all()):
        return None
    # r is factor V R: zero in unpenalised columns, whatever was rounded.
    penalty = factor * float((step.square() * ridge).sum())
    return _Bound(step, float((gradient * step).sum()) - penalty, factor * penalty / 2)


def _bounds(problem: Problem, moves: list[_Bound | None]) -> list[float]:
    """Return the bound of each move that leaves probabilities what they are; one pass for all of them."""
    found = [move for move in moves if move is not None]
    if not found:
        return []
    steps = torch.cat([move.step for move in found])
    largest = torch.zeros(len(steps), dtype=torch.float64, device=steps.device)
    for _, block in _blocks(problem):
        largest = torch.maximum(largest, (block @ steps.T).abs().amax(0))
    each = largest.reshape(len(found), -1).amax(1).tolist()
    return [bound for move, t in zip(found, each, strict=True) for bound in move.at(t)]


def _balanced_intercept(problem: Problem, theta: Tensor, gradient: Tensor) -> list[float]:
    """Return the bound with all columns but the intercept left as they are; nothing where one has no penalty."""
    d = problem.X.shape[1]
    if not bool((problem.ridge[:d] > 0).all()):
        return []
    step, moved = torch.zeros_like(gradient[:, :1]), torch.zeros_like(gradient)
    if problem.has_intercept:
        k = problem.n_rows
        total = torch.zeros(k, k, dtype=torch.float64, device=theta.device)
        for rows, block in _blocks(problem):
            probability = _probabilities(block @ theta.T)
            weight = problem.weight[rows][:, None]
            total += torch.diag((weight * probability).sum(0)) - (weight * probability).T @ probability
        # The matrix has no inverse for more than two classes: equal values for all of them move nothing.
        step = torch.linalg.pinv(problem.C * total, hermitian=True) @ gradient[:, -1:]
        for rows, block in _blocks(problem):
            probability = _probabilities(block @ theta.T)
            shift = probability * (step.T - probability @ step) if k > 1 else _jacobian_diagonal(probability) * step
            moved += (problem.weight[rows][:, None] * shift).T @ block
        moved *= problem.C
        if not bool(((gradient - moved)[:, -1].abs() <= 1e-9 * gradient[:, -1].abs().max()).all()):
            return []
    left = float(((gradient - moved)[:, :d].square() / problem.ridge[:d]).sum()) / 2
    t = float(step.max() - step.min()) if problem.n_rows > 1 else float(step.abs())
    return _Bound(step, float((moved[:, -1:] * step).sum()) if problem.has_intercept else 0.0, left).at(t)


def _blocks(problem: Problem) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, block in working units (rows, p)), float64, the intercept's ones last."""
    p = len(problem.ridge)
    for rows, block in working_blocks(replace(problem, dtype=torch.float64)):
        yield rows, torch.cat([block, torch.ones_like(block[:, :1])], 1) if block.shape[1] < p else block


def _probabilities(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)


def _jacobian_diagonal(probability: Tensor) -> Tensor:
    return probability * (1 - probability)


def _residual(probability: Tensor, target: Tensor) -> Tensor:
    """Return ``p - e_y`` (n, k)."""
    if probability.shape[1] == 1:
        return probability - target[:, None]
    return probability.scatter_add(1, target[:, None], -torch.ones_like(probability[:, :1]))
