"""Random changes of images, a batch at a time; row i's seed depends on (seed, epoch, i) alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from featx.core.rng import isolated_rng, reseed
from featx.core.validation import check_choice
from featx.errors import OptionError
from featx.training.config import AUGMENTS, MIRRORING, TrainConfig

PAD_FRACTION = 8
"""A crop is cut from the image padded by its side / 8, as 4 px of CIFAR's 32 (He et al., 2015, section 4.2)."""

POLICIES = {"trivial": "TrivialAugmentWide", "randaugment": "RandAugment"}
"""What torchvision calls them; after crop and flip (Müller and Hutter, "TrivialAugment", 2021; Cubuk et al.,
"RandAugment", 2020)."""


class Augment:
    """One epoch's random changes.

    Parameters
    ----------
    kind : str
        ``none``, ``flip`` (left-right, half of the time), ``crop``, ``crop-flip``, ``trivial`` or ``randaugment``.
    n_rows : int
        Rows of the training set.
    seed, epoch : int
        Of the rows' seeds, which are drawn for all rows at once: batches and their order do not change it.
    """

    def __init__(self, kind: str, n_rows: int, seed: int, epoch: int) -> None:
        check_choice("augment", kind, AUGMENTS)
        self.kind = kind
        self._policy = getattr(_transforms(), POLICIES[kind])() if kind in POLICIES else None
        random = np.random.default_rng([seed, epoch, 1])
        self._flip = random.random(n_rows) < 0.5
        self._shift = random.random((n_rows, 2))
        self._row_seeds = random.integers(0, 2**63, n_rows)

    def __call__(self, pixels: torch.Tensor, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return changed copies of uint8 images (m, H, W, C); `rows` are their places in the training set."""
        if self.kind == "none":
            return pixels
        if self.kind != "flip":
            pixels = _crop(pixels, self._shift[rows])
        if self.kind in MIRRORING:
            flip = torch.from_numpy(self._flip[rows]).to(pixels.device)
            pixels = torch.where(flip[:, None, None, None], pixels.flip(2), pixels)
        return pixels if self._policy is None else self._by_policy(pixels, rows)

    def _by_policy(self, pixels: torch.Tensor, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        assert self._policy is not None
        if pixels.shape[3] not in (1, 3):
            raise OptionError(
                f"augment {self.kind} changes colours, and the images have {pixels.shape[3]} channels",
                "use --augment crop-flip, flip or none",
            )
        changed = []
        with isolated_rng():
            for image, seed in zip(pixels.permute(0, 3, 1, 2), self._row_seeds[rows].tolist(), strict=True):
                reseed(seed)  # torchvision's policies draw from the CPU's generator, wherever the images are
                changed.append(self._policy(image))
        return torch.stack(changed).permute(0, 2, 3, 1)


def _transforms() -> Any:
    from torchvision.transforms import v2  # takes seconds to load

    return v2


def _crop(pixels: torch.Tensor, shift: npt.NDArray[np.float64]) -> torch.Tensor:
    height, width = pixels.shape[1:3]
    pad_y, pad_x = max(1, height // PAD_FRACTION), max(1, width // PAD_FRACTION)
    padded = torch.nn.functional.pad(pixels, (0, 0, pad_x, pad_x, pad_y, pad_y))
    corner = torch.from_numpy((shift * [2 * pad_y + 1, 2 * pad_x + 1]).astype(np.int64)).to(pixels.device)
    y = corner[:, :1] + torch.arange(height, device=pixels.device)  # (m, H)
    x = corner[:, 1:] + torch.arange(width, device=pixels.device)  # (m, W)
    image = torch.arange(len(pixels), device=pixels.device)
    return padded[image[:, None, None], y[:, :, None], x[:, None, :]]


class Mix:
    """Blends of a batch's images and labels: mixup (Zhang et al., 2018), CutMix (Yun et al., 2019), or either.

    Draws from torch's default generator.

    Parameters
    ----------
    config : TrainConfig
        ``mixup`` and ``cutmix``.
    n_classes : int
        Columns of the blended labels.
    """

    def __init__(self, config: TrainConfig, n_classes: int) -> None:
        self._blend = None
        if config.mixup or config.cutmix:
            v2 = _transforms()
            kinds = ((v2.MixUp, config.mixup), (v2.CutMix, config.cutmix))
            self._blend = v2.RandomChoice([kind(alpha=a, num_classes=n_classes) for kind, a in kinds if a > 0])

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (m, C, H, W) and labels: (m,) as they were, or (m, n_classes) shares."""
        if self._blend is None:
            return x, y
        blended, shares = self._blend(x, y)
        return blended, shares
