"""Whether two images show the same shot, or only look alike: the best alignment, and what correlates after it.

One image is laid over the other, mirrored or not, larger or smaller, at every shift; the best places are improved by
Gauss-Newton steps over affine maps. Two numbers judge the overlap: the correlation of lightness, which is high for
any two blue skies, and that of details, which is high only for the same shot. Neither changes with brightness and
contrast, and lightness hardly with the hue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from featx.audit.thumbnails import SIDE
from featx.core.specs import Progress, no_progress

SMALL = SIDE // 2
"""Side at which all pairs are looked at first."""

WINDOWS = {SMALL: 12, SIDE: 22}
"""By the images' side, that of the middle part of one image that is looked for in the other: at shifts of up to 4 px
of 32 either way, then 5."""

ZOOMS = {SMALL: (1.18,), SIDE: (1.12, 1.25)}
"""How much larger one of the two may be shown; steps between them are left to the improvement."""

PROMISING = {SMALL: 0.5, SIDE: 0.5}
"""Correlation of details at the best place, below which a pair is not looked at more closely."""

EDGE = 2
"""px beside the edges of the overlap that are not judged: blurring brings into them what lies beyond, such as
the black that comes in where an image was shifted."""

LINE = 0.2
"""Details that change along one direction alone (a stick, a horizon, an obelisk) fit many others: where the smaller
eigenvalue of their structure tensor is less than this share of the larger one, what is unlike counts more, as the
square of what is missing: of such images only copies that hardly changed are told from look-alikes."""

STEPS = 6
"""Of Gauss-Newton."""

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
    hot = np.flatnonzero(_aligned(*small)[0].numpy() > PROMISING[SMALL])
    if not len(hot):
        return
    coarse, theta, mirrored = _aligned(fine[0][hot], fine[1][hot])
    found.details[rows[hot]] = coarse.numpy()
    found.mirrored[rows[hot]] = mirrored.numpy()
    close = coarse > PROMISING[SIDE]
    hot, theta, mirrored = hot[close.numpy()], theta[close], mirrored[close]
    if not len(hot):
        return
    flip = mirrored[:, None, None]
    moving = torch.where(flip, second[hot].flip(-1), second[hot])
    moved = torch.where(flip, fine[1][hot].flip(-1), fine[1][hot])
    theta = _improved(fine[0][hot], moved, theta)
    details = _agreement(fine[0][hot], moved, theta, EDGE).clamp(min=0).numpy()
    light = _agreement(first[hot], moving, theta, EDGE).clamp(min=0).numpy()
    found.details[rows[hot]] = details
    found.lightness[rows[hot]] = light
    unlike = (1 - np.sqrt(details * light)).clip(min=0)
    mask = _inside(theta, EDGE)
    spread = torch.minimum(_spread(fine[0][hot], mask), _spread(_warped(moved, theta), mask))
    found.score[rows[hot]] = (1 - unlike * (LINE / spread.numpy().clip(min=1e-6)).clip(min=1) ** 2).clip(min=0)
    found.zoom[rows[hot]] = torch.linalg.det(theta[:, :, :2]).abs().sqrt().numpy()


def details_of(light: torch.Tensor) -> torch.Tensor:
    """Return images without what is larger than a few px, and without single pixels' noise, (m, SIDE, SIDE)."""
    return _blurred(light, 0.6) - _blurred(light, 2.5)


def _blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    along = _blur(images.shape[-1], sigma)
    return along @ images @ along.T


