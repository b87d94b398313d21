"""Softmax regression's objective: loss, gradient and curvature, block by block over the rows.

The objective is scikit-learn's ``LogisticRegression``, in its scaling::

    f(W, b) = C * sum_i sample_weight_i * log_loss(y_i, W x_i + b) + ||W||^2 / 2

The intercept b is free of penalty. For three or more classes W has one row a class; for two classes it has one row
and the loss is the sigmoid's, as in scikit-learn: the two-row form would have another minimum.

Everything here works in the working units of `featx.probes.problem`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from featx.probes.problem import Problem, as_given, per_block
from featx.probes.products import sum_of_rows, times_rows
from featx.probes.row_threads import Work

T = TypeVar("T")


class Evaluation(NamedTuple):
    """What one pass over the rows finds at a point: float, Tensor (k, p) in float64, float."""

    value: float
    gradient: Tensor
    curvature: float
    """Mean curvature of the loss at its logits, summed over the rows: falls as the model grows confident."""


def evaluate(problem: Problem, theta: Tensor) -> Evaluation:
    """Return objective, gradient and curvature at `theta`, reading X once.

    Parameters
    ----------
    problem : Problem
    theta : Tensor of shape (k, p)
        float64 weights in working units, the intercept last.
    """
    factor, constant = _factors(problem, theta)

    def look(rows: slice, block: Tensor) -> tuple[Tensor, Tensor, _Part]:
        # A class a row: sums over classes then run along the memory of many samples.
        weight, logits = problem.weight[rows], times_rows(factor, block, constant)
        loss, residual, curvature = row_terms(logits, problem.target[rows])
        return weight @ loss.double(), weight @ curvature.double(), _Part.of(residual, weight, block)

    total = _Total(problem)
    loss = torch.zeros((), dtype=torch.float64, device=theta.device)
    curvature = torch.zeros_like(loss)
    for own_loss, own_curvature, part in _per_block(problem, look):
        loss += own_loss
        curvature += own_curvature
        total.add(part)
    penalised = theta * problem.ridge
    value = problem.C * float(loss) + float((penalised * theta).sum()) / 2
    return Evaluation(value, total.result() + penalised, problem.C * float(curvature))


def hessian_product(problem: Problem, theta: Tensor, step: Tensor) -> Tensor:
    """Return the objective's Hessian at `theta` times `step`, (k, p) float64, reading X once.

    One row's loss has the Hessian ``(diag(p) - p p^T) (x) x x^T`` by its weights, p its probabilities.
    """
    factor, constant = _factors(problem, torch.cat([theta, step]))  # one product costs little more than half of two

    def look(rows: slice, block: Tensor) -> _Part:
        both = times_rows(factor, block, constant)
        moved = logit_hessian_product(both[: len(theta)], both[len(theta) :])
        return _Part.of(moved, problem.weight[rows], block)

    total = _Total(problem)
    for part in _per_block(problem, look):
        total.add(part)
    return total.result() + step * problem.ridge


def logit_hessian_product(logits: Tensor, moved: Tensor) -> Tensor:
    """Return ``(diag(p) - p p^T) moved`` for each sample, (k, n); both are overwritten.

    Taken from the likeliest class's value, so that nothing is lost where a model is sure.
    """
    if len(logits) == 1:
        return moved.mul_(torch.sigmoid(logits) * torch.sigmoid(-logits))
    likeliest = logits.argmax(0, keepdim=True)
    moved -= moved.gather(0, likeliest)
    share = torch.softmax(logits, dim=0)
    return moved.sub_((share * moved).sum(0)).mul_(share)


def _factors(problem: Problem, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights (k, p) and offsets (k, 1) that give the logits of a block of `_product_blocks`."""
    weights, offset = as_given(problem, theta) if problem.is_near_zero else (theta, torch.zeros_like(theta[:, 0]))
    return weights.to(problem.dtype), offset.to(problem.dtype)[:, None]


