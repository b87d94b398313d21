"""Newton steps by a square root of the Hessian: they know curvatures that rounding has taken out of the sum.

The loss's Hessian is a sum of squares ``R^T R``, with one row of R for each sample and class. Where some samples weigh
1e20 times what others do, as under heavy tails, the sum has lost the others. R knows its singular values to the
rounding of the largest, and so the Hessian's eigenvalues to the square of that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from featx.probes.curvature import root_of
from featx.probes.newton import NewtonStep
from featx.probes.objective import row_terms
from featx.probes.problem import Problem, working_blocks

MOST_WEIGHTS, MOST_WORK = 512, 2e10
"""A root is formed for so many weights at most, and for so many multiplications: about a second's."""

BLOCK_VALUES = 2**22
"""Values of the root that are formed at once."""

CANCELLED = 1e-11
"""Columns cancel along a step that moves a sample's logits by no more than this part of their largest terms."""


def has_root(problem: Problem) -> bool:
    """Whether the problem is small enough for `root_step`."""
    weights = problem.n_rows * len(problem.ridge)
    return weights <= MOST_WEIGHTS and problem.X.shape[0] * problem.n_rows * weights**2 <= MOST_WORK


def root_step(problem: Problem, theta: Tensor) -> NewtonStep:
    """Return the Newton step at `theta`.

    Along directions whose curvature is less than rounding no step is taken, but what they promise is told.

    Parameters
    ----------
    problem : Problem
        In float64, and small (`has_root`).
    theta : Tensor of shape (k, p)
    """
    size = theta.numel()
    rounding = 8 * size * torch.finfo(torch.float64).eps
    root, slopes = _along(problem, theta, torch.eye(size).to(theta).view(size, *theta.shape))
    if len(theta) > 1:  # weights that all classes share change the penalty alone
        slopes = slopes.view_as(theta)
        slopes = torch.where(problem.ridge == 0, slopes - slopes.mean(0), slopes).flatten()
    length = root.norm(dim=0)
    if not bool(torch.isfinite(length).all()) or bool(slopes[length == 0].any()):
        return NewtonStep(torch.zeros_like(theta), 0.0, False)
    found = _solve(root, slopes, rounding)
    step, hidden = found.step, 0.0
    alone = (root[:-size] == 0).all(0) & (length > 0)  # weights that know of nothing but their own penalty
    step[alone] = slopes[alone] / root[:, alone].square().sum(0)
    if len(found.lost):
        hidden = _promise(problem, theta, found.lost.view(-1, *theta.shape), rounding, found.seen)
    return NewtonStep(step.view_as(theta), found.decrement, True, hidden)


class _Solved(NamedTuple):
    """The solution of ``R^T R step = slopes`` (m,), ``step . slopes``, and what rounding leaves out of both.

    That are the directions (l, m) whose curvature is less than the rounding of the largest, and what they would take
    off if they had that.
    """

    step: Tensor
    decrement: float
    lost: Tensor
    seen: float


def _solve(root: Tensor, slopes: Tensor, rounding: float) -> _Solved:
    length = root.norm(dim=0)
    length[length == 0] = 1.0
    _, values, vectors = torch.linalg.svd(root / length, full_matrices=False)
    parts = vectors @ (slopes / length)
    least = rounding * values[0]
    known = values > least
    step = (vectors[known].T @ (parts[known] / values[known].square())) / length
    decrement, seen = (parts[known] / values[known]).square().sum(), (parts[~known] / least).square().sum()
    return _Solved(step, float(decrement), vectors[~known] / length, float(seen))


def _promise(problem: Problem, theta: Tensor, lost: Tensor, rounding: float, seen: float) -> float:
    """Return what steps (m, k, p) whose curvature is lost promise, by the samples that they move at all.

    Where they move none, the columns of X cancel, and nothing but their penalty has something to gain. Else what was
    `seen` counts where it is more.
    """
    root, slopes = _along(problem, theta, lost)
    moves = root.norm(dim=0) > 0
    return max(_solve(root[:, moves], slopes[moves], rounding).decrement, seen) if bool(moves.any()) else 0.0


class _Along(NamedTuple):
    """A root of the Hessian (r, m) for m steps, and the objective's slopes along them (m,)."""

    root: Tensor
    slopes: Tensor


def _along(problem: Problem, theta: Tensor, steps: Tensor) -> _Along:
    """Return what the objective does at theta along steps (m, k, p)."""
    slopes = torch.zeros(len(steps), dtype=theta.dtype, device=theta.device)

    def rows() -> Iterator[Tensor]:
        for target, weight, block in _parts(problem, len(theta) * len(steps)):
            logits = theta @ block.T
            moved = _moved(steps, block, logits)
            roots = _logit_roots(logits) * weight.sqrt()
            slopes.add_(torch.einsum("kn,mkn->m", row_terms(logits, target)[1] * weight, moved))
            yield torch.einsum("ckn,mkn->ncm", roots, moved).reshape(-1, len(steps))

    loss = root_of(rows(), len(steps), theta.device)
    counts = steps.abs() > CANCELLED * steps.abs().amax((1, 2), keepdim=True)
    paid = steps * counts * problem.ridge.sqrt()
    return _Along(
        torch.cat([math.sqrt(problem.C) * loss, paid.flatten(1).T]),
        problem.C * slopes + (paid * theta * problem.ridge.sqrt()).sum((1, 2)),
    )


def _parts(problem: Problem, values: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield classes, weights and samples in working units, so many that `values` for each are not too much."""
    most = max(1, BLOCK_VALUES // values)
    for rows, block in working_blocks(problem):
        target, weight = problem.target[rows], problem.weight[rows]
        for at in range(0, len(block), most):
            yield target[at : at + most], weight[at : at + most], block[at : at + most]


def _moved(steps: Tensor, block: Tensor, logits: Tensor) -> Tensor:
    """Return how steps (m, k, p) move each sample's logits against its likeliest class's: (m, k, n).

    Where columns cancel, that is 0.
    """
    moved, terms = steps @ block.T, steps.abs() @ block.abs().T
    if len(logits) > 1:
        likeliest = logits.argmax(0).expand(len(steps), 1, -1)
        moved, terms = moved - moved.gather(1, likeliest), terms + terms.gather(1, likeliest)
    # Of all classes: where one's columns cancel, the others' weights may be nothing but rounding.
    return torch.where(moved.abs() > CANCELLED * terms.amax(1, keepdim=True), moved, 0.0)


def _logit_roots(logits: Tensor) -> Tensor:
    """Return B (k, k, n) of each sample: ``B^T B`` is its loss's Hessian by the logits (k, n).

    For three or more classes ``B = diag(sqrt(p)) - sqrt(p) p^T``. Its diagonal's 1 - p is summed up from the other
    classes, so that nothing is lost where a model is sure.
    """
    if len(logits) == 1:
        return (torch.sigmoid(logits) * torch.sigmoid(-logits)).sqrt()[None]
    share = torch.softmax(logits, dim=0)
    others = torch.stack([torch.cat([share[:c], share[c + 1 :]]).sum(0) for c in range(len(share))])
    roots = -share.sqrt()[:, None] * share
    roots.diagonal(dim1=0, dim2=1).copy_((share.sqrt() * others).T)
    return roots
