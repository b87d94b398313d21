"""Pure functions that minimise a smooth convex function: L-BFGS in the metric of the curvature."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from featx.probes.curvature import STALE, Metric
from featx.probes.objective import Evaluation

Function = Callable[[Tensor], Evaluation]
MEMORY = 10
"""Pairs of steps and gradient differences that L-BFGS keeps."""

MAX_TRIALS = 15
DECREASE, FLATTEN = 1e-4, 0.9
"""The strong Wolfe conditions' constants: of the value and of the slope."""

STALL_ITERATIONS = 20


@dataclass(frozen=True)
class Solution:
    """Where the solver stopped, and whether its scale-free `gradient_norm` is within the tolerance.

    `n_iter` counts steps, `n_evaluations` passes over the data; `is_proven` says that a certificate ended the way.
    """

    point: Tensor
    value: float
    gradient_norm: float
    n_iter: int
    n_evaluations: int
    converged: bool
    is_proven: bool = False


def gradient_norm(value: float, gradient: Tensor, step: Tensor) -> float:
    """Return the scale-free gradient norm ``sqrt(g . M^-1 g / (2 f))``.

    Parameters
    ----------
    value : float
        The objective f, positive.
    gradient, step : Tensor
        g, and ``M^-1 g`` with M the curvature that the metric stands for.

    Notes
    -----
    ``g . M^-1 g / 2`` is what one Newton step promises to take off f, so the norm's square estimates the part of the
    objective that is still to be had: at 1e-4 about 1e-8 of it. A plain norm of g says no such thing: it grows with
    the columns' units, and stays large along well-determined weights where next to nothing is left. This one does not
    change under n copies of the data with C / n, under columns in other units (X times a with C / a^2), under shifts
    of columns (with an intercept) or, with the full M, rotations.
    """
    product = float((gradient * step).sum())
    if product <= 0:
        return 0.0 if not bool(gradient.any()) else math.inf
    return math.sqrt(product / (2 * value)) if value > 0 else math.inf


def minimise(
    function: Function,
    start: Tensor,
    build_metric: Callable[[Tensor, float], Metric],
    *,
    tol: float,
    max_iter: int,
    noise: float,
) -> Solution:
    """Minimise a smooth convex function by L-BFGS (Nocedal 1980), its first guess of the Hessian being the metric.

    Parameters
    ----------
    function : callable
        Point -> Evaluation.
    start : Tensor
        float64.
    build_metric : callable
        (point, curvature there) -> Metric. Called at the start, and again wherever the curvature has changed by
        `STALE`.
    tol : float
        Stop once `gradient_norm` is at most this.
    max_iter : int
        Steps at most.
    noise : float
        Relative rounding error of the function's value: changes below it are judged by the slope alone. The search
        ends, not converged, where no step is left (`line_search`) or no progress (`has_stalled`).
    """
    point, at = start, function(start)
    metric, built_at, evaluations = build_metric(start, at.curvature), at.curvature, 1
    pairs: list[Pair] = []
    past: list[tuple[float, float]] = []
    n_iter, asked = 0, metric(at.gradient)
    while True:
        if at.curvature * STALE < built_at or at.curvature > built_at * STALE:
            metric, built_at = build_metric(point, at.curvature), at.curvature
            asked = metric(at.gradient)
        norm = gradient_norm(at.value, at.gradient, asked)
        past.append((at.value, norm))
        if norm <= tol or n_iter >= max_iter or not math.isfinite(at.value) or has_stalled(past, noise):
            break
        search = line_search(function, point, at, direction(at.gradient, pairs, metric), noise)
        evaluations += search.trials
        if search.found is None and pairs:
            # Old pairs may have led it astray: once more along the metric's own direction.
            pairs = []
            search = line_search(function, point, at, -asked, noise)
            evaluations += search.trials
        if search.found is None:
            break
        step, found = search.step, search.found
        before, asked = asked, metric(found.gradient)
        pairs = remember(pairs, step, found.gradient - at.gradient, asked - before)
        point, at = point + step, found
        n_iter += 1
    return Solution(point, at.value, norm, n_iter, evaluations, norm <= tol)


