"""Whether an exported model gives what featx itself predicts, image by image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from featx.core.specs import ExtractConfig, Progress, no_progress
from featx.data.sources import Source
from featx.errors import FeatureError
from featx.runs.export_formats import Images, Run
from featx.runs.predictors import Predictor

TOLERANCE = 1e-4
"""Largest difference of a logit, as a share of the largest one where that is above 1."""


@dataclass(frozen=True)
class Parity:
    """How far two models are apart.

    Parameters
    ----------
    images : int
        Both were given.
    largest_difference : float
        Of a logit, as a share of the largest one where that is above 1.
    """

    images: int
    largest_difference: float


def check_parity(
    predictor: Predictor,
    run: Run,
    source: Source,
    tolerance: float = TOLERANCE,
    progress: Progress = no_progress,
) -> Parity:
    """Give images to both models, in one batch after the other, and the first of each alone too.

    Parameters
    ----------
    predictor : Predictor
        featx's own.
    run : callable
        The exported one.
    source : Source
        The images; those that cannot be decoded are left out.
    tolerance : float
        Largest difference, as `Parity` has it.

    Raises
    ------
    FeatureError
        They differ by more than the tolerance, or name other classes; featx's own are not finite; or no image could
        be decoded.
    """
    count, largest = 0, 0.0
    for batch, logits in predictor.logits(source, ExtractConfig(device="cpu", on_error="skip")):
        kept = ~np.isin(batch.rows, [row for row, _ in batch.skipped])
        images, expected = as_input(batch.pixels[kept]), logits[kept]
        names = [source.ids[row] for row in batch.rows[kept].tolist()]
        if names:
            largest = max(largest, _compare(run(images), expected, names, tolerance))
            largest = max(largest, _compare(run(images[:1]), expected[:1], names[:1], tolerance))
        count += len(names)
        progress("check", count, len(source))
    if not count:
        raise FeatureError("no image could be decoded to check the exported model on", "name others with --source")
    return Parity(count, largest)


def as_input(pixels: npt.NDArray[np.uint8]) -> Images:
    """Return uint8 images (n, H, W, C) as an exported model takes them."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def _compare(
    found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64], names: list[str], tolerance: float
) -> float:
    """Return how far some images' logits are apart."""
    if found.shape != expected.shape:
        raise FeatureError(f"the exported model gives logits of shape {found.shape}, expected {expected.shape}", "")
    finite = np.isfinite(expected)
    sound = finite.any(axis=1) & ~np.isnan(expected).any(axis=1)  # minus infinity is a class without training images
    if not sound.all():
        raise FeatureError(f"the run's own model gives image {names[int(sound.argmin())]} no finite logits", "")
    if not np.array_equal(finite, np.isfinite(found)):
        raise FeatureError("the exported model's logits are not finite where featx's own are, or the other way", "")
    apart = np.abs(np.where(finite, found, 0) - np.where(finite, expected, 0))
    difference = float(apart.max() / max(1.0, np.abs(expected[finite]).max()))
    worst = names[int(apart.max(axis=1).argmax())]
    if difference > tolerance:
        raise FeatureError(
            f"the exported model's logits differ from featx's own by {difference:.1e}, expected at most "
            f"{tolerance:g}, at image {worst}: nothing was written",
            "a larger --tolerance accepts it: some heads magnify rounding",
        )
    others = np.flatnonzero(found.argmax(axis=1) != expected.argmax(axis=1))
    if len(others):
        raise FeatureError(f"the exported model gives image {names[others[0]]} another class", "nothing was written")
    return difference
