"""Images in batches, decoded ahead of the network by threads; Pillow lets go of the interpreter's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from featx.errors import ImageError
from featx.images import Pixels, prepare
from featx.sources import Source
from featx.specs import PreprocessSpec

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Some rows' images, ready for the network.

    Parameters
    ----------
    rows : ndarray of int64, shape (m,)
        Row numbers in the source.
    pixels : ndarray of uint8, shape (m, H, W, C)
        Resized and cropped; black where an image was skipped.
    skipped : list of (row, reason)
        Images that could not be decoded.
    """

    rows: Rows
    pixels: Pixels
    skipped: list[tuple[int, str]]


def image_shape(source: Source, spec: PreprocessSpec) -> tuple[int, int, int]:
    """Return (C, H, W) of a prepared image; where the spec leaves the size alone, the first image's."""
    if spec.crop is not None:
        return spec.channels, spec.crop, spec.crop
    for i in range(len(source)):
        try:
            height, width = prepare(source[i][0], spec, source.ids[i]).shape[:2]
        except ImageError:
            continue
        return spec.channels, height, width
    raise ImageError("none of the images can be decoded", "look at one of them")


def load_batches(
    source: Source,
    batches: Iterable[Rows],
    spec: PreprocessSpec,
    shape: tuple[int, int, int],
    *,
    workers: int | None = None,
    on_error: str = "raise",
) -> Iterator[Batch]:
    """Decode batches of rows in the order asked, a few of them ahead.

    Parameters
    ----------
    source : Source
        Of the images.
    batches : iterable of ndarray
        Row numbers, a batch at a time.
    spec : PreprocessSpec
        Sizes and channels.
    shape : tuple of int
        (C, H, W) that every prepared image must have.
    workers : int, optional
        Threads; one a core where None. The result does not depend on it.
    on_error : str
        ``raise``, or ``skip`` to leave images out that cannot be decoded.

    Raises
    ------
    ImageError
        Naming the image.
    """
    count = workers or len(os.sched_getaffinity(0))
    pool = ThreadPoolExecutor(count, thread_name_prefix="featx-decode")
    ahead: deque[Future[Batch]] = deque()
    todo = iter(batches)
    try:
        while True:
            while len(ahead) < count + 1 and (rows := next(todo, None)) is not None:
                ahead.append(pool.submit(_load, source, rows, spec, shape, on_error))
            if not ahead:
                return
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _load(source: Source, rows: Rows, spec: PreprocessSpec, shape: tuple[int, int, int], on_error: str) -> Batch:
    channels, height, width = shape
    pixels = np.zeros((len(rows), height, width, channels), np.uint8)
    skipped = []
    for at, row in enumerate(rows):
        try:
            image = prepare(source[int(row)][0], spec, source.ids[row])
            if image.shape[:2] != (height, width):
                raise ImageError(
                    f"image {source.ids[row]} has {image.shape[0]} x {image.shape[1]} px, the first one "
                    f"{height} x {width}",
                    "give --size, so that all have one size",
                )
            pixels[at] = image
        except ImageError as exc:
            if on_error == "raise":
                raise
            skipped.append((int(row), exc.message))
    return Batch(rows, pixels, skipped)
