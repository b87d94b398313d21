"""Features of thumbnails that shifts and mirroring hardly change: what a network's features may miss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featx.audit.images import AuditedImages
from featx.audit.thumbnails import SIDE

REACH = 8
"""Frequencies, in periods an image: higher ones change with every pixel of a shift."""

Floats = NDArray[np.float32]


class SpectrumFeatures:
    """Magnitudes of the lowest frequencies of images, whose borders are faded out; a shift changes phases alone.

    Parameters
    ----------
    images : AuditedImages
        Looked at.
    rows : ndarray of int64 of shape (n,)
        Which of them.
    """

    def __init__(self, images: AuditedImages, rows: NDArray[np.int64]) -> None:
        self._images, self._rows = images, rows
        self.shape = (len(rows), 2 * (2 * REACH - 1) * REACH)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Floats:
        """Return the rows of a slice or of an array of numbers, float32 (m, 240)."""
        return spectrum(self._images.lightness(self._rows[rows]))


def spectrum(light: Floats) -> Floats:
    """Return the features of images, float32 (m, SIDE, SIDE), as float32 (m, 240)."""
    fade = np.hanning(SIDE).astype(np.float32)
    weight = fade[:, None] * fade
    mean = (light * weight).sum(axis=(1, 2), keepdims=True) / weight.sum()
    found = np.abs(np.fft.fft2((light - mean) * weight))
    down = np.r_[0:REACH, SIDE - REACH + 1 : SIDE]
    found = found[:, down, :REACH]
    # Of a mirror image, down and up change places: their sum and the size of their difference do not.
    mirrored = found[:, np.r_[0, len(down) - 1 : 0 : -1]]
    sides = np.concatenate([found + mirrored, np.abs(found - mirrored)], axis=1)
    spectra: NDArray[np.float32] = np.log1p(sides).reshape(len(light), -1).astype(np.float32)
    return spectra
