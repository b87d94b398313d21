"""Where one image lies over another: the best place, mirrored or not, larger or smaller, then the best affine map.

Maps are those of torch's `affine_grid`, (m, 2, 3): coordinates run from -1 to 1 across an image, and a map takes those
of the first image to those of the second.
"""

from __future__ import annotations

from functools import cache

import torch
from torch.nn import functional

from featx.audit.thumbnails import SIDE

SMALL = SIDE // 2
"""Side at which all pairs are looked at first."""

WINDOWS = {SMALL: 12, SIDE: 22}
"""By the images' side, that of the middle part of one image that is looked for in the other: at shifts of up to 4 px
of 32 either way, then 5."""

ZOOMS = {SMALL: (1.18,), SIDE: (1.12, 1.25)}
"""How much larger one of the two may be shown; steps between them are left to the improvement."""

STEPS = 6
"""Of Gauss-Newton."""


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


def align(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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
    return warp(images, theta)


def warp(images: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Return what a map shows of each image, (m, SIDE, SIDE); beyond its edges their px go on."""
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


def inside(theta: torch.Tensor, edge: int = 0) -> torch.Tensor:
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
    centred = _centred(images, mask)
    found: torch.Tensor = centred / _length(centred).clamp(min=1e-6)
    return found


def agreement(first: torch.Tensor, second: torch.Tensor, theta: torch.Tensor, edge: int = 0) -> torch.Tensor:
    """Return the correlation of the first with the second as a map shows it, where they overlap, (m,)."""
    mask = inside(theta, edge)
    return (_standard(first, mask) * _standard(warp(second, theta), mask)).sum(dim=(1, 2))


def slopes_of(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the differences of the px to the right and left, and below and above, 0 at the edges, (m, SIDE, SIDE)."""
    x = functional.pad(images[:, :, 2:] - images[:, :, :-2], (1, 1))
    return x, functional.pad(images[:, 2:, :] - images[:, :-2, :], (0, 0, 1, 1))


def improve(first: torch.Tensor, second: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Return maps that align better, (m, 2, 3): Gauss-Newton steps, of which only improvements are kept."""
    line = (torch.arange(SIDE) * 2 + 1) / SIDE - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    slope_x, slope_y = (slopes * (SIDE / 4) for slopes in slopes_of(second))
    best, best_theta, current = agreement(first, second, theta), theta, theta
    for _ in range(STEPS):
        mask = inside(current)
        warped = warp(second, current)
        gx, gy = warp(slope_x, current), warp(slope_y, current)
        columns = torch.stack([gx * x, gx * y, gx, gy * x, gy * y, gy, warped, torch.ones_like(warped)], dim=1)
        A = (columns * mask[:, None]).flatten(2)
        target = (_standard(first, mask) * _length(_centred(warped, mask))).flatten(1)
        # What the present map lacks, with gain and offset free: the first six are the step.
        normal = A @ A.mT
        ridge = 1e-3 * normal.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None] * torch.eye(8)
        step = torch.linalg.solve(normal + ridge, A @ target[..., None])[..., 0]
        gain = step[:, 6].clamp(min=0.3)[:, None]
        current = current + (step[:, :6] / gain).clamp(-0.2, 0.2).view(-1, 2, 3)
        value = torch.where(_plausible(current), agreement(first, second, current), torch.tensor(-1.0))
        wins = value > best
        best = torch.where(wins, value, best)
        best_theta = torch.where(wins[:, None, None], current, best_theta)
    return best_theta


def _centred(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return images with mean 0 within the mask, 0 outside."""
    weight = mask.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    found: torch.Tensor = (images - (images * mask).sum(dim=(1, 2), keepdim=True) / weight) * mask
    return found


def _length(images: torch.Tensor) -> torch.Tensor:
    """Return the length of images, (m, 1, 1)."""
    found: torch.Tensor = images.flatten(1).norm(dim=1)[:, None, None]
    return found


def _plausible(theta: torch.Tensor) -> torch.Tensor:
    """Mark maps that still show about half of the image, neither turned nor stretched much."""
    scale = torch.linalg.det(theta[:, :, :2])
    skewed = (theta[:, 0, 1].abs() > 0.25) | (theta[:, 1, 0].abs() > 0.25)
    stretched = (theta[:, 0, 0] / theta[:, 1, 1].clamp(min=1e-3) - 1).abs() > 0.25
    enough = inside(theta).mean(dim=(1, 2)) > 0.5
    found: torch.Tensor = enough & ~skewed & ~stretched & (scale > 0.45) & (scale < 2.2)
    return found
