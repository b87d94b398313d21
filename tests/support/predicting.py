"""Runs with predictions of test images, written by hand, and their rows of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from sklearn.metrics import balanced_accuracy_score, f1_score

from featx.core.run_folder import Run, Runs

CLASSES = 4

Array = np.ndarray[Any, Any]


def hashes_of(n: int, first: int = 0) -> Array:
    """Hashes of n images, all different."""
    found = np.zeros((n, 32), np.uint8)
    found[:, :4] = np.arange(first, first + n, dtype=np.uint32)[:, None].view(np.uint8).reshape(n, 4)
    return found


def predicting(
    home: Path, right: Array, *, losses: Array | None = None, order: Array | None = None, first: int = 0, seed: int = 0
) -> tuple[dict[str, Any], Run]:
    """Return a row, and a run whose predictions, written in the order given, are right where it is said."""
    n = len(right)
    order = np.arange(n) if order is None else order
    labels = np.arange(n, dtype=np.int64) % CLASSES
    predicted = np.where(right, labels, (labels + 1) % CLASSES)
    tensors = {"hashes": hashes_of(n, first)[order], "labels": labels[order], "predicted": predicted[order]}
    tensors |= {} if losses is None else {"losses": losses.astype(np.float32)[order]}
    run = Runs(home).new("fit", [])
    run.write_bytes("predictions.safetensors", safetensors.numpy.save(tensors))
    record = {
        "kind": "fit",
        "source": "drawn",
        "backbone": "pixels",
        "seed": seed,
        "C": float(right.mean()),  # tells rows apart
        "splits": {"train": "train", "test": "test"},
        "fingerprints": {"test": f"images {n} from {first}"},
        "rows": {"test": n},
        "accuracy": {"test": float(right.mean())},
        "balanced_accuracy": {"test": balanced_accuracy_score(labels, predicted)},
        "macro_f1": {"test": f1_score(labels, predicted, average="macro")},
        "loss": {"test": None if losses is None else float(losses.mean())},
        "seconds": {"total": 1.0},
    }
    run.write({**record, "run": run.id})
    by_seed = {str(seed): float(right.mean())}
    return {**record, "run": run.id, "runs": [run.id], "scored_on": f"{n} {first}", "test_by_seed": by_seed}, run