def _per_block(problem: Problem, look: Work[T]) -> Iterator[T]:
    """Give what is found of each block: as it lies there where that loses nothing, else in working units.

    Where columns are not much further from 0 than they are wide (`Problem.is_near_zero`) the working units go into
    the weights and out of the gradient. Else each block is brought into working units first: what a shift leaves of a
    product would drown in its rounding.
    """
    return per_block(problem, look, as_given=problem.is_near_zero)


class _Part(NamedTuple):
    """A block's ``sum_i w_i r_i x_i^T`` (k, d or p), and ``sum_i w_i r_i`` (k,); r are derivatives by the logits."""

    products: Tensor
    sums: Tensor

    @classmethod
    def of(cls, derivatives: Tensor, weight: Tensor, block: Tensor) -> _Part:
        """Sum up: derivatives (k, n), overwritten; weight (n,); block (n, d or p)."""
        derivatives *= weight.to(derivatives.dtype)
        return cls(sum_of_rows(derivatives, block), derivatives.sum(1, dtype=torch.float64))


class _Total:
    """Sums ``C sum_i w_i r_i x_i^T`` over blocks, in working units."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        d = problem.X.shape[1] if problem.is_near_zero else len(problem.ridge)
        self._products = torch.zeros(problem.n_rows, d, dtype=torch.float64, device=problem.X.device)
        self._sums = torch.zeros_like(self._products[:, 0])

    def add(self, part: _Part) -> None:
        """Add a block's."""
        self._products += part.products
        self._sums += part.sums

    def result(self) -> Tensor:
        """Return the sum (k, p), float64."""
        problem, products = self._problem, self._products
        if problem.is_near_zero:
            # A constant column's gradient is nothing: not the rounding of two equal terms.
            products = (products - self._sums[:, None] * problem.shift) * problem.inverse_scale * problem.varies
            if problem.has_intercept:
                products = torch.cat([products, self._sums[:, None]], dim=1)
        return problem.C * products


def row_terms(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each sample's loss (n,), derivative by its logits (k, n) and mean curvature (n,).

    Parameters
    ----------
    logits : Tensor of shape (k, n)
        One row for two classes. Overwritten.
    target : Tensor of shape (n,)
        Class numbers.

    Notes
    -----
    Nothing is lost where the model is sure: what is small is summed up from small things, and never the rest of a
    subtraction from 1, so that float32 does.
    """
    if len(logits) == 1:
        sign = (1 - 2 * target).to(logits.dtype)
        margin = sign * logits[0]  # positive on the wrong side
        wrong = torch.sigmoid(margin)
        return -functional.logsigmoid(-margin), (sign * wrong)[None], wrong * torch.sigmoid(-margin)
    at = target[None]
    logits -= logits.amax(0)
    own_logit = logits.gather(0, at)[0]
    share = logits.exp_()
    own = share.gather(0, at)[0]
    share.scatter_(0, at, 0.0)
    others = share.sum(0)
    loss = torch.log1p(others + (own - 1)) - own_logit
    inverse = 1 / (others + own)
    share *= inverse
    wrong = others * inverse
    curvature = (wrong * (1 + own * inverse) - share.square().sum(0)).clamp_min_(0) / (len(logits) - 1)
    return loss, share.scatter_(0, at, -wrong[None]), curvature


def start_point(problem: Problem) -> Tensor:
    """Return zero weights, with the intercept at its own minimum: the classes' shares."""
    theta = torch.zeros(problem.n_rows, len(problem.ridge), dtype=torch.float64, device=problem.X.device)
    if problem.has_intercept:
        share = torch.zeros(problem.n_classes, dtype=torch.float64, device=theta.device)
        share.index_add_(0, problem.target, problem.weight)
        # A class whose rows all weigh nothing would start at minus infinity.
        log_share = share.clamp_min(1e-3 * float(share[share > 0].min())).log()
        theta[:, -1] = log_share[1] - log_share[0] if problem.n_classes == 2 else log_share - log_share.mean()
    return theta
