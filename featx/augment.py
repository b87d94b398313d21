"""Random flips and crops, a batch at a time; row i's luck depends on (seed, epoch, i) alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from featx.checks import check_choice

PAD_FRACTION = 8
"""A crop is cut from the image padded by its side / 8, as 4 px of CIFAR's 32 (He et al., 2015, section 4.2)."""


class Augment:
    """One epoch's random changes.

    Parameters
    ----------
    kind : str
        ``none``, ``flip`` (left-right, half of the time) or ``crop-flip``.
    n_rows : int
        Rows of the training set.
    seed, epoch : int
        Of the luck, which is drawn for all rows at once: batches and their order do not change it.
    """

    def __init__(self, kind: str, n_rows: int, seed: int, epoch: int) -> None:
        check_choice("augment", kind, ("none", "flip", "crop-flip"))
        self.kind = kind
        random = np.random.default_rng([seed, epoch, 1])
        self._flip = random.random(n_rows) < 0.5
        self._shift = random.random((n_rows, 2))

    def __call__(self, pixels: torch.Tensor, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return changed copies of uint8 images (m, H, W, C); `rows` are their places in the training set."""
        if self.kind == "none":
            return pixels
        if self.kind == "crop-flip":
            pixels = _crop(pixels, self._shift[rows])
        flip = torch.from_numpy(self._flip[rows]).to(pixels.device)
        return torch.where(flip[:, None, None, None], pixels.flip(2), pixels)


def _crop(pixels: torch.Tensor, shift: npt.NDArray[np.float64]) -> torch.Tensor:
    height, width = pixels.shape[1:3]
    pad_y, pad_x = max(1, height // PAD_FRACTION), max(1, width // PAD_FRACTION)
    padded = torch.nn.functional.pad(pixels, (0, 0, pad_x, pad_x, pad_y, pad_y))
    corner = torch.from_numpy((shift * [2 * pad_y + 1, 2 * pad_x + 1]).astype(np.int64)).to(pixels.device)
    y = corner[:, :1] + torch.arange(height, device=pixels.device)  # (m, H)
    x = corner[:, 1:] + torch.arange(width, device=pixels.device)  # (m, W)
    image = torch.arange(len(pixels), device=pixels.device)
    return padded[image[:, None, None], y[:, :, None], x[:, None, :]]
