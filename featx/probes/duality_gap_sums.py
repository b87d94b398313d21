"""The certificate's passes over the rows, in float64, each sum with the rounding that it can have at most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from featx.probes.curvature import root_of
from featx.probes.objective import logit_hessian_product
from featx.probes.problem import Problem, first_part, per_block, working_blocks
from featx.probes.products import GRAM_ROWS, Gram

EPS = torch.finfo(torch.float64).eps

FULL_COLUMNS = 4097
"""Above so many columns, the intercept's among them, S is not computed."""


@dataclass(frozen=True)
class Point:
    """What is known at weights theta (k, p) whose class means are zero. `C` is in all sums.

    Parameters
    ----------
    value : float
        The objective.
    every : int
        Of so many rows one moves in the smallest move: s_i is 0 for all others.
    gradient, error : Tensor of shape (k, p)
        The objective's gradient, and the rounding it can have.
    curvature : Tensor of shape (p, p) or None
        S of `featx.probes.duality_gap`; None where it would have too many columns.
    squares : Tensor of shape (p,)
        ``sum_i w_i x_ij^2``.
    mean_curvature : float
        `featx.probes.objective.Evaluation.curvature`, or near it.
    terms : int
        Roundings that a term of a sum over the rows goes through at most.
    slack, blur : float
        What the logits' rounding adds to the norm of a move, and the largest error of a logit.
    shifted : float
        What the error that all logits of a class have in common adds to the objective: an intercept takes it up.
    """

    theta: Tensor
    value: float
    every: int
    gradient: Tensor
    error: Tensor
    curvature: Tensor | None
    squares: Tensor
    mean_curvature: float
    terms: int
    slack: float
    blur: float
    shifted: float


@dataclass(frozen=True)
class Move:
    """Newton's move by a step V: what it takes off the gradient (k, p), that sum's rounding, and its size.

    `size` is ``sum_i w_i V x_i . J_i V x_i`` with J_i the Jacobian ``diag(p_i) - p_i p_i^T``, `largest` the largest
    relative change of a probability, and `jacobian` (k, k) the sum of the ``w_i J_i``.
    """

    change: Tensor
    error: Tensor
    size: float
    largest: float
    jacobian: Tensor

    def balance(self, left: Tensor, error: Tensor, point: Point) -> tuple[float, float] | None:
        """Return the size of the move that takes the rest off the intercepts, and its largest relative change.

        Every row moves by ``-J_i v`` with one v (k,) that solves ``v jacobian = left``. None where rounding decides.
        """
        # Class sums are zero: the first eigenvalue of more than one row is that of the constant, nought.
        values = torch.linalg.eigvalsh(self.jacobian)[1 if len(left) > 1 else 0 :]
        least = float(values[0]) - (point.terms + 6 * len(left)) * EPS * float(self.jacobian.diagonal().sum())
        if not least > 0:
            return None
        tau = float((left[:, -1].abs() + error[:, -1]).norm()) / math.sqrt(least)
        return tau, 2 * tau / math.sqrt(least)


class _Seen(NamedTuple):
    """What is found of a block: sums over its rows, the largest error of a logit, and a part of S."""

    gradient: Tensor
    loss: float
    sums: Tensor
    residuals: Tensor
    squares: Tensor
    slack: float
    spread: float
    blur: float
    rows: int
    moving: Tensor | None


