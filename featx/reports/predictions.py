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
from featx.reports.row_scores import ScoredRows

PREDICTIONS_FILE = "predictions.safetensors"
TABLE_FILE = "predictions.csv"
TABLE_HEADS = ("id", "label", "predicted", "probability")
MAX_BYTES = 1 << 30
MAX_CLASSES = 1 << 20
HASH_BYTES = 32
NEEDED, OPTIONAL = ("hashes", "labels", "predicted"), ("losses", "in_top5", "briers")

Predictions = dict[str, npt.NDArray[Any]]


def save_predictions(
    run: Run,
    part: Part,
    predicted: npt.NDArray[np.int64],
    probability: npt.NDArray[np.float64] | None = None,
    losses: npt.NDArray[np.float64] | None = None,
    in_top5: npt.NDArray[np.bool_] | None = None,
    briers: npt.NDArray[np.float64] | None = None,
) -> None:
    """Keep what a run says of its test rows, for programs and for people.

    ``predictions.safetensors`` holds ``hashes`` (n, 32), the images' content, ``labels`` (n,) and ``predicted`` (n,),
    class numbers, and where they are known ``losses`` and ``briers`` (n,), float32, and ``in_top5`` (n,), bool;
    ``predictions.csv`` a line an image: ``id``, ``label`` and ``predicted`` by name, and the predicted
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
    losses : ndarray of float64, shape (n,), optional
        Log loss of each row, in nats.
    in_top5 : ndarray of bool, shape (n,), optional
        Whether the true class is among the best five.
    briers : ndarray of float64, shape (n,), optional
        Brier score of each row.
    """
    hashes = np.ascontiguousarray(part.source.row_hashes()[part.rows])
    tensors = {"hashes": hashes, "labels": part.labels.astype(np.int64), "predicted": predicted.astype(np.int64)}
    known = {"losses": losses, "in_top5": in_top5, "briers": briers}
    tensors |= {name: a if a.dtype == bool else a.astype(np.float32) for name, a in known.items() if a is not None}
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


def scored_rows(run: Run, like: Predictions | None = None) -> ScoredRows:
    """Return what a run said of its test rows.

    Parameters
    ----------
    run : Run
        Which kept its predictions.
    like : dict of str to ndarray, optional
        Predictions of the same images in another order, which is then taken. Of equal images of one class, which is
        which is not told.

    Raises
    ------
    StoreError
        It has none, or they are damaged.
    OptionError
        They are of other images, or other labels, than `like`.
    """
    found = _checked(run, load_predictions(run))
    if like is not None:
        order = _order(found, like)
        if order is None:
            raise OptionError(
                f"run {run.id} was scored on different test images than the run it is compared with",
                "compare runs with the same test split",
            )
        found = {name: values[order] for name, values in found.items()}
    return ScoredRows(
        found["labels"], found["predicted"], found.get("losses"), found.get("in_top5"), found.get("briers")
    )


def compare(first: Run, second: Run) -> dict[str, Any]:
    """Compare two runs over the same test images with McNemar's test; see `featx.core.statistics.mcnemar`.

    Raises
    ------
    StoreError
        One of them has no predictions, or damaged ones.
    OptionError
        They were scored on other images, or other labels.
    """
    return mcnemar(*rights(first, second))


def rights(first: Run, second: Run) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which test rows each of two runs predicted right, both in the first's order; raises as `compare`."""
    like = load_predictions(first)
    return scored_rows(first, like).right, scored_rows(second, like).right


def _checked(run: Run, found: Predictions) -> Predictions:
    """Return predictions whose tensors go together: anyone may have written them."""
    n = len(found["labels"]) if found.get("labels", np.zeros(())).ndim == 1 else 0
    numbers = [found[name] for name in ("labels", "predicted") if name in found]
    shapes = {name: (n, HASH_BYTES) if name == "hashes" else (n,) for name in (*NEEDED, *OPTIONAL) if name in found}
    good = n > 0 and {*NEEDED} <= {*found} and all(found[name].shape == shape for name, shape in shapes.items())
    good = good and all(a.dtype.kind == "i" and a.min() >= 0 and a.max() < MAX_CLASSES for a in numbers)
    if not good or not all(np.isfinite(found[name]).all() for name in OPTIONAL if name in found):
        raise StoreError(
            f"{run.path / PREDICTIONS_FILE} is damaged: its tensors do not go together",
            f"remove the folder {run.path} and run its command again",
        )
    return {name: found[name] for name in shapes}


def _order(found: Predictions, like: Predictions) -> Any:
    """Return the order in which predictions are those of the same images as `like`; None where they are others."""
    keys = [(one["hashes"], one["labels"]) for one in (found, like)]
    if all(np.array_equal(a, b) for a, b in zip(*keys, strict=True)):
        return slice(None)
    orders = [_sorted(*key) for key in keys]
    if any(not np.array_equal(a[orders[0]], b[orders[1]]) for a, b in zip(*keys, strict=True)):
        return None
    places = np.empty_like(orders[0])
    places[orders[1]] = orders[0]
    return places


def _sorted(hashes: npt.NDArray[Any], labels: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    words = np.ascontiguousarray(hashes).view(np.uint64)  # (n, 4)
    return np.lexsort([labels, *words.T])
