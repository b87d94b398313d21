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

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

BLOCK_VALUES = {"cpu": 2**21, "cuda": 2**26}
"""Values of X in one block: small enough for the processor's caches, large enough for its matrix product."""

BLOCK_ROWS_CPU = 2048
NEAR_ZERO = {torch.float32: 8.0, torch.float64: 1e6}
"""Columns whose means are at most so many deviations from 0 need not be centred before they are multiplied."""

SMALLEST_SCALE = 1e-30
"""A column of smaller size counts as constant; its square is still a float64, its inverse a float32."""


class Streamed(Protocol):
    """A matrix that is read block by block, never held as a whole; see `featx.streams`."""

    shape: tuple[int, int]
    dtype: torch.dtype
    device: torch.device

    def __getitem__(self, row: int) -> Tensor: ...

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield (rows, block (rows, d)), in order."""


Rows = Tensor | Streamed


@dataclass(frozen=True)
class Problem:
    """One fit: the data, the penalty and the working units. `make_problem` builds it.

    Parameters
    ----------
    X : Tensor or Streamed, of shape (n, d)
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
    varies : Tensor of shape (d,)
        float64, 0 for columns of which the shift leaves nothing, else 1.
    ridge : Tensor of shape (p,)
        float64 penalty of each working column; 0 for the intercept's. p is d, or d + 1 with an intercept.
    dtype : torch.dtype
        Of the matrix products. Sums over blocks are always float64.
    """

    X: Rows
    target: Tensor
    weight: Tensor
    n_classes: int
    C: float
    shift: Tensor
    inverse_scale: Tensor
    varies: Tensor
    ridge: Tensor
    dtype: torch.dtype

    @property
    def has_intercept(self) -> bool:
        """Whether the last working column is the intercept's ones."""
        return len(self.ridge) > self.X.shape[1]

    @functools.cached_property
    def is_near_zero(self) -> bool:
        """Whether columns are so near to 0, for their width, that products with them lose nothing to their means."""
        return bool((self.shift * self.inverse_scale).abs().max() <= NEAR_ZERO[self.dtype])

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
    X: Rows,
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
    shift, deviation = column_stats(X, weight, centre=fit_intercept or standardize)
    varies = deviation > SMALLEST_SCALE
    scale = torch.where(varies, deviation, torch.ones_like(deviation))
    # A free intercept takes up what rounding does to the means; without one, that would be another problem.
    dtype = X.dtype if fit_intercept or not standardize else torch.float64
    shift, inverse_scale = shift.to(dtype).double(), (1 / scale).to(dtype).double()
    # From the rounded scale, so that the penalty belongs to exactly the columns that are used.
    ridge = torch.ones_like(scale) if standardize else inverse_scale.square()
    if fit_intercept:
        ridge = torch.cat([ridge, ridge.new_zeros(1)])
    return Problem(X, target, weight, n_classes, C, shift, inverse_scale, varies.double(), ridge, dtype)


def column_stats(X: Rows, weight: Tensor, *, centre: bool) -> tuple[Tensor, Tensor]:
    """Return each column's shift and deviation, both float64 of shape (d,), reading X once.

    The shift is the weighted mean, or 0 where `centre` is false; the deviation is the weighted root mean square
    distance from it. Blocks' means and squares are put together as by Chan, Golub and LeVeque (1983).
    """
    # Relative to one of the rows that count: a constant column's mean is then its very value.
    origin = X[int(weight.argmax())].double() if centre else torch.zeros(X.shape[1], dtype=torch.float64)
    origin = origin.to(X.device)
    mean, square = torch.zeros_like(origin), torch.zeros_like(origin)
    total = torch.zeros((), dtype=torch.float64, device=X.device)
    for rows, block in blocks(X):
        share = weight[rows].sum()
        if share > 0:
            distance = block.double() - origin
            own = weight[rows] @ distance / share if centre else torch.zeros_like(mean)
            apart = own - mean
            square += weight[rows] @ distance.sub_(own).square_() + apart.square() * (total * share / (total + share))
            mean += apart * (share / (total + share))
            total += share
    return origin + mean, (square / total).sqrt()


