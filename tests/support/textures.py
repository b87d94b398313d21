"""Images with structure at all sizes, as photographs have, and the changes that an image of the same shot may have."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

Rng = np.random.Generator


def texture(rng: Rng, px: int = 32) -> Image.Image:
    """Draw colours at scales from the whole image to two pixels."""
    total = np.zeros((px, px, 3))
    for cells in (2, 4, 8, 16):
        noise = rng.normal(size=(cells, cells, 3)) + rng.normal(size=(cells, cells, 1))
        layers = [Image.fromarray(noise[..., c].astype(np.float32)) for c in range(3)]
        grown = [np.asarray(layer.resize((px, px), Image.Resampling.BICUBIC)) for layer in layers]
        total += np.stack(grown, axis=2) * 2 / cells**0.5
    total = (total - total.mean()) / total.std()
    return Image.fromarray((128 + 45 * total).clip(0, 255).astype(np.uint8))


def shifted(image: Image.Image, x: int, y: int) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, x, 0, 1, y))


def cropped(image: Image.Image, share: float = 0.9) -> Image.Image:
    side = round(share * image.width)
    return image.crop((1, 1, 1 + side, 1 + side)).resize(image.size, Image.Resampling.BICUBIC)


def recompressed(image: Image.Image, quality: int = 50) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def other_hue(image: Image.Image, turn: int = 40) -> Image.Image:
    h, s, v = image.convert("HSV").split()
    return Image.merge("HSV", (h.point(lambda value: (value + turn) % 256), s, v)).convert("RGB")


CHANGES: dict[str, Any] = {
    "shift": lambda image: shifted(image, 3, -2),
    "crop": cropped,
    "mirror": ImageOps.mirror,
    "recompressed": recompressed,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "other hue": other_hue,
    "mirror and shift": lambda image: shifted(ImageOps.mirror(image), -2, 1),
}
"""By name, what makes another image of the same shot."""


def pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return an image's values, uint8 (H, W, 3)."""
    return np.asarray(image)
