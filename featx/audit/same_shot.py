"""Whether two images show the same shot, or only look alike: the best alignment, and what correlates after it.

One image is laid over the other, mirrored or not, larger or smaller, at every shift; the best places are improved by
Gauss-Newton steps over affine maps. Two numbers judge the overlap: the correlation of lightness, which is high for
any two blue skies, and that of details, which is high only for the same shot. Neither changes with brightness and
contrast, and lightness hardly with the hue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from featx.audit.alignment import SMALL, agreement, align, details_of, improve, inside, slopes_of, warp
from featx.audit.thumbnails import SIDE
from featx.core.specs import Progress, no_progress

PROMISING = 0.5
"""Correlation of details at the best place, below which a pair is not looked at more closely."""

EDGE = 2
"""px beside the edges of the overlap that are not judged: blurring brings into them what lies beyond, such as
the black that comes in where an image was shifted."""

LINE = 0.2
"""Details that change along one direction alone (a stick, a horizon, an obelisk) fit many others: where the smaller
eigenvalue of their structure tensor is less than this share of the larger one, what is unlike counts more, as the
square of what is missing: of such images only copies that hardly changed are told from look-alikes."""

BATCH = 512

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Match:
    """How well pairs of images agree once they are aligned, all of shape (m,).

    Parameters
    ----------
    score : ndarray of float32
        0 to 1: the geometric mean of the two correlations, 0 where one is negative; less where all details lie along
        one line, see `LINE`.
    details, lightness : ndarray of float32
        Correlations in the overlap, of what remains after blurring is taken away, and of lightness itself.
    mirrored : ndarray of bool
        Whether one is the mirror image of the other.
    zoom : ndarray of float32
        How much larger the second shows things.
    """

    score: Floats
    details: Floats
    lightness: Floats
    mirrored: NDArray[np.bool_]
    zoom: Floats


def match(
    images: Callable[[NDArray[np.int64]], Floats],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    progress: Progress = no_progress,
) -> Match:
    """Align pairs of images, and say how well they agree.

    Parameters
    ----------
    images : callable
        Gives the lightness of images by their numbers, float32 (m, SIDE, SIDE), 0 to 255.
    a, b : ndarray of int64 of shape (m,)
        Which to compare.
    progress : callable
        Told of the pairs done.
    """
    score, details, light = np.zeros((3, len(a)), np.float32)
    found = Match(score, details, light, np.zeros(len(a), bool), np.ones(len(a), np.float32))
    for start in range(0, len(a), BATCH):
        rows = np.arange(start, min(start + BATCH, len(a)))
        first, second = (torch.from_numpy(images(numbers[rows])) for numbers in (a, b))
        _match(first, second, rows, found)
        progress("pixels", start + len(rows), len(a))
    return found


def _match(first: torch.Tensor, second: torch.Tensor, rows: NDArray[np.int64], found: Match) -> None:
    """Judge pairs, (m, SIDE, SIDE) each, ever fewer ever more closely; what is found of each goes to its row."""
    fine = details_of(first), details_of(second)
    small = tuple(functional.avg_pool2d(images[:, None], SIDE // SMALL)[:, 0] for images in fine)
    hot = np.flatnonzero(align(*small)[0].numpy() > PROMISING)
    if not len(hot):
        return
    coarse, theta, mirrored = align(fine[0][hot], fine[1][hot])
    found.details[rows[hot]] = coarse.numpy()
    found.mirrored[rows[hot]] = mirrored.numpy()
    close = coarse > PROMISING
    hot, theta, mirrored = hot[close.numpy()], theta[close], mirrored[close]
    if not len(hot):
        return
    flip = mirrored[:, None, None]
    moving = torch.where(flip, second[hot].flip(-1), second[hot])
    moved = torch.where(flip, fine[1][hot].flip(-1), fine[1][hot])
    theta = improve(fine[0][hot], moved, theta)
    details = agreement(fine[0][hot], moved, theta, EDGE).clamp(min=0).numpy()
    light = agreement(first[hot], moving, theta, EDGE).clamp(min=0).numpy()
    found.details[rows[hot]] = details
    found.lightness[rows[hot]] = light
    unlike = (1 - np.sqrt(details * light)).clip(min=0)
    mask = inside(theta, EDGE)
    spread = torch.minimum(_spread(fine[0][hot], mask), _spread(warp(moved, theta), mask))
    found.score[rows[hot]] = (1 - unlike * (LINE / spread.numpy().clip(min=1e-6)).clip(min=1) ** 2).clip(min=0)
    found.zoom[rows[hot]] = torch.linalg.det(theta[:, :, :2]).abs().sqrt().numpy()


def _spread(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return how much the images change across the direction of most change, within the mask: 0 to 1, (m,).

    The ratio of the eigenvalues of the structure tensor (Foerstner and Guelch, 1987): 0 for straight lines.
    """
    x, y = (slopes * mask for slopes in slopes_of(images))
    xx, xy, yy = (values.sum(dim=(1, 2)) for values in (x * x, x * y, y * y))
    total, difference = xx + yy, ((xx - yy) ** 2 + 4 * xy**2).sqrt()
    found: torch.Tensor = ((total - difference) / (total + difference).clamp(min=1e-12)).clamp(min=0)
    return found