def blocks(X: Rows) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, block of X (rows, d)) of a size that suits the device."""
    if isinstance(X, Tensor):
        n, d = X.shape
        return ((rows, X[rows]) for rows in row_blocks(n, d, X.device))
    return X.blocks()


def row_blocks(n: int, d: int, device: torch.device) -> Iterator[slice]:
    """Cut n rows of d values into slices of a size that suits the device."""
    rows = BLOCK_VALUES[device.type] // max(d, 1)
    if device.type == "cpu":
        rows = min(rows, BLOCK_ROWS_CPU)
    rows = max(rows, 64)
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def working_blocks(problem: Problem) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, block in working units (rows, p)); the block is overwritten by the next."""
    d, p = problem.X.shape[1], len(problem.ridge)
    shift, inverse_scale = problem.shift.to(problem.dtype), problem.inverse_scale.to(problem.dtype)
    buffer: Tensor | None = None
    for rows, given in blocks(problem.X):
        if buffer is None:
            # Rows padded to whole cache lines: the column of ones would else slow every matrix product.
            padded = -(-p // 16) * 16
            buffer = torch.ones(len(given), padded, dtype=problem.dtype, device=given.device)
        block = buffer[: len(given), :p]
        torch.sub(given, shift, out=block[:, :d])
        block[:, :d].mul_(inverse_scale)
        yield rows, block


def evaluate(problem: Problem, theta: Tensor) -> Evaluation:
    """Return objective, gradient and curvature at `theta`, reading X once.

    Parameters
    ----------
    problem : Problem
    theta : Tensor of shape (k, p)
        float64 weights in working units, the intercept last.

    Notes
    -----
    Where columns are not much further from 0 than they are wide (`Problem.is_near_zero`) the working units go into
    the weights and out of the gradient, and X is used as it lies there. Else each block is brought into working units
    first: what a shift leaves of a product would drown in its rounding.
    """
    near = problem.is_near_zero
    weights, offset = _as_given(problem, theta) if near else (theta, torch.zeros_like(theta[:, 0]))
    factor, constant = weights.to(problem.dtype), offset.to(problem.dtype)[:, None]
    gradient = torch.zeros_like(weights)
    residuals = torch.zeros_like(offset)
    loss = torch.zeros((), dtype=torch.float64, device=theta.device)
    curvature = torch.zeros_like(loss)
    for rows, block in _blocks_as_given(problem) if near else working_blocks(problem):
        weight = problem.weight[rows]
        # A class a row: sums over classes then run along the memory of many samples.
        logits = torch.addmm(constant, factor, block.T)
        row_loss, residual, row_curvature = row_terms(logits, problem.target[rows])
        loss += weight @ row_loss.double()
        curvature += weight @ row_curvature.double()
        residual *= weight.to(problem.dtype)
        gradient += residual @ block
        residuals += residual.sum(1, dtype=torch.float64)
    if near:
        # A constant column's gradient is nothing: not the rounding of two equal terms.
        gradient = (gradient - residuals[:, None] * problem.shift) * problem.inverse_scale * problem.varies
        if problem.has_intercept:
            gradient = torch.cat([gradient, residuals[:, None]], dim=1)
    gradient *= problem.C
    penalised = theta * problem.ridge
    value = problem.C * float(loss) + float((penalised * theta).sum()) / 2
    return Evaluation(value, gradient + penalised, problem.C * float(curvature))


def _as_given(problem: Problem, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights (k, d) and offsets (k,) that give the same logits for X as it was given."""
    d = problem.X.shape[1]
    weights = theta[:, :d] * problem.inverse_scale
    offset = -(weights @ problem.shift)
    return weights, offset + theta[:, d] if problem.has_intercept else offset


def _blocks_as_given(problem: Problem) -> Iterator[tuple[slice, Tensor]]:
    return ((rows, block.to(problem.dtype)) for rows, block in blocks(problem.X))


def curvature_matrix(problem: Problem, theta: Tensor, *, diagonal: bool = False) -> Tensor:
    """Return the Hessian of the unpenalised loss, C = 1, with its class blocks taken for their mean: float64 (p, p).

    For two classes this is that Hessian itself. For more, the loss's Hessian of one row is
    ``(diag(p) - p p^T) (x) x x^T``; the first factor's mean eigenvalue over the k - 1 directions that change the
    probabilities is ``(1 - ||p||^2) / (k - 1)``, and it stands for the factor. Exact where all classes are equally
    likely (Böhning 1992 bounds the same factor by 1/2).

    With `diagonal`, only the diagonal is computed, of shape (p,).
    """
    factor = theta.to(problem.dtype)
    p = len(problem.ridge)
    total = torch.zeros(p if diagonal else (p, p), dtype=torch.float64, device=theta.device)
    for rows, block in working_blocks(problem):
        row_curvature = row_terms(factor @ block.T, problem.target[rows])[2]
        block.mul_((problem.weight[rows] * row_curvature).sqrt().to(problem.dtype)[:, None])
        total += block.square().sum(0) if diagonal else block.T @ block
        block[:, problem.X.shape[1] :] = 1
    return total


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


def to_coefficients(problem: Problem, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Fold the working units back: coefficients (k, d) and intercepts (k,) for X as it was given, float64.

    Intercepts of three or more classes are brought to mean 0, which changes no probability.
    """
    coefficients, intercept = _as_given(problem, theta)
    if problem.has_intercept and problem.n_classes > 2:
        intercept = intercept - intercept.mean()
    return coefficients, intercept


def from_coefficients(problem: Problem, coefficients: Tensor, intercept: Tensor) -> Tensor:
    """Return the point of working units that stands for these coefficients; inverse of `to_coefficients`."""
    theta = coefficients.double() / problem.inverse_scale
    if not problem.has_intercept:
        return theta
    shifted = intercept.double() + coefficients.double() @ problem.shift
    return torch.cat([theta, shifted[:, None]], dim=1)
