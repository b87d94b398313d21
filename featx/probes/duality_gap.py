"""How far a softmax regression can be from its minimum at most: a duality gap, found in two passes over the rows.

Every row's loss is the largest of the linear functions ``<q - e_y, z> + H(q)`` of its logits z, q being any
probabilities, e_y the true class and H the entropy (Fenchel's inequality; Yu, Huang and Lin 2011 derive the dual of
multinomial logistic regression from it). Any choice of q therefore bounds the minimum from below. With p the model's
own probabilities, ``g = C sum_i w_i (q_i - e_i) x_i^T + theta R`` and R the penalties,

    f(theta) - min f <= C sum_i w_i KL(q_i || p_i) + g R^-1 g / 2,

provided that g vanishes in columns without a penalty, such as the intercept's. All terms are squares in nature:
nothing cancels, and where q = p (1 + u) with ``|u| <= t``, ``KL <= sum_k p_k u_k^2 / (2 (1 - t))``.

q = p alone leaves far too much where the loss curves more than the penalty. It is moved in one of two ways:

*Smallest.* ``q_i = p_i - s_i (I - 11^T / k) V x_i`` with s_i the row's smallest probability (p (1 - p) for two
classes) changes g by exactly ``-V S``, with ``S = C sum_i w_i s_i x_i x_i^T``. ``V = g (S + R)^-1`` leaves

    f(theta) - min f <= g (S + R)^-1 g / (2 (1 - t)),   t = max_ik |(V x_i)_k|,

and balances unpenalised columns by construction. For two classes S + R is the Hessian, and the bound what a Newton
step would gain.

*Newton's.* ``q_i = p_i - (diag(p_i) - p_i p_i^T) V x_i`` changes g by minus the loss's Hessian times V. Where V nearly
solves Newton's equation, what is left of g is small, and is moved away as above. For many classes of which each row
rules some out, S is next to nothing, and this is what proves something.

Any s_i from 0 to that probability will do, so that not all rows need to move: of many, some are enough for a bound that
is as good as it has to be.

Rounding is counted, not hoped to be small. Sums are float64; each is known to a multiple of what its terms are in size
(Higham 2002, chapters 3, 10 and 19), and the bound is that of the least favourable values. The moves themselves need
not be exact: V is solved for in theory, with the exact sums, and ``(S + R)^-1`` is known to the part ``eta`` from its
computed factor; where that is not less than a half, nothing is claimed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.probes.curvature import FLAT, TINY, CurvatureMetrics, Factor, factor_matrix, factor_root
from featx.probes.duality_gap_sums import Move, Point, largest_moves, look, newton_move, root_at
from featx.probes.newton import newton_step
from featx.probes.objective import hessian_product
from featx.probes.problem import Problem, spared
from featx.probes.row_threads import small_kernels_alone

Floats = NDArray[np.float64]

EPS = torch.finfo(torch.float64).eps

LARGEST_T = 0.9
DAMPING = (1.0, 1e1, 1e2, 1e3, 1e4, 1e6, 1e8)
"""Where t is larger, or S + R is not known well enough, R is multiplied in V by the next of these: steps shrink, and
part of the imbalance stays and is paid for. Unpenalised columns stay balanced."""

LARGEST_ETA = 0.1
NEWTON_SETTLE, NEWTON_PRODUCTS = 1e-8, 60
"""Where the decrement has settled to this part, or after so many products, Newton's step is good enough."""

MOVED_ROWS_PER_COLUMN = 2
"""So many rows are moved at first; all, where that proves too little."""

ROOT_COLUMNS = 1024
"""Above so many columns S is not computed as a root where its sum is too coarse."""


@dataclass(frozen=True)
class _Inverse:
    """``(S + damping R)^-1`` by its factor: exact to the part `eta`."""

    damping: float
    factor: Factor
    eta: float

    def norm(self, row: Tensor, error: Tensor) -> float:
        """Return the most that ``sqrt(row M^-1 row)`` can be for a (k, p) matrix known to `error`."""
        blurred = self.factor.half(row).norm() + (error @ self.factor.lengths).norm()
        return float(blurred) / math.sqrt(1 - self.eta)

    def reach(self, size: float) -> tuple[float, float]:
        """Return by what a step of this size in the norm of M moves a row, as `largest_moves` takes it."""
        return size * float(self.factor.inverse.norm()) / math.sqrt(1 - self.eta), size