def look(problem: Problem, theta: Tensor, offset_error: float, every: int = 1) -> Point:
    """Return what one pass over the rows finds at `theta`, whose logits are all wrong by `offset_error` at most."""
    p, longest = len(problem.ridge), float(theta.norm(dim=1).max())
    gradient = torch.zeros_like(theta)
    sums = torch.zeros_like(theta[:, 0])
    residuals, squares = torch.zeros_like(theta[:, 0]), torch.zeros_like(theta[0])
    curvature = Gram(p, theta.device) if p <= FULL_COLUMNS else None
    shift_blur = _shift_blur(problem)
    size_blur = EPS * (p + 8) * longest
    offset_error += float((theta.abs() @ shift_blur).max()) + 16 * EPS
    loss = slack = spread_sum = blur = 0.0
    terms = blocks = 0

    def see(rows: slice, block: Tensor) -> _Seen:
        weight, logits = problem.weight[rows], block @ theta.T
        probability = probabilities(logits)
        residual = _residual(logits, probability, problem.target[rows])
        spread = _spread(logits, probability)
        wrong = size_blur * block.norm(dim=1) + offset_error
        moving = None
        if curvature is not None:
            some = slice(0, first_part(slice(0, len(block)), every).stop)
            size = (weight[some] * smallest(logits[some], probability[some])).sqrt()
            moving = curvature.part(block[some] * size[:, None])
        return _Seen(
            (residual * weight[:, None]).T @ block,
            float(weight @ _loss(logits, residual, problem.target[rows])),
            weight @ residual,
            weight @ residual.square(),
            weight @ block.square(),
            float(weight @ (spread * wrong.square())),
            float(weight @ spread),
            float(wrong.max()),
            len(block),
            moving,
        )

    for seen in per_block(_exact(problem), see):
        gradient += seen.gradient
        loss += seen.loss
        sums += seen.sums
        residuals += seen.residuals
        squares += seen.squares
        slack += seen.slack
        spread_sum += seen.spread
        blur = max(blur, seen.blur)
        if curvature is not None and seen.moving is not None:
            curvature.add(seen.moving)
        terms, blocks = max(terms, seen.rows), blocks + 1
    terms = min(terms + GRAM_ROWS, problem.X.shape[0]) + blocks + len(theta) + 16
    C = problem.C
    penalty = theta * problem.ridge
    total, residuals = problem.weight.sum().sqrt(), residuals.sqrt()
    error = C * residuals[:, None] * (squares.sqrt() * terms * EPS + shift_blur * total) + EPS * terms * penalty.abs()
    imbalance = float((sums.abs() + (terms * EPS + blur) * total * residuals).sum())
    return Point(
        theta,
        C * loss + float((penalty * theta).sum()) / 2,
        every,
        C * gradient + penalty,
        error,
        None if curvature is None else C * curvature.result(),
        C * squares,
        C * spread_sum / (4 if len(theta) > 1 else 1),
        terms,
        math.sqrt(C * slack),
        blur,
        0.0 if problem.has_intercept else C * offset_error * imbalance,
    )


def _shift_blur(problem: Problem) -> Tensor:
    """Return what columns' working values (p,) can all be wrong by: a standardised column's mean is a rounded one.

    An intercept takes that up; without one, it is another problem.
    """
    if problem.has_intercept:
        return torch.zeros_like(problem.ridge)
    moved = (problem.shift * problem.inverse_scale).abs()
    return torch.where(problem.shift != 0, EPS * (4 * moved + 64), 0.0)


def root_at(problem: Problem, point: Point) -> Tensor:
    """Return a triangular root of `Point.curvature`, from one more pass."""
    weighted = (
        block * (problem.C * problem.weight[rows] * smallest(logits, probabilities(logits))).sqrt()[:, None]
        for rows, block in exact_blocks(problem, point.every)
        for logits in [block @ point.theta.T]
    )
    return root_of(weighted, len(problem.ridge), point.theta.device)


def largest_moves(problem: Problem, point: Point, steps: list[Tensor], blurs: list[tuple[float, float]]) -> list[float]:
    """Return the most that ``|(V x_i)_k|`` can be for each step V (k, p) and the rows that move, in one pass.

    V is known to a step of `blurs`: times ``||x_i||`` at most the first, and times ``1 / sqrt(C w_i s_i)`` the second.
    """
    largest = [0.0] * len(steps)
    lengths = [float(step.norm(dim=1).max()) for step in steps]
    p = len(problem.ridge)

    def reach(rows: slice, block: Tensor) -> list[float]:
        logits = block @ point.theta.T
        own = (problem.C * problem.weight[rows] * smallest(logits, probabilities(logits))).rsqrt()
        size, found = block.norm(dim=1), []
        for step, length, (by_size, by_own) in zip(steps, lengths, blurs, strict=True):
            blur = torch.minimum(by_size * size, by_own * own) + EPS * (p + 4) * length * size
            found.append(float(((block @ step.T).abs().amax(1) + blur).max()))
        return found

    for found in per_block(_exact(problem), reach, every=point.every):
        largest = list(map(max, largest, found))
    return largest


