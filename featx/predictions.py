"""A run's predictions of its test rows, kept so that two runs can be compared image by image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from featx.cache import atomic
from featx.errors import OptionError, StoreError
from featx.runs import Run
from featx.splits import Part
from featx.statistics import mcnemar

PREDICTIONS_FILE = "predictions.safetensors"
MAX_BYTES = 1 << 30

Predictions = dict[str, npt.NDArray[Any]]


def save_predictions(run: Run, part: Part, predicted: npt.NDArray[np.int64]) -> None:
    """Write ``hashes`` (n, 32), the images' content, ``labels`` (n,) and ``predicted`` (n,), class numbers."""
    hashes = np.ascontiguousarray(part.source.row_hashes()[part.rows])
    tensors = {"hashes": hashes, "labels": part.labels.astype(np.int64), "predicted": predicted.astype(np.int64)}
    run.write_bytes(PREDICTIONS_FILE, safetensors.numpy.save(tensors))


def load_predictions(run: Run) -> Predictions:
    """Return what `save_predictions` wrote.

    Raises
    ------
    StoreError
        The run has none, or they are damaged.
    """
    path = run.path / PREDICTIONS_FILE
    if not path.exists():
        raise StoreError(f"run {run.id} has no {PREDICTIONS_FILE}", "train it again: earlier featx kept none")
    try:
        return safetensors.numpy.load(atomic.read_bytes(path, MAX_BYTES))
    except safetensors.SafetensorError as exc:
        raise StoreError(f"{path} is damaged: {exc}", f"remove the folder {run.path} and train again") from exc


def compare(first: Run, second: Run) -> dict[str, Any]:
    """Compare two runs over the same test images with McNemar's test; see `featx.statistics.mcnemar`.

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
            f"runs {first.id} and {second.id} were scored on different test images", "take runs of the same test split"
        )
    return mcnemar(*right)
