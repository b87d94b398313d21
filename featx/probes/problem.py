"""Softmax regression's data, penalty and working units; X in blocks of rows.

*Working units* are columns of mean 0 (where an intercept is fitted) and of size 1, and the intercept as one more
column of ones. They are a change of variables, never another problem: the penalty a column pays, `Problem.ridge`,
undoes the scaling unless the caller asked for standardised columns. One block of rows at a time is brought into
working units, so that X is never copied as a whole.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from featx.probes.row_threads import Work, in_order

T = TypeVar("T")

BLOCK_VALUES = {"cpu": 2**22, "cuda": 2**26}
"""Values of X in one block: few enough for memory, enough that what a block costs besides its products is little."""

BLOCK_ROWS_CPU = 2048
NEAR_ZERO = {torch.float32: 8.0, torch.float64: 1e6}
"""Columns whose means are at most so many deviations from 0 need not be centred before they are multiplied."""

EVEN = 10.0
"""Rows of which none weighs more than so many times their mean can stand for each other."""

ENOUGH_ROWS = 8192
SCALE_ROWS_PER_COLUMN = 2
"""So many rows are enough for units that are only a change of variables."""

SMALLEST_SCALE = 1e-30
"""A column of smaller size counts as constant; its square is still a float64, its inverse a float32."""


class Streamed(Protocol):
    """A matrix that is read block by block, never held as a whole; see `featx.probes.streaming`."""

    shape: tuple[int, int]
    dtype: torch.dtype
    device: torch.device

    def __getitem__(self, row: int) -> Tensor: ...

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield (rows, block (rows, d)), in order."""


Matrix = Tensor | Streamed


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

    X: Matrix
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


