"""Softmax regression's objective: loss, gradient and curvature, block by block over the rows.

The objective is scikit-learn's ``LogisticRegression``, in its scaling::

    f(W, b) = C * sum_i sample_weight_i * log_loss(y_i, W x_i + b) + ||W||^2 / 2

The intercept b is free of penalty. For three or more classes W has one row a class; for two classes it has one row
and the loss is the sigmoid's, as in scikit-learn: the two-row form would have another minimum.

Everything here works in *working units*: columns of mean 0 (where an intercept is fitted) and of size 1, and the
intercept as one more column of ones. They are a change of variables, never another problem: the penalty a column
pays, `Problem.ridge`, undoes the scaling unless the caller asked for standardised columns. One block of rows at a
time is brought into working units, so that X is never copied as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_VALUES = {"cpu": 2**21, "cuda": 2**26}
"""Values of X in one block: small enough for the processor's caches, large enough for its matrix product."""

BLOCK_ROWS_CPU = 2048
SMALLEST_SCALE = 1e-30
"""A column of smaller size counts as constant; its square is still a float64, its inverse a float32."""


@dataclass(frozen=True)
class Problem:
    """One fit: the data, the penalty and the working units. `make_problem` builds it.

    Parameters
    ----------
    X : Tensor of shape (n, d)
        float32 or float64, on any device; never written to.
    target : Tensor of shape (n,)
        int64 class numbers, 0 to `n_classes` - 1.
    weight : Tensor of shape (n,)
        float64 sample weights, not negative.
    n_classes : int
        At least 2.
    C : float
        Multiplies the summed loss.
    shift, inverse_scale : Tensor of shape (d,)
        float64, holding values that `dtype` holds exactly: a working value is ``(x - shift) * inverse_scale``.
    ridge : Tensor of shape (p,)
        float64 penalty of each working column; 0 for the intercept's. p is d, or d + 1 with an intercept.
    dtype : torch.dtype
        Of the matrix products. Sums over blocks are always float64.
    """

    X: Tensor
    target: Tensor
    weight: Tensor
    n_classes: int
    C: float
    shift: Tensor
    inverse_scale: Tensor
    ridge: Tensor
    dtype: torch.dtype

    @property
    def has_intercept(self) -> bool:
        """Whether the last working column is the intercept's ones."""
        return len(self.ridge) > self.X.shape[1]

    @property
    def n_rows(self) -> int:
        """Rows of the weight matrix: one a class, and a single one for two classes."""
        return 1 if self.n_classes == 2 else self.n_classes


class Evaluation(NamedTuple):
    """What one pass over the rows finds at a point: float, Tensor (k, p) in float64, float."""

    value: float
    gradient: Tensor
    curvature: float
    """Mean curvature of the loss at its logits, summed over the rows: falls as the model grows confident."""


def make_problem(
    X: Tensor,
    target: Tensor,
    n_classes: int,
    *,
    C: float,
    weight: Tensor,
    fit_intercept: bool,
    standardize: bool,
) -> Problem:
    """Choose the working units for X and return the problem in them.

    Columns are centred where that changes nothing (a free intercept takes it up) or where it was asked for
    (`standardize`); constant columns keep scale 1. Mean and deviation count each row by its weight.
    """
    shift, scale = column_stats(X, weight, centre=fit_intercept or standardize)
    # A free intercept takes up what rounding does to the means; without one, that would be another problem.
    dtype = X.dtype if fit_intercept or not standardize else torch.float64
    shift, inverse_scale = shift.to(dtype).double(), (1 / scale).to(dtype).double()
    # From the rounded scale, so that the penalty belongs to exactly the columns that are used.
    ridge = torch.ones_like(scale) if standardize else inverse_scale.square()
    if fit_intercept:
        ridge = torch.cat([ridge, ridge.new_zeros(1)])
    return Problem(X, target, weight, n_classes, C, shift, inverse_scale, ridge, dtype)


def column_stats(X: Tensor, weight: Tensor, *, centre: bool) -> tuple[Tensor, Tensor]:
    """Return each column's shift and scale, both float64 of shape (d,).

    The shift is the weighted mean, or 0 where `centre` is false; the scale is the weighted root mean square
    distance from it, or 1 for columns that do not vary.
    """
    total = weight.sum()
    shift = torch.zeros_like(X[0], dtype=torch.float64)
    if centre:
        # Relative to one of the rows that count: a constant column's mean is then its very value.
        origin = X[int(weight.argmax())].double()
        moment = torch.zeros_like(origin)
        for rows in row_blocks(X):
            moment += weight[rows] @ (X[rows].double() - origin)
        shift = origin + moment / total
    square = torch.zeros_like(shift)
    for rows in row_blocks(X):
        square += weight[rows] @ (X[rows].double() - shift).square()
    scale = (square / total).sqrt()
    return shift, torch.where(scale > SMALLEST_SCALE, scale, torch.ones_like(scale))


