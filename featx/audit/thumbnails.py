"""One look at every image: a digest of its pixels, and small versions of those that are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx.core.specs import Progress, no_progress
from featx.data.source import Source, reading_ahead
from featx.errors import ImageError

SIDE = 32
"""Of a thumbnail, px."""

CHUNK = 1024

Bytes = NDArray[np.uint8]
T = TypeVar("T")


def each_image(
    source: Source,
    rows: NDArray[np.int64],
    what: Callable[[Any], T],
    workers: int | None,
    progress: Progress = no_progress,
    stage: str = "look",
) -> Iterator[tuple[int, T]]:
    """Yield, for each of `rows` that can be decoded, its number and `what` of its pixels, uint8 (H, W, C)."""

    def look(row: int) -> T | None:
        try:
            return what(source[row][0])
        except ImageError:  # told where features are extracted, or by whoever counts
            return None

    with ThreadPoolExecutor(workers or None) as threads:
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            with reading_ahead(source, some):
                for row, found in zip(some.tolist(), threads.map(look, some.tolist()), strict=True):
                    if found is not None:
                        yield row, found
            progress(stage, start + len(some), len(rows))


def pixel_digest(pixels: Any) -> bytes:
    """Return 32 bytes that tell decoded images apart: their shape and values. Grey as RGB is grey.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16 of shape (H, W, C)
        Decoded.
    """
    values = np.asarray(pixels)
    if values.shape[2] == 3 and all((values[..., i] == values[..., 0]).all() for i in (1, 2)):
        values = values[..., :1]
    return hashlib.sha256(repr((values.shape, values.dtype.str)).encode() + np.ascontiguousarray(values).data).digest()


def thumbnail(pixels: Any) -> Bytes:
    """Return an image squashed to `SIDE` x `SIDE` px RGB, uint8 (3, SIDE, SIDE)."""
    values = np.asarray(pixels)
    if values.dtype != np.uint8:
        values = (values / 257).astype(np.uint8)
    if values.shape[2] not in (1, 3):
        values = values[..., :3] if values.shape[2] > 3 else values[..., :1]
    picture = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values).convert("RGB")
    if picture.size != (SIDE, SIDE):
        picture = picture.resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC if min(picture.size) < SIDE else Image.Resampling.BOX
        )
    return np.moveaxis(np.asarray(picture), 2, 0).copy()


def lightness(thumbnails: Bytes) -> NDArray[np.float32]:
    """Return (max + min) / 2 of the channels, float32 (n, SIDE, SIDE): it does not change with the hue."""
    light: NDArray[np.float32] = (thumbnails.max(axis=1).astype(np.float32) + thumbnails.min(axis=1)) / 2
    return light


def joined(parts: Iterable[tuple[int, Bytes]], n: int, shape: Sequence[int]) -> tuple[Bytes, NDArray[np.bool_]]:
    """Return what was found by row, uint8 (n, *shape), and which rows have something."""
    found, there = np.zeros((n, *shape), np.uint8), np.zeros(n, bool)
    for row, value in parts:
        found[row], there[row] = value, True
    return found, there
