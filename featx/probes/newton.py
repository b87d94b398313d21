"""Truncated Newton steps: the true Hessian, by its products alone, in the metric of the curvature.

The metric takes every class for the mean of all; the Hessian does not. What it promises is therefore what is left of
the objective, where the metric's promise may be far too small: for classes that are rare or all but certain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from featx.probes.curvature import Metric
from featx.probes.lbfgs import Function, Solution, line_search
from featx.probes.objective import Evaluation

Product = Callable[[Tensor], Tensor]
"""Maps a step (k, p) to the Hessian times it."""

MAX_PRODUCTS = 200
SETTLED, DELAY = 0.1, 4
"""The decrement counts as known once the last `DELAY` products have added less than this part of it, ..."""

SOLVED = 1e-2
"""... and what is left of the gradient is this part of it at most, squared in the metric."""

EXACT = 1e-10
"""Where so little is left, the equation counts as solved however few the products were."""


@dataclass(frozen=True)
class NewtonStep:
    """The step V that (nearly) solves ``H V = g``, and ``g . V``: twice what it promises to take off the objective."""

    step: Tensor
    decrement: float
    settled: bool
    hidden: float = 0.0
    """What directions whose curvature rounding hides may promise besides."""

    def norm(self, value: float) -> float:
        """Return ``sqrt(g . H^-1 g / (2 f))``, the scale-free gradient norm in the Hessian's own metric."""
        return self._norm(self.decrement + self.hidden, value)

    def norm_to_be_had(self, value: float) -> float:
        """Return the part of `norm` that the step can take away."""
        return self._norm(self.decrement, value)

    def _norm(self, decrement: float, value: float) -> float:
        return math.sqrt(decrement / (2 * value)) if self.settled and value > 0 else math.inf


StepAt = Callable[[Tensor, Evaluation], NewtonStep]
"""Maps a point and the Evaluation there to the step to take off."""


def newton_step(
    product: Product, gradient: Tensor, metric: Metric, *, settle: float = SETTLED, limit: int = MAX_PRODUCTS
) -> NewtonStep:
    """Solve ``H V = g`` by conjugate gradients with the metric as preconditioner (Hestenes and Stiefel 1952).

    Stops where the decrement has settled: its part that is still to come is about what the last products added
    (Strakoš and Tichý 2002).

    Parameters
    ----------
    product : callable
        Step -> the Hessian times it.
    gradient : Tensor of shape (k, p)
    metric : callable
    settle : float
        The last `DELAY` products may have added this part of the decrement.
    limit : int
        Products at most.
    """
    step, left = torch.zeros_like(gradient), gradient.clone()
    asked = metric(left)
    along, size = asked, float((left * asked).sum())
    first, gains = size, list[float]()
    settled = not bool(gradient.any())
    while not settled and len(gains) < limit and size > 0 and math.isfinite(size):
        curved = product(along)
        curvature = float((along * curved).sum())
        if not (curvature > 0 and math.isfinite(curvature)):  # all rounding
            settled = size <= settle * sum(gains)
            break
        length = size / curvature
        step += length * along
        left -= length * curved
        gains.append(length * size)
        asked = metric(left)
        size, before = float((left * asked).sum()), size
        steady = len(gains) > DELAY and sum(gains[-DELAY:]) <= settle * sum(gains)
        settled = size <= EXACT * first or (steady and size <= SOLVED * first)
        along = asked + (size / before) * along
    return NewtonStep(step, sum(gains), settled)


def minimise_by_newton(
    function: Function,
    step_at: StepAt,
    start: Tensor,
    *,
    tol: float,
    max_iter: int,
    noise: float,
) -> Solution:
    """Minimise a smooth convex function by truncated Newton steps along lines.

    Parameters
    ----------
    function : callable
        Point -> Evaluation.
    step_at : callable
        Point and the Evaluation there -> the step to take off.
    start, max_iter, noise
        As `featx.probes.lbfgs.minimise`.
    tol : float
        Stop once `NewtonStep.norm` is at most this.
    """
    point, at = start, function(start)
    n_iter, evaluations = 0, 1
    while True:
        found = step_at(point, at)
        norm = found.norm(at.value)
        if found.norm_to_be_had(at.value) <= tol or n_iter >= max_iter or not math.isfinite(at.value):
            break
        search = line_search(function, point, at, -found.step, noise)
        evaluations += search.trials
        if search.found is None:
            break
        point, at = point + search.step, search.found
        n_iter += 1
    return Solution(point, at.value, norm, n_iter, evaluations, norm <= tol)
