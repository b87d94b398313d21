"""A fitted linear classifier as one file that numpy alone can read: safetensors with JSON in its header, no pickle.

The file holds ``coef_`` (k, d) and ``intercept_`` (k,), k being 1 for two classes. Its header holds, under ``featx``,
JSON with ``format`` (1), ``classes`` (their labels, in order), ``normalize`` (``l2`` or null) and ``params``. A
prediction is ``X @ coef_.T + intercept_``, with rows divided by their norms first if ``normalize`` says so. A
calibrated model is of ``format`` 2 and also has ``calibration``: ``method``, ``scale`` and ``offset``, of which the
latter two are one number per class; logits z (of two classes, 0 and the prediction) become ``scale * z + offset``.

This module needs only numpy and safetensors, none of featx's other dependencies.

Examples
--------
>>> import tempfile
>>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
>>> _ = write_model(path, coef=np.eye(3), intercept=np.zeros(3), classes=np.array(["a", "b", "c"]), normalize=None)
>>> read_model(path).predict(np.array([[0.0, 2.0, 1.0]])).tolist()
['b']
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import CorruptStoreError, OptionError

FORMAT, CALIBRATED = 1, 2
"""Of plain models, and of those whose logits are scaled, which a reader of the first would get wrong."""

HEADER = "featx"


@dataclass(frozen=True)
class Scaling:
    """A calibration: logits z become ``scale * z + offset``.

    Parameters
    ----------
    method : str
        ``temperature`` or ``vector``.
    scale, offset : ndarray of shape (k,)
        float64, a number per class.
    """

    method: str
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]

    def __call__(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return calibrated logits (n, k)."""
        return logits * self.scale + self.offset

    def of(self, classes: NDArray[np.int64]) -> Scaling:
        """Return the scaling of some of the classes, by their numbers."""
        return Scaling(self.method, self.scale[classes], self.offset[classes])

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"method": self.method, "scale": self.scale.tolist(), "offset": self.offset.tolist()}

    @classmethod
    def read(cls, found: Any, n_classes: int) -> Scaling | None:
        """Return what `as_dict` gave, from a file that anyone may have written; None for None.

        Raises
        ------
        ValueError, TypeError, LookupError
            It is no scaling of so many classes.
        """
        if found is None:
            return None
        scale, offset = (np.asarray(found[name], np.float64) for name in ("scale", "offset"))
        if not (scale.shape == offset.shape == (n_classes,) and np.isfinite([scale, offset]).all()):
            raise ValueError(f"calibration is not {n_classes} finite numbers each for scale and offset")
        return cls(str(found["method"]), scale, offset)


@dataclass(frozen=True)
class LinearModel:
    """A classifier that predicts with numpy.

    Parameters
    ----------
    coef : ndarray of shape (k, d)
        float64; k is 1 for two classes.
    intercept : ndarray of shape (k,)
        float64.
    classes : ndarray of shape (n_classes,)
        Labels.
    normalize : str or None
        ``l2`` where rows are divided by their Euclidean norms first.
    params : mapping
        What it was fitted with.
    calibration : Scaling or None
        What is done to the logits last.
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    classes: NDArray[Any]
    normalize: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    calibration: Scaling | None = None

    def logits(self, X: Any) -> NDArray[np.float64]:
        """Return the logits, calibrated if the model is; for two classes, the first one's are 0 before that.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.

        Returns
        -------
        ndarray of float64 of shape (n, n_classes)
            Columns in the order of `classes`.

        Raises
        ------
        OptionError
            X has another shape.
        """
        values = np.asarray(X, np.float64)
        if values.ndim != 2 or values.shape[1] != self.coef.shape[1]:
            raise OptionError(f"X has the shape {values.shape}, expected (n, {self.coef.shape[1]})")
        if self.normalize == "l2":
            norms = np.sqrt(np.square(values).sum(axis=1, keepdims=True))
            values = values / np.where(norms > 0, norms, 1)
        found: NDArray[np.float64] = values @ self.coef.T + self.intercept
        found = np.column_stack([np.zeros(len(found)), found]) if len(self.coef) == 1 else found
        return found if self.calibration is None else self.calibration(found)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each row.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.

        Returns
        -------
        ndarray of shape (n,)
            Some of `classes`.

        Raises
        ------
        OptionError
            X has another shape.
        """
        labels: NDArray[Any] = self.classes[self.logits(X).argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the classes' probabilities.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.

        Returns
        -------
        ndarray of float64 of shape (n, n_classes)
            Columns in the order of `classes`.

        Raises
        ------
        OptionError
            X has another shape.
        """
        logits = self.logits(X)
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = share / share.sum(axis=1, keepdims=True)
        return probabilities


def write_model(
    path: Path,
    *,
    coef: NDArray[np.float64],
    intercept: NDArray[np.float64],
    classes: NDArray[Any],
    normalize: str | None,
    params: Mapping[str, Any] | None = None,
    calibration: Scaling | None = None,
) -> Path:
    """Write a fitted model, wholly or not at all.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file.
    coef : ndarray of float64 of shape (k, d)
        k is 1 for two classes.
    intercept : ndarray of float64 of shape (k,)
        One value per row of `coef`.
    classes : ndarray of shape (n_classes,)
        Labels: numbers, booleans or strings.
    normalize : str or None
        ``l2`` where rows are divided by their Euclidean norms first.
    params : mapping, optional
        JSON-able; what the model was fitted with.
    calibration : Scaling, optional
        Of as many classes.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OptionError
        Labels that are neither numbers, booleans nor strings.
    StoreError
        The file cannot be written.
    """
    from safetensors.numpy import save

    from featx.core.atomic import write_bytes

    labels = classes.tolist()
    if not all(isinstance(label, (bool, int, float, str)) for label in labels):
        raise OptionError(f"labels of type {type(labels[0]).__name__} cannot be saved, expected numbers or strings")
    about: dict[str, Any] = {"format": FORMAT, "classes": labels, "normalize": normalize, "params": dict(params or {})}
    if calibration is not None:
        about |= {"format": CALIBRATED, "calibration": calibration.as_dict()}
    tensors = {"coef_": np.ascontiguousarray(coef), "intercept_": np.ascontiguousarray(intercept)}
    write_bytes(path, save(tensors, {HEADER: json.dumps(about)}))
    return path


def read_model(path: str | Path) -> LinearModel:
    """Read what `write_model` wrote.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    LinearModel
        Predicts with numpy alone.

    Raises
    ------
    CorruptStoreError
        The file is not such a model, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {})[HEADER])
            coef, intercept = file.get_tensor("coef_"), file.get_tensor("intercept_")
        classes, normalize = np.array(about["classes"]), about["normalize"]
        whole = coef.ndim == 2 and intercept.shape == coef.shape[:1] and normalize in (None, "l2")
        whole = whole and about["format"] in (FORMAT, CALIBRATED) and len(classes) == max(2, len(coef))
        calibration = Scaling.read(about["calibration"] if about["format"] == CALIBRATED else None, len(classes))
    except FileNotFoundError:
        raise CorruptStoreError(f"there is no file {path}", "save a fitted model with `save` first") from None
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise CorruptStoreError(f"{path} is not a model saved by featx: {error}", "save it again") from error
    if not whole:
        raise CorruptStoreError(f"{path} is damaged: its parts do not match", "save it again")
    weights, constants = np.asarray(coef, np.float64), np.asarray(intercept, np.float64)
    return LinearModel(weights, constants, classes, normalize, about["params"], calibration)