def row_blocks(X: Tensor) -> Iterator[slice]:
    """Cut the rows of X into slices of a size that suits the device."""
    n, d = X.shape
    rows = BLOCK_VALUES[X.device.type] // max(d, 1)
    if X.device.type == "cpu":
        rows = min(rows, BLOCK_ROWS_CPU)
    rows = max(rows, 64)
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def working_blocks(problem: Problem) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, block in working units (rows, p)); the block is overwritten by the next."""
    X, d, p = problem.X, problem.X.shape[1], len(problem.ridge)
    shift, inverse_scale = problem.shift.to(problem.dtype), problem.inverse_scale.to(problem.dtype)
    buffer: Tensor | None = None
    for rows in row_blocks(X):
        if buffer is None:
            # Rows padded to whole cache lines: the column of ones would else slow every matrix product.
            padded = -(-p // 16) * 16
            buffer = torch.ones(rows.stop - rows.start, padded, dtype=problem.dtype, device=X.device)
        block = buffer[: rows.stop - rows.start, :p]
        torch.sub(X[rows], shift, out=block[:, :d])
        block[:, :d].mul_(inverse_scale)
        yield rows, block


def evaluate(problem: Problem, theta: Tensor) -> Evaluation:
    """Return objective, gradient and curvature at `theta`, reading X once.

    Parameters
    ----------
    problem : Problem
    theta : Tensor of shape (k, p)
        float64 weights in working units, the intercept last.
    """
    factor = theta.T.to(problem.dtype).contiguous()  # (p, k)
    gradient = torch.zeros_like(theta)
    loss = torch.zeros((), dtype=torch.float64, device=theta.device)
    curvature = torch.zeros_like(loss)
    for rows, block in working_blocks(problem):
        weight = problem.weight[rows]
        # Elementwise in float64: a sure row's residual would vanish in float32.
        row_loss, residual, row_curvature = _row_terms((block @ factor).double(), problem.target[rows])
        loss += weight @ row_loss
        curvature += weight @ row_curvature
        residual *= weight[:, None]
        gradient += residual.to(problem.dtype).T @ block
    gradient *= problem.C
    penalised = theta * problem.ridge
    value = problem.C * float(loss) + float((penalised * theta).sum()) / 2
    return Evaluation(value, gradient + penalised, problem.C * float(curvature))


def curvature_matrix(problem: Problem, theta: Tensor, *, diagonal: bool = False) -> Tensor:
    """Return the Hessian with its class blocks taken for their mean, float64 of shape (p, p).

    For two classes this is the Hessian itself. For more, the loss's Hessian of one row is
    ``(diag(p) - p p^T) (x) x x^T``; the first factor's mean eigenvalue over the k - 1 directions that change the
    probabilities is ``(1 - ||p||^2) / (k - 1)``, and it stands for the factor. Exact where all classes are equally
    likely (Böhning 1992 bounds the same factor by 1/2).

    With `diagonal`, only the diagonal is computed, of shape (p,).
    """
    factor = theta.T.to(problem.dtype).contiguous()
    p = len(problem.ridge)
    total = torch.zeros(p if diagonal else (p, p), dtype=torch.float64, device=theta.device)
    for rows, block in working_blocks(problem):
        row_curvature = _row_terms((block @ factor).double(), problem.target[rows])[2]
        block.mul_((problem.weight[rows] * row_curvature).sqrt().to(problem.dtype)[:, None])
        total += block.square().sum(0) if diagonal else block.T @ block
        block[:, problem.X.shape[1] :] = 1
    total *= problem.C
    return total + (problem.ridge if diagonal else torch.diag(problem.ridge))


def _row_terms(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each row's loss (n,), derivative by its logits (n, k) and mean curvature (n,)."""
    if logits.shape[1] == 1:
        sign = (1 - 2 * target).double()
        margin = sign * logits[:, 0]  # positive on the wrong side
        wrong = torch.sigmoid(margin)
        loss = -torch.nn.functional.logsigmoid(-margin)
        return loss, (sign * wrong)[:, None], wrong * (1 - wrong)
    log_probability = torch.log_softmax(logits, dim=1)
    loss = -log_probability.gather(1, target[:, None])[:, 0]
    probability = log_probability.exp_()
    curvature = (1 - probability.square().sum(1)).clamp_min_(0) / (logits.shape[1] - 1)
    residual = probability.scatter_add_(1, target[:, None], -torch.ones_like(loss)[:, None])
    return loss, residual, curvature


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


def to_coefficients(problem: Problem, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Fold the working units back: coefficients (k, d) and intercepts (k,) for X as it was given, float64.

    Intercepts of three or more classes are brought to mean 0, which changes no probability.
    """
    d = problem.X.shape[1]
    coefficients = theta[:, :d] * problem.inverse_scale
    intercept = -(coefficients @ problem.shift)
    if problem.has_intercept:
        intercept = intercept + theta[:, d]
        if problem.n_classes > 2:
            intercept = intercept - intercept.mean()
    return coefficients, intercept


def from_coefficients(problem: Problem, coefficients: Tensor, intercept: Tensor) -> Tensor:
    """Return the point of working units that stands for these coefficients; inverse of `to_coefficients`."""
    theta = coefficients.double() / problem.inverse_scale
    if not problem.has_intercept:
        return theta
    shifted = intercept.double() + coefficients.double() @ problem.shift
    return torch.cat([theta, shifted[:, None]], dim=1)