def make_problem(
    X: Matrix,
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
    centre = fit_intercept or standardize
    every = 1 if standardize else spared(weight, X.shape[1], SCALE_ROWS_PER_COLUMN)
    shift, deviation = column_stats(X, weight, centre=centre, every=every)
    if every > 1 and not bool((deviation > SMALLEST_SCALE).all()):  # what is constant in them may vary elsewhere
        shift, deviation = column_stats(X, weight, centre=centre)
    varies = deviation > SMALLEST_SCALE
    scale = torch.where(varies, deviation, torch.ones_like(deviation))
    # A free intercept takes up what rounding does to the means; without one, that would be another problem.
    dtype = X.dtype if fit_intercept or not standardize else torch.float64
    shift, inverse_scale = shift.to(dtype).double(), (1 / scale).to(dtype).double()
    # From the rounded scale, so that the penalty belongs to exactly the columns that are used: 1 for the standardised
    # column itself.
    ridge = (inverse_scale * scale if standardize else inverse_scale).square()
    if fit_intercept:
        ridge = torch.cat([ridge, ridge.new_zeros(1)])
    return Problem(X, target, weight, n_classes, C, shift, inverse_scale, varies.double(), ridge, dtype)


def column_stats(X: Matrix, weight: Tensor, *, centre: bool, every: int = 1) -> tuple[Tensor, Tensor]:
    """Return each column's shift and deviation, both float64 of shape (d,), reading X once, or one row of `every`.

    The shift is the weighted mean, or 0 where `centre` is false; the deviation is the weighted root mean square
    distance from it. Blocks' means and squares are put together as by Chan, Golub and LeVeque (1983).
    """
    # Relative to one of the rows that count: a constant column's mean is then its very value.
    origin = X[int(weight.argmax())].double() if centre else torch.zeros(X.shape[1], dtype=torch.float64)
    origin = origin.to(X.device)
    mean, square = torch.zeros_like(origin), torch.zeros_like(origin)
    total = torch.zeros((), dtype=torch.float64, device=X.device)

    def spread(rows: slice, block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        own_weight, distance = weight[rows], block.double() - origin
        share = own_weight.sum()
        own = own_weight @ distance / share if centre and share > 0 else torch.zeros_like(origin)
        return share, own, own_weight @ distance.sub_(own).square_()

    for share, own, own_square in in_order(blocks(X, every), spread, of=X):
        if share > 0:
            apart = own - mean
            square += own_square + apart.square() * (total * share / (total + share))
            mean += apart * (share / (total + share))
            total += share
    return origin + mean, (square / total).sqrt()


def blocks(X: Matrix, every: int = 1) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, block of X (rows, d)) of a size that suits the device; of each block its first part of `every`."""
    whole: Iterator[tuple[slice, Tensor]]
    if isinstance(X, Tensor):
        n, d = X.shape
        whole = ((rows, X[rows]) for rows in row_blocks(n, d, X.device))
    else:
        whole = X.blocks()
    return ((first_part(rows, every), block[: -(-len(block) // every)]) for rows, block in whole)


def first_part(rows: slice, every: int) -> slice:
    """Return the first of `every` parts of some rows: not each so-manieth, which may all be of one class."""
    return slice(rows.start, rows.start - (rows.start - rows.stop) // every)


def spared(weight: Tensor, columns: int, rows_per_column: int) -> int:
    """Return of how many rows one will do for a sum of squares that only has to be like the whole one's."""
    if float(weight.max()) > EVEN * float(weight.mean()):
        return 1
    return max(1, len(weight) // max(ENOUGH_ROWS, rows_per_column * columns))


def row_blocks(n: int, d: int, device: torch.device) -> Iterator[slice]:
    """Cut n rows of d values into slices of a size that suits the device."""
    rows = BLOCK_VALUES[device.type] // max(d, 1)
    if device.type == "cpu":
        rows = min(rows, BLOCK_ROWS_CPU)
    rows = max(rows, 64)
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


class WorkingUnits(threading.local):
    """Brings blocks of rows into working units: in one buffer a thread, overwritten by its next block."""

    def __init__(self, problem: Problem) -> None:
        self._d, self._p, self._dtype = problem.X.shape[1], len(problem.ridge), problem.dtype
        self._shift, self._inverse_scale = problem.shift.to(self._dtype), problem.inverse_scale.to(self._dtype)
        self._buffer: Tensor | None = None

    def __call__(self, given: Tensor) -> Tensor:
        """Return a block (rows, d) as (rows, p)."""
        if self._buffer is None or len(self._buffer) < len(given):
            # Rows padded to whole cache lines: the column of ones would else slow every matrix product.
            padded = -(-self._p // 16) * 16
            self._buffer = torch.ones(len(given), padded, dtype=self._dtype, device=given.device)
        block = self._buffer[: len(given), : self._p]
        torch.sub(given, self._shift, out=block[:, : self._d])
        block[:, : self._d].mul_(self._inverse_scale)
        return block


def working_blocks(problem: Problem, every: int = 1) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, block in working units (rows, p)), as `blocks` cuts them; the block is overwritten by the next."""
    units = WorkingUnits(problem)
    return ((rows, units(given)) for rows, given in blocks(problem.X, every))


def per_block(problem: Problem, work: Work[T], *, every: int = 1, as_given: bool = False) -> Iterator[T]:
    """Give what `work` finds of each block of rows, in their order; many blocks are shared by threads.

    Parameters
    ----------
    problem : Problem
    work : callable
        Called with rows and block: (rows, p) in working units, overwritten by the thread's next one, or
        (rows, d) with `as_given`; in the problem's dtype.
    every : int
        Of each block the first of so many parts.
    as_given : bool
        Whether blocks are X's own values.
    """
    units = WorkingUnits(problem)

    def one(rows: slice, block: Tensor) -> T:
        return work(rows, block.to(problem.dtype) if as_given else units(block))

    return in_order(blocks(problem.X, every), one, of=problem.X)


def as_given(problem: Problem, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights (k, d) and offsets (k,) that give the same logits for X as it was given."""
    d = problem.X.shape[1]
    weights = theta[:, :d] * problem.inverse_scale
    offset = -(weights @ problem.shift)
    return weights, offset + theta[:, d] if problem.has_intercept else offset


def to_coefficients(problem: Problem, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Fold the working units back: coefficients (k, d) and intercepts (k,) for X as it was given, float64.

    Intercepts of three or more classes are brought to mean 0, which changes no probability.
    """
    coefficients, intercept = as_given(problem, theta)
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