def objective_gap(problem: Problem, theta: Tensor, *, enough: float = 0.0, offset_error: float = 0.0) -> float | None:
    """Return an upper bound of the objective at `theta` less its minimum, or None where the proof does not go through.

    Valid for the rows as they are, in exact arithmetic, whatever the type of X: the rounding of all that is computed
    here is part of the bound. None is returned at points far from the minimum, where the rounding of float64 decides,
    and where there may be no minimum: without a penalty, for separable classes.

    Parameters
    ----------
    problem : Problem
    theta : Tensor of shape (k, p)
        In working units.
    enough : float
        A bound of this size will do: Newton's move, which takes more passes, is tried for larger ones only.
    offset_error : float
        The logits' common error: how well the intercepts in `theta` are known.
    """
    return _certify(problem, theta, enough, offset_error).gap


@dataclass(frozen=True)
class Certificate:
    """The objective at a point, and the most that it can be above its minimum; None where nothing is proven."""

    value: float
    gap: float | None


def _certify(problem: Problem, theta: Tensor, enough: float, offset_error: float) -> Certificate:
    with small_kernels_alone(problem.X):
        return _bounded(problem, theta, enough, offset_error)


def _bounded(problem: Problem, theta: Tensor, enough: float, offset_error: float) -> Certificate:
    # Class means of zero: the same probabilities for no more penalty.
    mean = theta.mean(0, keepdim=True) if problem.n_rows > 1 else torch.zeros_like(theta[:1])
    blur = len(theta) * EPS * theta.abs().amax(0)
    excess = len(theta) * float((problem.ridge * (mean.abs() + blur).square()).sum()) / 2
    offset_error += 2 * EPS * float(mean.norm())
    every = spared(problem.weight, len(problem.ridge), MOVED_ROWS_PER_COLUMN) if enough > 0 else 1
    point = look(problem, theta - mean, offset_error, every)
    value, excess = point.value + excess, excess + point.shifted
    found = _smallest(problem, point, inverses := _Inverses(problem, point))
    if every > 1 and not (found and min(found) + excess <= enough):
        point = look(problem, theta - mean, offset_error)
        found += _smallest(problem, point, inverses := _Inverses(problem, point))
    if not found or min(found) + excess > enough:
        found += _newton(problem, point, inverses)
    return Certificate(value, min(found) + excess if found else None)


def certify(problem: Problem, coef: Floats, intercept: Floats, *, enough: float = 0.0) -> Certificate:
    """Return objective and `objective_gap` for coefficients as they are used: (k, d) and (k,), rounded to float64.

    Means of 1e8 make a rounding of `coef` a shift of the logits that the intercept must take up.
    """
    inverse_scale, shift = (part.cpu().numpy() for part in (problem.inverse_scale, problem.shift))
    products = coef.astype(np.longdouble) * shift
    last = intercept + products.sum(1)
    size = float((np.abs(products).sum(1) + np.abs(intercept)).max())
    offset_error = (coef.shape[1] + 2) * float(np.finfo(np.longdouble).eps) * size
    theta = coef / inverse_scale
    if problem.has_intercept:
        theta = np.column_stack([theta, last.astype(np.float64)])
    else:  # it should be the shift alone, and is that rounded
        offset_error += float(np.abs(last).max())
    point = torch.from_numpy(theta).to(problem.X.device)
    return _certify(problem, point, enough, offset_error)


class _Inverses:
    """``(S + damping R)^-1`` for each damping, found when it is asked for; none where S has too many columns."""

    def __init__(self, problem: Problem, point: Point) -> None:
        self._problem, self._point = problem, point
        self._root: Tensor | None = None

    def first(self) -> list[_Inverse]:
        """Return the inverse without damping, if it is known."""
        return self._some(DAMPING[:1])

    def damped(self) -> list[_Inverse]:
        """Return all others."""
        return self._some(DAMPING[1:])

    def _some(self, dampings: tuple[float, ...]) -> list[_Inverse]:
        if self._point.curvature is None:
            return []
        found = [_from_matrix(self._problem, self._point, damping) for damping in dampings]
        if found[0] is None and len(self._problem.ridge) <= ROOT_COLUMNS:
            if self._root is None:
                self._root = root_at(self._problem, self._point)
            found = [_from_root(self._problem, self._root, damping) for damping in dampings]
        return [inverse for inverse in found if inverse is not None]


def _from_matrix(problem: Problem, point: Point, damping: float) -> _Inverse | None:
    assert point.curvature is not None
    matrix = point.curvature + torch.diag(damping * problem.ridge)
    factor = factor_matrix(matrix)
    if factor is None:
        return None
    spread = float((matrix.diagonal().sqrt() * factor.lengths).sum())
    return _known(damping, factor, (point.terms + 6 * len(matrix)) * EPS * spread**2)


