"""Temperature scaling: the one number by which all logits are divided, to its optimum and with a proof of it.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017. The mean log loss of rows is convex
in 1/T. Written as ``t u``, where u are the logits divided by their spread (the root mean square of what is left of each
row's without its mean), the objective is

    mean_i [log sum_c exp(t u_ic) - t u_iy] + RIDGE t^2 / 2,    FLATTEST <= t <= STEEPEST,

so that multiplying all logits by a number changes nothing. The ridge is far below what float64 shows of a temperature
that the rows determine, and is there for those that do not: where every row is right, T would be 0. The bounds keep T
positive and finite where the model is worse than guessing, and the best T would be infinite or negative.

The derivative rises with t. Its sign is known wherever it is larger than its own rounding error; between two points of
different signs lies the minimum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.probes.logit_scaling import ROUNDING, SMALLEST, FittedScaling, Floats, checked_rows, share_errors, shares_of

RIDGE = 1e-12
FLATTEST, STEEPEST = 1e-4, 1e6
MOST_STEPS = 200
_BLOCK = 1 << 21
"""Values computed with at a time."""

SEPARABLE = (
    "every validation row is right at any temperature, so that they set no lower limit to it, and probabilities will "
    "be too sure: give more validation rows"
)
NO_BETTER = "no temperature is better than guessing on the validation rows: the largest that is allowed was taken"
FLAT = "all classes have equal logits in each validation row: temperatures make no difference, and it is 1"


class _Slope(NamedTuple):
    """The objective's derivative at a point, its curvature, and how far rounding may have moved the derivative."""

    value: float
    curvature: float
    error: float

    @property
    def sign(self) -> int:
        """1 or -1, as in exact arithmetic; 0 where rounding hides it."""
        return 1 if self.value > self.error else -1 if self.value < -self.error else 0


@dataclass(frozen=True)
class _Line:
    """The objective along t; u (n, k) is 0 at each row's own class."""

    u: Floats

    def _blocks(self) -> Iterator[Floats]:
        step = max(1, _BLOCK // self.u.shape[1])
        return (self.u[start : start + step] for start in range(0, len(self.u), step))

    def slope(self, t: float) -> _Slope:
        n, k = self.u.shape
        slopes: list[float] = []
        curvature = error = 0.0
        for u in self._blocks():
            p, _ = shares_of(t * u)
            mean = np.einsum("ij,ij->i", p, u)
            size = np.abs(u)
            slopes += mean.tolist()
            curvature += float(np.einsum("ij,ij,ij->", p, u, u) - mean @ mean)
            error += float(share_errors(t * size.max(axis=1), k) @ np.einsum("ij,ij->i", p, size))
        ridge = RIDGE * t
        value = math.fsum(slopes) / n + ridge  # an exact sum: its terms cancel
        rounding = 1.01 * error / n + 4 * ROUNDING * (abs(value) + 2 * ridge) + float(np.finfo(np.float64).tiny)
        return _Slope(value, max(0.0, curvature / n) + RIDGE, rounding)

    def objective(self, t: float) -> float:
        losses = [shares_of(t * u)[1] for u in self._blocks()]
        return float(np.concatenate(losses).mean()) + RIDGE * t * t / 2


def fit_temperature(logits: ArrayLike, y: ArrayLike) -> FittedScaling:
    """Return the temperature of least log loss.

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
    k = values.shape[1]
    u, spread = _relative(values, labels)
    if spread == 0:
        return FittedScaling(np.ones(k), np.zeros(k), 1.0, (0.0, math.inf), math.log(k), 0.0, 0, (FLAT,))
    t, (low, high), gap, steps = _minimum(line := _Line(u))
    notes = (SEPARABLE,) if _is_separable(u, labels) else (NO_BETTER,) if t == FLATTEST else ()
    ends = (spread / high * (1 - 4 * ROUNDING), spread / low * (1 + 4 * ROUNDING))
    return FittedScaling(np.full(k, t / spread), np.zeros(k), spread / t, ends, line.objective(t), gap, steps, notes)


def _relative(values: Floats, labels: NDArray[np.int64]) -> tuple[Floats, float]:
    """Return logits minus those of the rows' own classes, in units of their spread, and the spread."""
    _, exponent = math.frexp(float(np.abs(values).max()))
    scaled = np.ldexp(values, -exponent)  # exact, and no square overflows
    centred = scaled - scaled.mean(axis=1, keepdims=True)
    spread = float(np.sqrt(np.mean(np.square(centred))))
    margins = scaled - scaled[np.arange(len(labels)), labels][:, None]
    original = math.ldexp(spread, exponent)
    if spread < 4 * ROUNDING or original < SMALLEST or not margins.any():
        return margins, 0.0
    return margins / spread, original


def _is_separable(u: Floats, labels: NDArray[np.int64]) -> bool:
    others = np.ones(u.shape, np.bool_)
    others[np.arange(len(labels)), labels] = False
    return bool((u[others] < 0).all())


def _minimum(line: _Line) -> tuple[float, tuple[float, float], float, int]:
    """Return the best t, two points that it lies between, a bound on the objective's excess, and the steps taken."""
    for end, outwards in ((FLATTEST, 1), (STEEPEST, -1)):
        if line.slope(end).sign == outwards:
            return end, (end, end), 0.0, 0
    low, high = FLATTEST, STEEPEST
    t, steps = 1.0, 0
    while steps < MOST_STEPS:
        found, steps = line.slope(t), steps + 1
        low, high = (t if found.sign < 0 else low), (t if found.sign > 0 else high)
        after = t - found.value / found.curvature
        # Far from the minimum a Newton step may lead out of what is known.
        after = after if low < after < high else math.sqrt(low * high)
        if found.sign == 0 or after == t:
            break
        t = after
    low, high = _narrowed(line, t, low, high)
    found = line.slope(t)
    gap = (abs(found.value) + found.error) * max(high - t, t - low)
    return t, (low, high), gap, steps


def _narrowed(line: _Line, t: float, low: float, high: float) -> tuple[float, float]:
    """Return the nearest points beside t, of those tried, at which the derivative's signs are certain."""
    found = line.slope(t)
    first = max(4 * float(np.spacing(t)), 2 * found.error / found.curvature)
    ends = []
    for side, end in ((-1, low), (1, high)):
        width = first
        while (beside := t + side * width) * side < end * side:
            if line.slope(beside).sign == side:
                end = beside
                break
            width *= 4
        ends.append(end)
    return ends[0], ends[1]
