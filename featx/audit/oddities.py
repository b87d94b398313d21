"""Images that look unlike the others: broken, constant, blurred, grey among coloured ones, of another size or shape."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import laplace

from featx.audit.thumbnails import each_image
from featx.core.specs import Progress, no_progress
from featx.data.source import Source

SIDE = 256
"""Sharpness is measured with the shorter side shrunk to this, px, at least: else it is a matter of size, and noise."""

FLAT = 2.0
"""Standard deviation of grey levels (0 to 255) below which an image is constant."""

COLOURLESS = 2.0
"""Mean difference between the largest and smallest channel (0 to 255) up to which an image is almost grey: what
JPEG's colours add to a grey image stays below."""

BROKEN = "broken"
"""Kind of an image that cannot be decoded."""

FAR = 3.5
"""Modified z-scores above this are outliers (Iglewicz and Hoaglin 1993, How to detect and handle outliers)."""

Floats = NDArray[np.float64]


class Facts(NamedTuple):
    """What is measured of an image.

    Parameters
    ----------
    width, height : int
        px.
    deviation : float
        Standard deviation of its grey levels, 0 to 127.5.
    sharpness : float
        Variance of the Laplacian of its grey levels, as a share of their own variance; 0 for a constant image.
    colour : float
        Mean difference of the largest and the smallest channel, 0 to 255; 0 for a grey image.
    """

    width: int
    height: int
    deviation: float
    sharpness: float
    colour: float


@dataclass(frozen=True)
class OddImage:
    """An image that is unlike the others.

    Parameters
    ----------
    id, split : str
        The row.
    kind : str
        `BROKEN`, or one of `KINDS`.
    value, usual : str
        What was measured, and the median of all images, with units; the latter empty for a broken image.
    """

    id: str
    split: str
    kind: str
    value: str
    usual: str


