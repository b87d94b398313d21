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

Product = Callable[[Tensor], Tensor]
"""Maps a step (k, p) to the Hessian times it."""

MAX_PRODUCTS = 200
SETTLED, DELAY = 0.1, 4
"""The decrement counts as known once the last `DELAY` products have added less than this part of it, ..."""

SOLVED = 1e-2
"""... and what is left of the gradient is this part of it at most, squared in the metric."""

EXACT = 1e-10
"""Where so little is left, the equation counts as solved however few the products were."""


FLAT_GRADIENT = 1e-6
"""The part of the gradient that directions without curvature may have by rounding."""

DENSE = 64
"""Up to so many weights the Hessian is formed, a product a weight, and the equation solved by its eigenvectors."""


@dataclass(frozen=True)
class NewtonStep:
    """The step V that (nearly) solves ``H V = g``, and ``g . V``: twice what it promises to take off the objective."""

    step: Tensor
    decrement: float
    settled: bool

    def norm(self, value: float) -> float:
        """Return ``sqrt(g . H^-1 g / (2 f))``, the scale-free gradient norm in the Hessian's own metric."""
        if not self.settled:
            return math.inf
        return math.sqrt(self.decrement / (2 * value)) if value > 0 else math.inf


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
    is_small = gradient.numel() <= DENSE
    if is_small and (solved := _dense_step(product, gradient)) is not None:
        return solved
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
    # Where not even the whole Hessian tells, neither do its products.
    return NewtonStep(step, sum(gains), settled and not is_small)


def _dense_step(product: Product, gradient: Tensor) -> NewtonStep | None:
    """Return the step by all of the Hessian, or None where rounding decides.

    Where some rows weigh 1e20 times what others do and are all but certain, no metric of the columns fits the Hessian,
    and conjugate gradients never see what the other rows want. Its own diagonal takes out most of that.
    """
    size = gradient.numel()
    units = torch.eye(size, dtype=gradient.dtype, device=gradient.device).view(size, *gradient.shape)
    hessian = torch.stack([product(unit).reshape(-1) for unit in units])
    scale = hessian.diagonal().clamp(min=0).sqrt()
    scale[scale == 0] = 1.0
    scaled = (hessian + hessian.T) / (2 * scale[:, None] * scale)
    right = gradient.reshape(-1) / scale
    if not (bool(torch.isfinite(scaled).all()) and bool(torch.isfinite(right).all())):
        return None
    values, vectors = torch.linalg.eigh(scaled)
    along = vectors.T @ right
    # Directions without curvature, such as that of all classes at once, have no gradient either.
    known = values > 8 * size * torch.finfo(gradient.dtype).eps * values[-1]
    if bool((along[~known].abs() > FLAT_GRADIENT * right.norm()).any()):
        return None
    step = (vectors[:, known] @ (along[known] / values[known])) / scale
    return NewtonStep(step.view_as(gradient), float((along[known].square() / values[known]).sum()), True)


def minimise_by_newton(
    function: Function,
    product_at: Callable[[Tensor], Product],
    build_metric: Callable[[Tensor, float], Metric],
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
    product_at : callable
        Point -> the Hessian's product there.
    build_metric, start, max_iter, noise
        As `featx.probes.lbfgs.minimise`.
    tol : float
        Stop once `NewtonStep.norm` is at most this.
    """
    point, at = start, function(start)
    n_iter, evaluations = 0, 1
    while True:
        found = newton_step(product_at(point), at.gradient, build_metric(point, at.curvature))
        norm = found.norm(at.value)
        if norm <= tol or n_iter >= max_iter or not math.isfinite(at.value):
            break
        search = line_search(function, point, at, -found.step, noise)
        evaluations += search.trials
        if search.found is None:
            break
        point, at = point + search.step, search.found
        n_iter += 1
    return Solution(point, at.value, norm, n_iter, evaluations, norm <= tol)
