"""A run's predictions of its test rows, kept so that two runs can be compared image by image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from featx.core import atomic
from featx.core.csv_cells import csv_line
from featx.core.run_folder import Run
from featx.core.statistics import mcnemar
from featx.data.splits import Part
from featx.errors import OptionError, StoreError

PREDICTIONS_FILE = "predictions.safetensors"
TABLE_FILE = "predictions.csv"
TABLE_HEADS = ("id", "label", "predicted", "probability")
MAX_BYTES = 1 << 30

Predictions = dict[str, npt.NDArray[Any]]


def save_predictions(
    run: Run, part: Part, predicted: npt.NDArray[np.int64], probability: npt.NDArray[np.float64] | None = None
) -> None:
    """Keep what a run says of its test rows, for programs and for people.

    ``predictions.safetensors`` holds ``hashes`` (n, 32), the images' content, ``labels`` (n,) and ``predicted`` (n,),
    class numbers; ``predictions.csv`` a line an image: ``id``, ``label`` and ``predicted`` by name, and the predicted
    class's ``probability``, empty where the head gives none.

    Parameters
    ----------
    run : Run
        Where they are kept.
    part : Part
        The rows, without those that could not be read.
    predicted : ndarray of int64, shape (n,)
        Class numbers.
    probability : ndarray of float64, shape (n,), optional
        Of the predicted classes; NaN where there is none.
    """
    hashes = np.ascontiguousarray(part.source.row_hashes()[part.rows])
    tensors = {"hashes": hashes, "labels": part.labels.astype(np.int64), "predicted": predicted.astype(np.int64)}
    run.write_bytes(PREDICTIONS_FILE, safetensors.numpy.save(tensors))
    shares = np.full(len(predicted), np.nan) if probability is None else probability
    run.write_text(TABLE_FILE, "".join(_lines(part, predicted, shares)))


def _lines(part: Part, predicted: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]) -> Iterator[str]:
    yield csv_line(TABLE_HEADS)
    classes = part.source.classes
    for row, label, found, share in zip(part.rows, part.labels, predicted, shares.tolist(), strict=True):
        known = None if math.isnan(share) else float(f"{share:.6g}")
        yield csv_line([part.source.ids[row], classes[label], classes[found], known])


def load_predictions(run: Run) -> Predictions:
    """Return what `save_predictions` wrote.

    Raises
    ------
    StoreError
        The run has none, or they are damaged.
    """
    path = run.path / PREDICTIONS_FILE
    if not path.exists():
        raise StoreError(
            f"run {run.id} has no {PREDICTIONS_FILE}", "run its command again: earlier featx versions wrote none"
        )
    try:
        return safetensors.numpy.load(atomic.read_bytes(path, MAX_BYTES))
    except safetensors.SafetensorError as exc:
        raise StoreError(
            f"{path} is damaged: {exc}", f"remove the folder {run.path} and run its command again"
        ) from exc


def compare(first: Run, second: Run) -> dict[str, Any]:
    """Compare two runs over the same test images with McNemar's test; see `featx.core.statistics.mcnemar`.

    Raises
    ------
    OptionError
        They were scored on other images, or other labels.
    """
    right = []
    orders = []
    for run in (first, second):
        found = load_predictions(run)
        order = np.lexsort([found["labels"], *found["hashes"].T])
        orders.append((found["hashes"][order], found["labels"][order]))
        right.append((found["predicted"] == found["labels"])[order])
    if any(not np.array_equal(a, b) for a, b in zip(*orders, strict=True)):
        raise OptionError(
            f"runs {first.id} and {second.id} were scored on different test images",
            "compare runs with the same test split",
        )
    return mcnemar(*right)
