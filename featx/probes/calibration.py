"""Calibration of a run's model on its validation rows: what is fitted, and what it changes of the scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.core.metrics import Scores, score
from featx.errors import SourceError
from featx.portable import Scaling
from featx.probes.config import Calibrate
from featx.probes.logit_scaling import FittedScaling, Floats
from featx.probes.temperature import fit_temperature
from featx.probes.vector_scaling import fit_vector

Labelled = tuple[Floats, NDArray[np.int64]]
"""Logits (n, k), minus infinity for classes that the model does not know, and class numbers (n,)."""

COMPARED = ("accuracy", "loss", "brier", "ece", "rms_calibration_error")
"""The scores that a record holds from before a calibration and after it."""

NO_ROWS = "there are no validation rows, and --calibrate fits on them"
NO_ROWS_HINT = "give more images or a larger --val-size, or leave --calibrate out"


class FitScaling(Protocol):
    """How logits are calibrated."""

    def __call__(self, logits: ArrayLike, y: ArrayLike) -> FittedScaling:
        """Return what is to be done to logits (n, k) of rows of classes y (n,)."""


SCALINGS: dict[Calibrate, FitScaling] = {"temperature": fit_temperature, "vector": fit_vector}
"""By what ``--calibrate`` calls them."""


@dataclass(frozen=True)
class Calibration:
    """What was fitted on validation rows, and what it changed.

    Parameters
    ----------
    scaling : Scaling
        Of all classes; those that the model does not know are left as they are.
    fitted : FittedScaling
        Of the classes that it knows.
    rows : int
        Validation rows that it was fitted on.
    left_out : int
        Those of classes that the model does not know.
    model : str
        Whose logits of these rows were taken: the run's own model, or ``the fit on the training rows alone``.
    before, after : dict of str to Scores
        By part. Those of ``val`` after it are of the very rows that it was fitted on.
    """

    scaling: Scaling
    fitted: FittedScaling
    rows: int
    left_out: int
    model: str
    before: Mapping[str, Scores]
    after: Mapping[str, Scores]

    @property
    def notes(self) -> list[str]:
        """What the user should know."""
        said = f"{self.left_out} validation rows of classes without training rows took no part in the calibration"
        return [*self.fitted.notes, *([said] if self.left_out else [])]

    def as_dict(self) -> dict[str, Any]:
        """Return what a record holds of it, JSON-able."""
        return {
            **self.scaling.as_dict(),
            "temperature": self.fitted.temperature,
            "temperature_bounds": list(self.fitted.temperature_bounds),
            "objective": self.fitted.objective,
            "objective_gap": self.fitted.objective_gap,
            "n_iter": self.fitted.n_iter,
            "rows": self.rows,
            "left_out": self.left_out,
            "model": self.model,
            "before": _compared(self.before),
            "after": _compared(self.after),
            "notes": self.notes,
        }


OWN = "the run's own"
BLIND = "the fit on the training rows alone"


def calibrate(
    method: Calibrate, held_out: Labelled, parts: Mapping[str, Labelled], n_classes: int, model: str = OWN
) -> tuple[Calibration, dict[str, Scores]]:
    """Fit on validation rows, and score all parts as the calibrated model predicts them.

    The validation rows keep the scores that they had: the calibration has learnt from them.

    Parameters
    ----------
    method : str
        One of `SCALINGS`.
    held_out : tuple of ndarray
        Logits and labels of validation rows, by a model that has not learnt from them.
    parts : mapping of str to tuple of ndarray
        Those of the other parts that have rows, by the run's model.
    n_classes : int
        Columns of the logits.
    model : str
        Whose logits `held_out` are, for the record.

    Raises
    ------
    SourceError
        No validation row is of a class that the model knows.
    """
    logits, y = held_out
    known = np.asarray(np.isfinite(logits).all(axis=0))
    rows = known[y]
    if not rows.any():
        raise SourceError(
            NO_ROWS if not len(y) else "no validation row is of a class with training rows, and --calibrate needs some",
            NO_ROWS_HINT,
        )
    number = np.cumsum(known) - 1  # of each known class among them
    fitted = SCALINGS[method](logits[rows][:, known], number[y[rows]])
    scale, offset = np.ones(n_classes), np.zeros(n_classes)
    scale[known], offset[known] = fitted.scale, fitted.offset
    scaling = Scaling(method, scale, offset)
    every = {**parts, "val": held_out}
    before = {part: score(found, labels, n_classes) for part, (found, labels) in every.items()}
    after = {part: score(scaling(found), labels, n_classes) for part, (found, labels) in every.items()}
    done = Calibration(scaling, fitted, int(rows.sum()), int((~rows).sum()), model, before, after)
    return done, {**after, "val": before["val"]}


def _compared(scores: Mapping[str, Scores]) -> dict[str, dict[str, float]]:
    return {part: {name: getattr(found, name) for name in COMPARED} for part, found in scores.items()}
