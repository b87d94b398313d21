"""Solutions over several C, each one's way begun where the last ones point to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from featx.core.executors.worker import raise_if_stopped
from featx.probes.curvature import CurvatureMetrics
from featx.probes.lbfgs import Solution
from featx.probes.problem import Problem
from featx.probes.softmax_solver import fit_softmax


def fit_path(
    problem: Problem, Cs: Sequence[float], *, tol: float, max_iter: int, starts: Mapping[float, Tensor] | None = None
) -> Iterator[Solution]:
    """Yield the solution for each C, in the order given: best rising.

    The weights move smoothly with log C, so that the line through the last two solutions leads to within a few steps
    of the next (an Euler step along the regularisation path; Park and Hastie 2007). One curvature matrix serves until
    the curvature has changed too much.

    Parameters
    ----------
    problem : Problem
        Its own C is not used.
    Cs : sequence of float
        Positive.
    tol, max_iter : float, int
        Of each fit, as `fit_softmax`.
    starts : mapping of float to Tensor, optional
        Where a C begins instead: its solution for fewer rows, in working units.
    """
    metrics = CurvatureMetrics()
    past: list[tuple[float, Tensor]] = []
    for C in Cs:
        raise_if_stopped()
        start = (starts or {}).get(C)
        start = _ahead(past, C) if start is None else start
        solution = fit_softmax(replace(problem, C=C), tol=tol, max_iter=max_iter, start=start, metrics=metrics)
        past = [*past[-1:], (math.log(C), solution.point)]
        yield solution


def _ahead(past: Sequence[tuple[float, Tensor]], C: float) -> Tensor | None:
    """Return where the last two solutions point to, the only one, or None."""
    if not past:
        return None
    at, point = past[-1]
    if len(past) == 1 or past[0][0] == at:
        return point
    before, earlier = past[0]
    return point + (math.log(C) - at) / (at - before) * (point - earlier)