def has_stalled(past: list[tuple[float, float]], noise: float) -> bool:
    """Whether `STALL_ITERATIONS` steps have gained less than noise and not halved the norm; past: (value, norm)."""
    if len(past) <= STALL_ITERATIONS:
        return False
    (before, _), (now, _) = past[-1 - STALL_ITERATIONS], past[-1]
    best_before = min(norm for _, norm in past[:-STALL_ITERATIONS])
    best_since = min(norm for _, norm in past[-STALL_ITERATIONS:])
    return before - now < noise * abs(now) and best_since > best_before / 2


@dataclass(frozen=True)
class Pair:
    """A step s, the gradient's change y along it, ``1 / s.y``, and the metric's scale ``s.y / y.M^-1 y``."""

    step: Tensor
    change: Tensor
    inverse: float
    scale: float


def remember(pairs: list[Pair], step: Tensor, change: Tensor, asked: Tensor) -> list[Pair]:
    """Return the pairs with a new one, the oldest dropped; a pair without positive curvature is noise.

    `asked` is the metric's step for the `change` of the gradient.
    """
    product = float((step * change).sum())
    length = float((change * asked).sum())
    if not (product > 0 and length > 0 and math.isfinite(length)):
        return pairs
    return [*pairs, Pair(step, change, 1 / product, product / length)][-MEMORY:]


def direction(gradient: Tensor, pairs: list[Pair], metric: Metric) -> Tensor:
    """Return L-BFGS's direction: the two-loop recursion around the metric."""
    q = gradient.clone()
    taken: list[float] = []
    for pair in reversed(pairs):
        taken.append(pair.inverse * float((pair.step * q).sum()))
        q -= taken[-1] * pair.change
    q = metric(q)
    if pairs:
        q = q * pairs[-1].scale
    for pair, alpha in zip(pairs, reversed(taken), strict=True):
        q += (alpha - pair.inverse * float((pair.change * q).sum())) * pair.step
    return -q


@dataclass(frozen=True)
class Search:
    """A line search's end: the step and the evaluation there, or None where no step would do."""

    step: Tensor
    found: Evaluation | None
    trials: int


def line_search(function: Function, point: Tensor, at: Evaluation, along: Tensor, noise: float) -> Search:
    """Find a step that meets the strong Wolfe conditions, first trying the whole of `along`.

    On a convex function the slope rises along the line, so it alone says on which side of the minimum a trial lies.
    Where the value's change drowns in `noise`, the slope decides alone (as with Hager and Zhang 2005). Where the slope
    turns too sharply to be met, the furthest trial that lowers the value will do.
    """
    slope = float((at.gradient * along).sum())
    if not slope < 0:
        return Search(along, None, 0)
    low, low_slope, high, high_slope = 0.0, slope, math.inf, math.nan
    lowest: Evaluation | None = None
    length = 1.0
    for trial in range(1, MAX_TRIALS + 1):
        found = function(point + length * along)
        new_slope = float((found.gradient * along).sum())
        usable = math.isfinite(found.value) and math.isfinite(new_slope)
        allowed = at.value + DECREASE * length * slope + noise * abs(at.value)
        lower = usable and found.value <= allowed
        if lower and abs(new_slope) <= FLATTEN * -slope:
            return Search(length * along, found, trial)
        if usable and new_slope < 0 and lower:
            low, low_slope, lowest = length, new_slope, found
        else:
            high, high_slope = length, new_slope if usable else math.nan
        # The secant creeps along a bracket with a bend in it: every third trial halves it.
        length = _next_length(low, low_slope, high, high_slope if trial % 3 else math.nan)
    return Search(low * along, lowest, MAX_TRIALS)


def _next_length(low: float, low_slope: float, high: float, high_slope: float) -> float:
    """Guess where the slope is zero: by the secant within the bracket, by doubling while there is none."""
    if math.isinf(high):
        return 2 * low
    middle = (low + high) / 2
    if not high_slope > 0:
        return middle
    secant = low + (high - low) * low_slope / (low_slope - high_slope)
    edge = 0.1 * (high - low)
    return min(max(secant, low + edge), high - edge)