@cache
def _blur(side: int, sigma: float) -> torch.Tensor:
    """Return the matrix that blurs a line of px, its ends mirrored: as a product, far faster than a convolution."""
    radius = int(3 * sigma + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    lines = functional.pad(torch.eye(side)[:, None], (radius, radius), mode="reflect")
    return functional.conv1d(lines, (kernel / kernel.sum())[None, None])[:, 0].T.contiguous()


@cache
def _sums(side: int, window: int) -> torch.Tensor:
    """Return the matrix that sums each `window` neighbours of a line of px."""
    first, px = torch.arange(side - window + 1)[:, None], torch.arange(side)
    return ((px >= first) & (px < first + window)).float()


def _aligned(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the best correlation of details, the map that gives it, (m, 2, 3), and whether the second is mirrored."""
    m, side = len(first), first.shape[-1]
    best, mirrored = torch.full((m,), -1.0), torch.zeros(m, dtype=torch.bool)
    theta = torch.zeros(m, 2, 3)
    # Which of the two is enlarged, and how much.
    zooms = ZOOMS[side]
    for zoom_first, zoom_second in ((1.0, 1.0), *((zoom, 1.0) for zoom in zooms), *((1.0, zoom) for zoom in zooms)):
        windows = _windows(_zoomed(first, zoom_first))
        larger = _zoomed(second, zoom_second)
        for flip in (False, True):
            field = larger.flip(-1) if flip else larger
            value, y, x = _slide(windows, field)
            wins = value > best
            best = torch.where(wins, value, best)
            mirrored = torch.where(wins, torch.tensor(flip), mirrored)
            scale = zoom_first / zoom_second
            # grid_sample's coordinates run from -1 to 1; a point p of the first is at scale * p + shift in the second.
            shift = torch.stack([x, y], dim=1) * (2 / side) / zoom_second
            new = torch.zeros(m, 2, 3)
            new[:, 0, 0] = new[:, 1, 1] = scale
            new[:, :, 2] = shift
            theta = torch.where(wins[:, None, None], new, theta)
    return best, theta, mirrored


def _zoomed(images: torch.Tensor, zoom: float) -> torch.Tensor:
    if zoom == 1:
        return images
    theta = torch.tensor([[1 / zoom, 0, 0], [0, 1 / zoom, 0]]).expand(len(images), 2, 3)
    return _warped(images, theta)


def _warped(images: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    grid = functional.affine_grid(theta, [len(images), 1, *images.shape[-2:]], align_corners=False)
    warped: torch.Tensor = functional.grid_sample(images[:, None], grid, padding_mode="border", align_corners=False)
    return warped[:, 0]


def _windows(images: torch.Tensor) -> torch.Tensor:
    """Return the middle parts, centred and of length 1."""
    side = images.shape[-1]
    window = WINDOWS[side]
    edge = (side - window) // 2
    part = images[:, edge : edge + window, edge : edge + window]
    part = part - part.mean(dim=(1, 2), keepdim=True)
    found: torch.Tensor = part / part.flatten(1).norm(dim=1).clamp(min=1e-6)[:, None, None]
    return found


def _slide(windows: torch.Tensor, fields: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the best correlation of each window with a part of its field, and the shift, px down and right."""
    window, side = windows.shape[-1], fields.shape[-1]
    places = side - window + 1
    product = torch.fft.rfft2(fields) * torch.fft.rfft2(windows, s=(side, side)).conj()
    # No place wraps around: the window lies within the field at all of these.
    products = torch.fft.irfft2(product, s=(side, side))[:, :places, :places]
    along = _sums(side, window)
    sums, squares = (along @ values @ along.T for values in (fields, fields**2))
    norms = (squares - sums**2 / window**2).clamp(min=0).sqrt()
    value, where = (products / norms.clamp(min=1e-3)).flatten(1).max(dim=1)
    edge = (side - window) // 2
    return value, (where // places - edge).float(), (where % places - edge).float()


def _inside(theta: torch.Tensor, edge: int = 0) -> torch.Tensor:
    """Mark which px of the first image lie within the second, float (m, SIDE, SIDE); none of its outermost ones.

    Nor those that are less than `edge` px away from the edges of either.
    """
    grid = functional.affine_grid(theta, [len(theta), 1, SIDE, SIDE], align_corners=False)
    marked = ((grid.abs() <= 1 - (1 + 2 * edge) / SIDE).all(dim=-1)).float()
    if edge:
        marked = functional.pad(marked[:, edge:-edge, edge:-edge], (edge,) * 4)
    return marked


def _standard(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return images with mean 0 and length 1 within the mask, 0 outside."""
    weight = mask.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    centred = (images - (images * mask).sum(dim=(1, 2), keepdim=True) / weight) * mask
    found: torch.Tensor = centred / centred.flatten(1).norm(dim=1).clamp(min=1e-6)[:, None, None]
    return found


def _agreement(first: torch.Tensor, second: torch.Tensor, theta: torch.Tensor, edge: int = 0) -> torch.Tensor:
    """Return the correlation of the first with the second as a map shows it, where they overlap, (m,)."""
    mask = _inside(theta, edge)
    return (_standard(first, mask) * _standard(_warped(second, theta), mask)).sum(dim=(1, 2))


def _slopes(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the differences of the px to the right and left, and below and above, 0 at the edges, (m, SIDE, SIDE)."""
    x = functional.pad(images[:, :, 2:] - images[:, :, :-2], (1, 1))
    return x, functional.pad(images[:, 2:, :] - images[:, :-2, :], (0, 0, 1, 1))


def _spread(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return how much the images change across the direction of most change, within the mask: 0 to 1, (m,).

    The ratio of the eigenvalues of the structure tensor (Foerstner and Guelch, 1987): 0 for straight lines.
    """
    x, y = (slopes * mask for slopes in _slopes(images))
    xx, xy, yy = (values.sum(dim=(1, 2)) for values in (x * x, x * y, y * y))
    total, difference = xx + yy, ((xx - yy) ** 2 + 4 * xy**2).sqrt()
    found: torch.Tensor = ((total - difference) / (total + difference).clamp(min=1e-12)).clamp(min=0)
    return found


def _improved(first: torch.Tensor, second: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Return maps that align better, (m, 2, 3): Gauss-Newton steps, of which only improvements are kept."""
    line = (torch.arange(SIDE) * 2 + 1) / SIDE - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    slope_x, slope_y = (slopes * (SIDE / 4) for slopes in _slopes(second))
    best, best_theta, current = _agreement(first, second, theta), theta, theta
    for _ in range(STEPS):
        mask = _inside(current)
        warped = _warped(second, current)
        gx, gy = _warped(slope_x, current), _warped(slope_y, current)
        columns = torch.stack([gx * x, gx * y, gx, gy * x, gy * y, gy, warped, torch.ones_like(warped)], dim=1)
        A = (columns * mask[:, None]).flatten(2)
        target = (_standard(first, mask) * _length(warped, mask)).flatten(1)
        # What the present map lacks, with gain and offset free: the first six are the step.
        normal = A @ A.mT
        ridge = 1e-3 * normal.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None] * torch.eye(8)
        step = torch.linalg.solve(normal + ridge, A @ target[..., None])[..., 0]
        gain = step[:, 6].clamp(min=0.3)[:, None]
        current = current + (step[:, :6] / gain).clamp(-0.2, 0.2).view(-1, 2, 3)
        value = torch.where(_plausible(current), _agreement(first, second, current), torch.tensor(-1.0))
        wins = value > best
        best = torch.where(wins, value, best)
        best_theta = torch.where(wins[:, None, None], current, best_theta)
    return best_theta


def _length(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the length of images within the mask once they are centred, (m, 1, 1)."""
    weight = mask.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    centred = (images - (images * mask).sum(dim=(1, 2), keepdim=True) / weight) * mask
    found: torch.Tensor = centred.flatten(1).norm(dim=1)[:, None, None]
    return found


def _plausible(theta: torch.Tensor) -> torch.Tensor:
    """Mark maps that still show about half of the image, neither turned nor stretched much."""
    scale = torch.linalg.det(theta[:, :, :2])
    skewed = (theta[:, 0, 1].abs() > 0.25) | (theta[:, 1, 0].abs() > 0.25)
    stretched = (theta[:, 0, 0] / theta[:, 1, 1].clamp(min=1e-3) - 1).abs() > 0.25
    enough = _inside(theta).mean(dim=(1, 2)) > 0.5
    found: torch.Tensor = enough & ~skewed & ~stretched & (scale > 0.45) & (scale < 2.2)
    return found
