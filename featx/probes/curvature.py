"""The loss's curvature as one matrix over the columns, and the metric that its inverse is.

The matrix is a sum of squares ``A^T A``, so that it may be known as such or by a triangular root of it, found by
orthogonal transformations of the rows. The first takes one matrix product a block, and knows directions whose
curvature is smaller than the rounding of the largest not at all; the second costs several times as much, and knows
them to the square of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from featx.probes.objective import row_terms
from featx.probes.problem import Problem, per_block, spared
from featx.probes.products import Gram, times_rows

T = TypeVar("T")
Metric = Callable[[Tensor], Tensor]
"""Maps a gradient (k, p) to the step it asks for: the inverse of an approximate Hessian."""

STALE = 3.0
"""The metric is built anew when the curvature has moved by this factor."""

FULL_METRIC_COLUMNS = 4097  # 4,096 and the intercept
ALWAYS_FULL_COLUMNS = 512
FULL_METRIC_ROWS_PER_COLUMN = 0.25

SAMPLE_ROWS_PER_COLUMN = 4
"""So many rows tell the curvature well enough: all others would cost more than the steps that they save."""

FLOAT32_COLUMNS, FLOAT32_INFLATION = 256, 5e4
"""From so many columns on, matrices that inflate rounding by no more than that are inverted in float32."""

COARSE = 0.01
"""A matrix whose rounding moves its inverse by more than this part is not used."""

TINY, FLAT = 1e-30, 1e-16
"""Parts of the diagonal that are added to a root: the first decides nothing that rounding has not decided. Columns
without a penalty may be copies of each other, along which a gradient is all rounding: the second keeps it small."""


class Factor(NamedTuple):
    """Upper triangular ``F`` (p, p) with ``M = F^T F``, and the inverse of F."""

    upper: Tensor
    inverse: Tensor

    @property
    def lengths(self) -> Tensor:
        """Square roots of the diagonal of ``M^-1`` (p,)."""
        lengths: Tensor = self.inverse.norm(dim=1)
        return lengths

    def solve(self, gradient: Tensor) -> Tensor:
        """Return ``gradient M^-1``, rows (k, p)."""
        return self.half(gradient) @ self.inverse.T

    def half(self, gradient: Tensor) -> Tensor:
        """Return ``gradient F^-1``, whose squares add up to ``gradient M^-1 gradient^T``."""
        return gradient @ self.inverse

    def inflation(self, diagonal: Tensor) -> float:
        """Return the largest ``M_jj (M^-1)_jj``: how much of a column's size the other columns explain."""
        return float((diagonal * self.lengths.square()).max())


def factor_matrix(matrix: Tensor) -> Factor | None:
    """Return the Cholesky factor of a symmetric matrix (p, p), or None where rounding has made it indefinite."""
    upper, failed = torch.linalg.cholesky_ex(matrix, upper=True)
    return None if int(failed) else _factor(upper)


def factor_root(root: Tensor, ridge: Tensor) -> Factor | None:
    """Return the factor of ``root^T root + diag(ridge)``, from orthogonal transformations of the root (m, p)."""
    floor = ridge + torch.where(ridge > 0, TINY, FLAT) * root.square().sum(0)
    return _factor(_triangle(torch.cat([root, torch.diag(floor.sqrt())])))


def _factor(upper: Tensor) -> Factor | None:
    inverse = torch.linalg.solve_triangular(
        upper, torch.eye(len(upper), dtype=upper.dtype, device=upper.device), upper=True
    )
    return Factor(upper, inverse) if bool(torch.isfinite(inverse).all()) else None


def _triangle(rows: Tensor) -> Tensor:
    upper: Tensor = torch.linalg.qr(rows, mode="r")[1]
    return upper


def root_of(blocks: Iterator[Tensor], p: int, device: torch.device) -> Tensor:
    """Return an upper triangular root (at most p rows) of the sum of ``block^T block``, block by block (rows, p)."""
    root = torch.zeros(0, p, dtype=torch.float64, device=device)
    held: list[Tensor] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= 4 * p:
            root, held = _triangle(torch.cat([root, *held])), []
    return _triangle(torch.cat([root, *held])) if held else root


def weighted_rows(problem: Problem, theta: Tensor) -> Iterator[Tensor]:
    """Yield blocks (rows, p) in working units whose squares add up to the curvature; each is the caller's own."""
    return _weighed(problem, theta, lambda block: block)


def _weighed(problem: Problem, theta: Tensor, use: Callable[[Tensor], T], every: int = 1) -> Iterator[T]:
    factor = theta.to(problem.dtype)

    def weigh(rows: slice, block: Tensor) -> T:
        row_curvature = row_terms(times_rows(factor, block), problem.target[rows])[2]
        return use(block * (problem.weight[rows] * row_curvature).sqrt().to(problem.dtype)[:, None])

    return per_block(problem, weigh, every=every)