def _from_root(problem: Problem, root: Tensor, damping: float) -> _Inverse | None:
    factor = factor_root(root, damping * problem.ridge)
    if factor is None:
        return None
    p = len(problem.ridge)
    spread = float((factor.upper.norm(dim=0) * factor.lengths).sum())
    added = TINY if bool((problem.ridge > 0).all()) else FLAT
    # Of Householder's transformations, in stages of at most 5 p rows.
    return _known(damping, factor, 2 * (problem.X.shape[0] + 6 * p) * p * EPS * spread + added * spread**2)


def _known(damping: float, factor: Factor, eta: float) -> _Inverse | None:
    return _Inverse(damping, factor, eta) if eta <= LARGEST_ETA else None


def _bound(norm: float, t: float, point: Point) -> list[float]:
    """Return the bound of a move of size `norm`, in the metric of the first display; nothing where t is too large."""
    t += 3 * point.blur
    return [(norm + point.slack) ** 2 / (2 * (1 - t)) * (1 + point.terms * EPS)] if t <= LARGEST_T else []


def _smallest(problem: Problem, point: Point, inverses: _Inverses) -> list[float]:
    """Return the bounds of the smallest move: of the first damping, else of all others in one more pass."""
    for tried in (inverses.first, inverses.damped):
        moves = [_SmallestMove.of(problem, point, inverse) for inverse in tried()]
        if not moves:
            continue
        reach = largest_moves(problem, point, [move.step for move in moves], [move.blur for move in moves])
        found = [bound for move, t in zip(moves, reach, strict=True) for bound in _bound(move.size, t, point)]
        if found:
            return found
    return []


@dataclass(frozen=True)
class _SmallestMove:
    """A step V (k, p) as computed, the size of the exact one's move, and how far apart the two can move a row."""

    step: Tensor
    size: float
    blur: tuple[float, float]

    @classmethod
    def of(cls, problem: Problem, point: Point, inverse: _Inverse) -> _SmallestMove:
        step = inverse.factor.solve(point.gradient)
        norm = inverse.norm(point.gradient, point.error)
        # Of V, in the norm of S + damping R.
        inexact = inverse.norm(torch.zeros_like(step), point.error) + inverse.eta * norm / (1 - inverse.eta)
        # Of the imbalance, damping V R stays.
        penalty = math.sqrt(float((step.square() * problem.ridge).sum())) + inexact / math.sqrt(inverse.damping)
        size = math.sqrt(norm**2 + (inverse.damping**2 - inverse.damping) * penalty**2)
        return cls(step, size, inverse.reach(inexact))


def _newton(problem: Problem, point: Point, inverses: _Inverses) -> list[float]:
    """Return the bounds of Newton's move, what it leaves moved away by the smallest move or paid for."""
    step = _newton_step(problem, point)
    move = newton_move(problem, point, step)
    left, error = point.gradient - move.change - step * problem.ridge, point.error + move.error
    size = math.sqrt(move.size + float((step.square() * problem.ridge).sum()))
    found: list[float] = []
    for inverse in inverses.first():
        rest = inverse.norm(left, error)
        t = largest_moves(problem, point, [torch.zeros_like(step)], [inverse.reach(rest)])[0]
        found += _bound(size + math.sqrt(inverse.damping) * rest, move.largest + t, point)
    for rest, t in _paid(problem, point, move, left, error):
        found += _bound(size + rest, move.largest + t, point)
    return found


def _newton_step(problem: Problem, point: Point) -> Tensor:
    fine = replace(problem, dtype=torch.float64)
    metric = CurvatureMetrics()(fine, point.theta, point.mean_curvature)

    def product(step: Tensor) -> Tensor:
        return hessian_product(fine, point.theta, step)

    return newton_step(product, point.gradient, metric, settle=NEWTON_SETTLE, limit=NEWTON_PRODUCTS).step


def _paid(problem: Problem, point: Point, move: Move, left: Tensor, error: Tensor) -> list[tuple[float, float]]:
    """Return the size of what is left of the gradient where the penalty pays for it, the intercept balanced apart.

    With it comes the largest change of a probability that the balance makes; nothing where a column has no penalty.
    """
    d = problem.X.shape[1]
    balance = move.balance(left, error, point) if problem.has_intercept else (0.0, 0.0)
    if balance is None or not bool((problem.ridge[:d] > 0).all()):
        return []
    tau, t = balance
    unpaid = left[:, :d].abs() + error[:, :d] + tau * point.squares[:d].sqrt()
    return [(math.sqrt(float((unpaid.square() / problem.ridge[:d]).sum())) + tau, t)]