def newton_move(problem: Problem, point: Point, step: Tensor) -> Move:
    """Return Newton's move by `step` (k, p), from one pass."""
    k = len(step)
    change, squares = torch.zeros_like(step), torch.zeros_like(step[:, 0])
    jacobian = torch.zeros(k, k, dtype=torch.float64, device=step.device)
    size = largest = 0.0

    def move(rows: slice, block: Tensor) -> tuple[Tensor, Tensor, Tensor, float, float]:
        weight, logits = problem.weight[rows], block @ point.theta.T
        probability, moved = probabilities(logits), block @ step.T
        product = logit_hessian_product(logits.T.clone(), moved.T.clone()).T
        weighted = probability * weight[:, None]
        if k > 1:
            relative = moved - (probability * moved).sum(1, keepdim=True)
            own_size = weight @ (relative.square() * probability).sum(1)
            own_jacobian = torch.diag(weighted.sum(0)) - weighted.T @ probability
        else:
            relative, own_size = moved, weight @ (moved * product)[:, 0]
            own_jacobian = (weighted * torch.sigmoid(-logits)).sum(0)
        change = (product * weight[:, None]).T @ block
        return change, weight @ product.square(), own_jacobian, float(own_size), float(relative.abs().max())

    for own_change, own_squares, own_jacobian, own_size, own_largest in per_block(_exact(problem), move):
        change += own_change
        squares += own_squares
        jacobian += own_jacobian
        size += own_size
        largest = max(largest, own_largest)
    C = problem.C
    error = EPS * (
        point.terms * (C * squares).sqrt()[:, None] * point.squares.sqrt() + 8 * (step * problem.ridge).abs()
    )
    return Move(C * change, error, C * size * (1 + point.terms * EPS), largest, C * jacobian)


def exact_blocks(problem: Problem, every: int = 1) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, block in working units (rows, p)), float64."""
    return working_blocks(_exact(problem), every)


def _exact(problem: Problem) -> Problem:
    return replace(problem, dtype=torch.float64)


def probabilities(logits: Tensor) -> Tensor:
    """Return each row's probabilities (n, k); of the second class where there is one column for two classes."""
    return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)


def smallest(logits: Tensor, probability: Tensor) -> Tensor:
    """Return s_i of `featx.probes.duality_gap` (n,), a little less: it must not exceed any probability."""
    least = probability.min(1).values if logits.shape[1] > 1 else _two_class_curvature(logits)
    return least * (1 - 1e-12)


def _two_class_curvature(logits: Tensor) -> Tensor:
    return (torch.sigmoid(logits) * torch.sigmoid(-logits))[:, 0]


def _residual(logits: Tensor, probability: Tensor, target: Tensor) -> Tensor:
    """Return ``p - e_y`` (n, k): of the true class, less all others, so that nothing is lost where it is likely."""
    if logits.shape[1] == 1:
        sign = (1 - 2 * target).to(logits.dtype)[:, None]
        return sign * torch.sigmoid(sign * logits)
    residual = probability.scatter(1, target[:, None], 0.0)
    return residual.scatter(1, target[:, None], -residual.sum(1, keepdim=True))


def _loss(logits: Tensor, residual: Tensor, target: Tensor) -> Tensor:
    """Return each row's loss (n,), from what its residual says of all other classes where that is little."""
    if logits.shape[1] == 1:
        sign = (1 - 2 * target).to(logits.dtype)
        wrong, unlikely = residual[:, 0].abs(), functional.softplus(sign * logits[:, 0])
    else:
        own = target[:, None]
        wrong = -residual.gather(1, own)[:, 0]
        unlikely = torch.logsumexp(logits, 1) - logits.gather(1, own)[:, 0]
    return torch.where(wrong < 0.5, -torch.log1p(-wrong), unlikely)


def _spread(logits: Tensor, probability: Tensor) -> Tensor:
    """Return the most that values of 1 and -1 vary by a row's probabilities (n,)."""
    if logits.shape[1] == 1:
        return _two_class_curvature(logits)
    return 4 * probability.scatter(1, probability.argmax(1, keepdim=True), 0.0).sum(1)