def curvature_matrix(problem: Problem, theta: Tensor, *, diagonal: bool = False) -> Tensor:
    """Return the Hessian of the unpenalised loss, C = 1, with its class blocks taken for their mean: float64 (p, p).

    For two classes this is that Hessian itself. For more, the loss's Hessian of one row is
    ``(diag(p) - p p^T) (x) x x^T``; the first factor's mean eigenvalue over the k - 1 directions that change the
    probabilities is ``(1 - ||p||^2) / (k - 1)``, and it stands for the factor. Exact where all classes are equally
    likely (Böhning 1992 bounds the same factor by 1/2).

    With `diagonal`, only the diagonal is computed, of shape (p,). Of many rows some stand for all (`spared`).
    """
    p = len(problem.ridge)
    if diagonal:
        total = torch.zeros(p, dtype=torch.float64, device=theta.device)
        for part in _weighed(problem, theta, lambda block: block.square().sum(0)):
            total += part
        return total
    every, counted, products = spared(problem.weight, p, SAMPLE_ROWS_PER_COLUMN), 0, Gram(p, theta.device)
    for part, rows in _weighed(problem, theta, lambda block: (products.part(block), len(block)), every):
        products.add(part)
        counted += rows
    return products.result() * (problem.X.shape[0] / counted)


class CurvatureMetrics:
    """Builds metrics; the loss's curvature is measured only where the last one is too far from it.

    One matrix, or its root, serves several C in turn: only its inverse is another.
    """

    def __init__(self) -> None:
        self._matrix: Tensor | None = None
        self._root: Tensor | None = None
        self._curvature = math.nan
        self._exact = False
        self._made: tuple[float, torch.dtype, Metric] | None = None
        self.inflation = 1.0
        """The last metric's: what its inverse multiplies rounding by at most."""

    def __call__(self, problem: Problem, theta: Tensor, curvature: float) -> Metric:
        """Return the inverse of the Hessian that `curvature_matrix` stands for, or of its diagonal.

        The matrix costs about ``n p^2`` once, and cuts the steps ten times over where columns are correlated. It is
        left out above 4,096 columns, and where rows are so few that its inverse costs more than the steps it saves.
        Where its rounding would decide its inverse, it is summed up in float64, and after that by its root.

        Parameters
        ----------
        problem, theta : Problem, Tensor
            Where the metric is wanted.
        curvature : float
            `Evaluation.curvature` there.
        """
        p, n = len(problem.ridge), problem.X.shape[0]
        full = p <= ALWAYS_FULL_COLUMNS or (p <= FULL_METRIC_COLUMNS and n >= FULL_METRIC_ROWS_PER_COLUMN * p)
        unit = curvature / problem.C
        if self._matrix is None or not self._curvature / STALE <= unit <= self._curvature * STALE:
            self._matrix, self._root = curvature_matrix(problem, theta, diagonal=not full), None
            self._curvature, self._exact = unit, problem.dtype == torch.float64
            self._made = None
        if self._made is None or self._made[:2] != (problem.C, problem.dtype):
            self._made = (problem.C, problem.dtype, self._inverse(problem, theta, full))
        return self._made[2]

    def _inverse(self, problem: Problem, theta: Tensor, full: bool) -> Metric:
        assert self._matrix is not None
        if full and (inverse := self._coarse_inverse(problem)) is not None:
            return lambda gradient: (gradient.float() @ inverse).double()
        if full and (factor := self._factor(problem, theta)) is not None:
            if self._root is not None:
                return factor.solve
            fine = factor.inverse @ factor.inverse.T
            return lambda gradient: gradient @ fine
        diagonal = problem.C * (self._matrix.diagonal() if full else self._matrix) + problem.ridge
        inverse_diagonal = 1 / diagonal.clamp_min(1e-12 * float(diagonal.max()))
        return lambda gradient: gradient * inverse_diagonal

    def _coarse_inverse(self, problem: Problem) -> Tensor | None:
        """Return the inverse for this C in float32 where that is enough for it, else None."""
        assert self._matrix is not None
        if problem.X.dtype != torch.float32 or self._root is not None or len(self._matrix) < FLOAT32_COLUMNS:
            return None
        matrix = problem.C * self._matrix + torch.diag(problem.ridge)
        lengths = matrix.diagonal().sqrt()
        if not bool((lengths > 0).all()):
            return None
        lower, failed = torch.linalg.cholesky_ex((matrix / lengths / lengths[:, None]).float())
        if int(failed):
            return None
        inverse = torch.cholesky_inverse(lower)
        inflation = float(inverse.diagonal().max())
        if not inflation <= FLOAT32_INFLATION:
            return None
        self.inflation = inflation
        return inverse.div_(lengths.float()).div_(lengths.float()[:, None])

    def _factor(self, problem: Problem, theta: Tensor) -> Factor | None:
        """Return the factor of the matrix for this C, from as fine a sum as it needs."""
        assert self._matrix is not None
        if self._root is None:
            factor = self._from_matrix(problem, torch.finfo(torch.float64 if self._exact else problem.dtype).eps)
            if factor is None and not self._exact:
                self._matrix = curvature_matrix(replace(problem, dtype=torch.float64), theta)
                self._exact = True
                factor = self._from_matrix(problem, torch.finfo(torch.float64).eps)
            if factor is not None:
                return factor
            fine = replace(problem, dtype=torch.float64)
            self._root = root_of(weighted_rows(fine, theta), len(problem.ridge), theta.device)
        factor = factor_root(math.sqrt(problem.C) * self._root, problem.ridge)
        self.inflation = math.inf
        return factor

    def _from_matrix(self, problem: Problem, rounding: float) -> Factor | None:
        assert self._matrix is not None
        matrix = problem.C * self._matrix + torch.diag(problem.ridge)
        factor = factor_matrix(matrix)
        if factor is None:
            return None
        self.inflation = factor.inflation(matrix.diagonal())
        return factor if self.inflation * rounding <= COARSE else None
