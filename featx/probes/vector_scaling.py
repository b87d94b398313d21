"""Vector scaling: a scale and an offset for each class's logit, to their optimum and with a proof of it.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017. With z the logits divided by the
best temperature and s their root mean square, logits become ``z + v z / s + w``, and the mean log loss of n rows is
minimised together with

    (||v||^2 + ||w||^2) / (2 n),

a standard normal prior of both, in nats, around temperature scaling: a multinomial logistic problem, strictly convex,
so that classes without rows and rows that are all right have a finite optimum. Few rows change little, and beside many
the prior is nothing. By strong convexity, the objective is above its minimum by at most ``n ||gradient||^2 / 2``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import diags_array
from scipy.sparse.linalg import LinearOperator, cg

from featx.probes.logit_scaling import ROUNDING, SMALLEST, FittedScaling, Floats, checked_rows, share_errors, shares_of
from featx.probes.temperature import fit_temperature

MOST_STEPS = 100
FINE = 1e-10
"""Below such a gain of a Newton step, the objective's own rounding no longer tells whether it is one."""


@dataclass(frozen=True)
class _Point:
    """The objective at parameters (2k,): its value, its gradient, and the rows' shares (n, k)."""

    parameters: Floats
    value: float
    gradient: Floats
    shares: Floats


class _Problem:
    """The objective of v and w, one behind the other."""

    def __init__(self, z: Floats, y: NDArray[np.int64]) -> None:
        self.z, self.y, self.rows = z, y, np.arange(len(y))
        self.n, self.k = z.shape
        size = float(np.sqrt(np.mean(np.square(z))))
        self.size = size if size > SMALLEST else 1.0
        self.unit = z / self.size

    def at(self, parameters: Floats) -> _Point:
        logits = self.z + self.unit * parameters[: self.k] + parameters[self.k :]
        shares, total = shares_of(logits)
        value = float((total - logits[self.rows, self.y]).mean() + parameters @ parameters / (2 * self.n))
        rest = shares.copy()
        rest[self.rows, self.y] -= 1
        return _Point(parameters, value, self._pulled(rest) + parameters / self.n, shares)

    def _pulled(self, rest: Floats) -> Floats:
        """Return the mean over rows of what changes of logits (n, k) do to the parameters."""
        pulled: Floats = np.concatenate([np.einsum("ij,ij->j", self.unit, rest), rest.sum(axis=0)]) / self.n
        return pulled

    def newton_step(self, point: _Point) -> Floats:
        p = point.shares

        def times(direction: Floats) -> Floats:
            direction = direction.ravel()
            moved = p * (self.unit * direction[: self.k] + direction[self.k :])
            moved -= p * moved.sum(axis=1, keepdims=True)
            return np.asarray(self._pulled(moved) + direction / self.n)

        spread = p * (1 - p)
        diagonal = np.concatenate([np.einsum("ij,ij,ij->j", spread, self.unit, self.unit), spread.sum(axis=0)])
        hessian = LinearOperator((2 * self.k, 2 * self.k), matvec=times, dtype=np.float64)
        rough = diags_array(self.n / (diagonal + 1))
        step: Floats = cg(hessian, -point.gradient, rtol=1e-8, maxiter=20 * self.k + 100, M=rough)[0]
        return step


def fit_vector(logits: ArrayLike, y: ArrayLike) -> FittedScaling:
    """Return each class's scale and offset, those of least penalised log loss.

    Parameters
    ----------
    logits : array-like of shape (n, k)
        Of rows that the model has not learnt from; finite.
    y : array-like of shape (n,)
        Class numbers, 0 to k - 1.

    Raises
    ------
    OptionError, FeatureError
        See `featx.probes.logit_scaling.checked_rows`.
    """
    values, labels = checked_rows(logits, y)
    single = fit_temperature(values, labels)
    problem = _Problem(values / single.temperature, labels)
    point, steps = _minimum(problem)
    k = problem.k
    scale = (1 + point.parameters[:k] / problem.size) / single.temperature
    offset = point.parameters[k:]
    gap = _gap(values, labels, scale, offset, single.temperature, problem.size)
    missing = k - len(np.unique(labels))
    said = f"{missing} of {k} classes have no validation rows: their scales and offsets are the prior's and the others'"
    notes = (*single.notes, *((said,) if missing else ()))
    return replace(
        single,
        scale=scale,
        offset=offset,
        objective=point.value,
        objective_gap=gap,
        n_iter=single.n_iter + steps,
        notes=notes,
    )


def _minimum(problem: _Problem) -> tuple[_Point, int]:
    """Take Newton steps until rounding ends them."""
    point = problem.at(np.zeros(2 * problem.k))
    for taken in range(MOST_STEPS):
        step = problem.newton_step(point)
        gain = -float(point.gradient @ step) / 2
        after = _shortened(problem, point, step, gain) if gain > FINE else problem.at(point.parameters + step)
        if after is None or (gain <= FINE and np.linalg.norm(after.gradient) >= 0.5 * np.linalg.norm(point.gradient)):
            return point, taken
        point = after
    return point, MOST_STEPS


def _shortened(problem: _Problem, point: _Point, step: Floats, gain: float) -> _Point | None:
    """Return the first point along a step, halved time and again, that keeps a part of what the step promises."""
    length = 1.0
    while length > 1e-12:
        after = problem.at(point.parameters + length * step)
        if after.value <= point.value - 1e-4 * length * gain:
            return after
        length /= 2
    return None


def _gap(z: Floats, y: NDArray[np.int64], scale: Floats, offset: Floats, temperature: float, size: float) -> float:
    """Return a bound on the objective's excess at scales and offsets as they are kept, rounding errors included.

    The objective is that of the module, with `temperature` and `size` the numbers that they are in float64.
    """
    n, k = z.shape
    shares, _ = shares_of(scale * z + offset)
    wrong = share_errors(2 * (np.abs(scale * z) + np.abs(offset)).max(axis=1), k)[:, None] * shares
    rest = shares
    rest[np.arange(n), y] -= 1
    wrong[np.arange(n), y] += 2 * ROUNDING
    wrong += (n + 8) * ROUNDING * np.abs(rest)  # of the sums over rows, and of the products in them
    unit = z / (temperature * size)
    own = size * (scale * temperature - 1)
    own_wrong = 8 * ROUNDING * size * (np.abs(scale * temperature) + 1)
    gradient = np.concatenate([(unit * rest).sum(axis=0) + own, rest.sum(axis=0) + offset])
    errors = np.concatenate([(np.abs(unit) * wrong).sum(axis=0) + own_wrong, wrong.sum(axis=0)])
    errors += 4 * ROUNDING * np.concatenate([np.abs(own), np.abs(offset)])
    most = (np.abs(gradient) + 1.01 * errors) / n
    found = 1.01 * n * float(most @ most) / 2
    return found if np.isfinite(found) else float("inf")