def measure(pixels: Any) -> Facts:
    """Measure one image.

    The variance of the Laplacian tells how much of an image is detail (Pech-Pacheco et al. 2000, Diatom autofocusing in
    brightfield microscopy, ICPR). As a share of the image's own variance it does not depend on contrast and brightness.

    Parameters
    ----------
    pixels : ndarray of uint8 of shape (H, W, C)
        Decoded.
    """
    height, width, channels = pixels.shape
    step = max(1, min(height, width) // SIDE)
    # Channels by themselves: reductions along so short an axis take far longer.
    planes = np.moveaxis(np.asarray(pixels), 2, 0)
    spread = functools.reduce(np.maximum, planes) - functools.reduce(np.minimum, planes)
    colour = float(spread.mean()) if channels == 3 else 0.0
    grey = _shrunk(functools.reduce(np.add, planes.astype(np.float32)) / np.float32(channels), step)
    deviation = float(grey.std())
    sharpness = float(laplace(grey, mode="nearest").var()) / deviation**2 if deviation > 0 else 0.0
    return Facts(width, height, deviation, sharpness, colour)


def _shrunk(grey: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Return the means of blocks of `step` x `step` px; what is left over at the edges is cut off."""
    if step == 1:
        return grey
    height, width = (side // step * step for side in grey.shape)
    blocks: NDArray[np.float32] = grey[:height, :width].reshape(height // step, step, width // step, step)
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3))
    return means


def measure_images(source: Source, workers: int | None = None, progress: Progress = no_progress) -> Floats:
    """Measure all images of a source, each decoded once, by threads.

    Parameters
    ----------
    source : Source
        Of n images.
    workers : int, optional
        Threads; one a core where None.
    progress : callable
        Called as ``progress("look", images done, images in all)``.

    Returns
    -------
    ndarray of float64 of shape (n, 5)
        `Facts` by row; NaN for images that cannot be decoded.
    """
    found = np.full((len(source), len(Facts._fields)), np.nan)
    for row, facts in each_image(source, np.arange(len(source)), measure, workers, progress):
        found[row] = facts
    return found


class Kind(Protocol):
    """One way of being odd."""

    def score(self, facts: Floats) -> Floats:
        """Return how odd each image is, (n,): positive ones are, the larger the more; `facts` hold no NaN."""

    def say(self, facts: Floats) -> str:
        """Return what was measured of an image with these facts, (5,)."""


class _Constant:
    def score(self, facts: Floats) -> Floats:
        score: Floats = FLAT - _column(facts, "deviation")
        return score

    def say(self, facts: Floats) -> str:
        return f"grey levels deviate by {_column(facts, 'deviation'):.1f} of 255"


class _Blurred:
    def score(self, facts: Floats) -> Floats:
        flat = _column(facts, "deviation") < FLAT
        detail = np.log(np.maximum(_column(facts, "sharpness"), 1e-9))
        score = np.full(len(facts), -1.0)
        if flat.all():
            return score
        score[~flat] = -modified_z(detail[~flat]) - FAR
        return score

    def say(self, facts: Floats) -> str:
        return f"sharpness {_column(facts, 'sharpness'):.2g}"


class _Grey:
    def score(self, facts: Floats) -> Floats:
        colour = _column(facts, "colour")
        if np.median(colour) <= COLOURLESS:  # grey is what images of this source are
            return np.full(len(facts), -1.0)
        return np.where(_column(facts, "deviation") < FLAT, -1.0, COLOURLESS - colour)

    def say(self, facts: Floats) -> str:
        return f"channels differ by {_column(facts, 'colour'):.1f} of 255"


class _Size:
    def score(self, facts: Floats) -> Floats:
        width, height = _column(facts, "width"), _column(facts, "height")
        far = [np.abs(modified_z(np.log(values))) for values in (width / height, width * height)]
        return np.maximum(*far) - FAR

    def say(self, facts: Floats) -> str:
        return f"{_column(facts, 'width'):.0f} x {_column(facts, 'height'):.0f} px"


KINDS: dict[str, Kind] = {"constant": _Constant(), "blurred": _Blurred(), "almost grey": _Grey(), "size": _Size()}


def find_odd_images(facts: Floats, ids: Sequence[str], splits: Sequence[str]) -> list[OddImage]:
    """Return the images that are unlike the others, by kind, broken ones first, then the oddest of each.

    Parameters
    ----------
    facts : ndarray of float64 of shape (n, 5)
        Of `measure_images`, all splits one below the other; NaN for images that cannot be decoded.
    ids, splits : sequence of str
        Of each row.
    """
    whole = ~np.isnan(facts).any(axis=1)
    found = [
        OddImage(ids[row], splits[row], BROKEN, "cannot be decoded", "") for row in np.flatnonzero(~whole).tolist()
    ]
    rows = np.flatnonzero(whole)
    if not len(rows):
        return found
    known = facts[rows]
    usual = np.median(known, axis=0)
    for name, kind in KINDS.items():
        score = kind.score(known)
        odd = np.flatnonzero(score > 0)
        found += [
            OddImage(ids[rows[at]], splits[rows[at]], name, kind.say(known[at]), kind.say(usual))
            for at in odd[np.argsort(-score[odd], kind="stable")].tolist()
        ]
    return found


def modified_z(values: Floats) -> Floats:
    """Return how many deviations each value is from the median, (n,), robustly (Iglewicz and Hoaglin 1993).

    Deviations are estimated from the median of absolute ones, 1.4826 of which are one of a normal distribution; where
    most values are equal, from their mean, 1.2533 of which are.
    """
    apart = values - np.median(values)
    scale = 1.4826 * float(np.median(np.abs(apart))) or 1.2533 * float(np.mean(np.abs(apart)))
    return apart / scale if scale else np.zeros(len(values))


def _column(facts: Floats, name: str) -> Any:
    return facts[..., Facts._fields.index(name)]
