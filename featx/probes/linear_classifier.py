"""What every softmax regression here has in common: how data come in, how predictions come out, how it is saved."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import normalize
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from featx.core.validation import check_choice, check_positive
from featx.errors import FeatxWarning, OptionError
from featx.portable import read_model, write_model
from featx.probes.check_array import check_finite, dense, is_streamed, labels_of, rows_a_block, validated
from featx.probes.config import BALANCED, NORMALIZE
from featx.probes.streaming import Stream

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingRows:
    """Rows that were found fit to learn from.

    Parameters
    ----------
    X : ndarray or Stream, of shape (n, d)
        float32 or float64, rows normalised where that was asked for.
    target : ndarray of int64 of shape (n,)
        Positions in `classes`.
    weight, class_weight : ndarray of float64 of shape (n,)
        Each row's sample weight, and the weight of its class.
    classes : ndarray of shape (k,)
    """

    X: NDArray[Any] | Stream
    target: NDArray[np.int64]
    weight: Floats
    class_weight: Floats
    classes: NDArray[Any]

    @property
    def held(self) -> NDArray[Any]:
        """X where it lies in memory, as it does unless the estimator can stream."""
        assert isinstance(self.X, np.ndarray)
        return self.X


class NotConvergedWarning(ConvergenceWarning, FeatxWarning):  # type: ignore[misc]
    """A fit stopped before its minimum: scikit-learn's own warning, which the commands print as a note."""


class LinearClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted `coef_` and `intercept_`, with rows that may have to be normalised first."""

    n_features_in_: int
    class_weight: Any
    normalize: str | None
    coef_: Floats
    intercept_: Floats
    classes_: NDArray[Any]
    converged_: bool

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def decision_function(self, X: Any) -> Floats:
        """Return the logits.

        Parameters
        ----------
        X : array of shape (n, d)
            As `fit` takes it.

        Returns
        -------
        ndarray of float64 of shape (n, k), or (n,) for two classes
            Columns in the order of `classes_`; of two classes, the second one's.

        Raises
        ------
        ValueError
            X has other columns than in the fit, or values that are not finite (then an `OptionError`).
        sklearn.exceptions.NotFittedError
            Nothing was fitted yet.
        """
        check_is_fitted(self)
        X = validated(self, X, reset=False, accept_sparse="csr", stream=True)
        logits = np.empty((X.shape[0], len(self.coef_)))
        for rows in row_slices(X):
            block = dense(X[rows])
            if is_streamed(X):
                check_finite(block, rows.start)
            logits[rows] = logits_of(self._normalized(block), self.coef_, self.intercept_)
        return logits[:, 0] if len(self.coef_) == 1 else logits

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array of shape (n, d)
            As `fit` takes it.

        Returns
        -------
        ndarray of shape (n,)
            Some of `classes_`.

        Raises
        ------
        ValueError
            X has other columns than in the fit, or values that are not finite (then an `OptionError`).
        sklearn.exceptions.NotFittedError
            Nothing was fitted yet.
        """
        logits = self.decision_function(X)
        index = (logits > 0).astype(np.intp) if logits.ndim == 1 else logits.argmax(axis=1)
        classes: NDArray[Any] = self.classes_[index]
        return classes

    def predict_proba(self, X: Any) -> Floats:
        """Return the classes' probabilities.

        Parameters
        ----------
        X : array of shape (n, d)
            As `fit` takes it.

        Returns
        -------
        ndarray of float64 of shape (n, n_classes)
            Columns in the order of `classes_`.

        Raises
        ------
        ValueError
            X has other columns than in the fit, or values that are not finite (then an `OptionError`).
        sklearn.exceptions.NotFittedError
            Nothing was fitted yet.
        """
        logits = self.decision_function(X)
        if logits.ndim == 1:
            return np.column_stack([expit(-logits), expit(logits)])
        probabilities: Floats = softmax(logits, axis=1)
        return probabilities

    def predict_log_proba(self, X: Any) -> Floats:
        """Return the probabilities' logarithms, finite even where a probability underflows.

        Parameters
        ----------
        X : array of shape (n, d)
            As `fit` takes it.

        Returns
        -------
        ndarray of float64 of shape (n, n_classes)
            Columns in the order of `classes_`.

        Raises
        ------
        ValueError
            X has other columns than in the fit, or values that are not finite (then an `OptionError`).
        sklearn.exceptions.NotFittedError
            Nothing was fitted yet.
        """
        logits = self.decision_function(X)
        if logits.ndim == 1:
            return np.column_stack([log_expit(-logits), log_expit(logits)])
        logarithms: Floats = log_softmax(logits, axis=1)
        return logarithms

    def save(self, path: str | Path) -> Path:
        """Write the fitted model to a file; see `featx.portable`.

        Labels, normalisation and parameters go along as JSON in the file's header. `load` reads it back, and so does
        `featx.portable.read_model` with numpy alone.

        Parameters
        ----------
        path : str or Path
            A ``.safetensors`` file.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OptionError
            Labels that are neither numbers, truths nor words.
        StoreError
            The file cannot be written.
        sklearn.exceptions.NotFittedError
            Nothing was fitted yet.
        """
        check_is_fitted(self)
        return write_model(
            Path(path),
            coef=self.coef_,
            intercept=self.intercept_,
            classes=self.classes_,
            normalize=self.normalize,
            params={"estimator": type(self).__name__, **_plain(self.get_params(deep=False))},
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the model that `save` wrote.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        LinearClassifier
            Of the class that is asked, ready to predict.

        Raises
        ------
        CorruptStoreError, OptionError
            The file is damaged; it holds another estimator's model.
        """
        found = read_model(path)
        params = dict(found.params)
        if params.pop("estimator", None) != cls.__name__:
            raise OptionError(f"{path} holds no {cls.__name__}", "load it with the class that saved it")
        if isinstance(params.get("class_weight"), list):
            params["class_weight"] = dict(params["class_weight"])
        model = cls(**{name: params[name] for name in cls._get_param_names() if name in params})
        model.coef_, model.intercept_, model.classes_ = found.coef, found.intercept, found.classes
        model.normalize, model.n_features_in_ = found.normalize, found.coef.shape[1]
        return model

    def _normalized(self, X: Any) -> Any:
        return X if self.normalize is None else normalize(X, self.normalize)

    def _rows(self, X: Any, y: Any, sample_weight: Any) -> TrainingRows:
        """Return what to learn from, or raise an error that says what is wrong with it."""
        y = labels_of(X) if y is None else y
        X, y = validated(self, X, y, reset=True, accept_sparse="csr", stream=self._can_stream())
        check_classification_targets(y)
        weight = _check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
        if not weight.any():
            raise OptionError("sample_weight is zero for every row, expected a positive weight somewhere")
        classes, target = np.unique(y, return_inverse=True)
        _two_classes(classes[np.unique(target[weight > 0])], "y holds")
        class_weight = self._class_weight(y, weight)
        _two_classes(classes[np.unique(target[weight * class_weight > 0])], "class_weight and sample_weight leave")
        held = Stream(X, prepare=self._normalized) if is_streamed(X) else dense(self._normalized(X))
        return TrainingRows(held, target.astype(np.int64), weight, class_weight, classes)

    def _can_stream(self) -> bool:
        """Tell whether `fit` can do with X read piece by piece."""
        return False

    def _class_weight(self, y: NDArray[Any], weight: Floats) -> Floats:
        """Return each row's class weight; 'balanced' counts rows by their sample weights."""
        if self.class_weight is None:
            return np.ones(len(y))
        if isinstance(self.class_weight, str) and self.class_weight == BALANCED:
            _, target = np.unique(y, return_inverse=True)
            share = np.bincount(target, weight)
            share[share == 0] = np.inf  # rows without weight stay without
            weights: Floats = (weight.sum() / (np.count_nonzero(np.isfinite(share)) * share))[target]
            return weights
        if not isinstance(self.class_weight, dict):
            raise OptionError(f"class_weight is {self.class_weight!r}, expected None, 'balanced' or a dict")
        weights = compute_sample_weight(self.class_weight, y)
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise OptionError(f"class_weight is {self.class_weight!r}, expected numbers from 0, some of them positive")
        return weights

    def _check_common(self) -> None:
        """Raise OptionError for parameters that all share and that cannot be worked with."""
        for name in ("tol", "max_iter"):
            check_positive(name, getattr(self, name))
        check_type("max_iter", self.max_iter, numbers.Integral, "a whole number")
        if self.normalize is not None:
            check_choice("normalize", self.normalize, NORMALIZE)
        for name in ("fit_intercept", "standardize", "warm_start"):
            if hasattr(self, name):
                check_type(name, getattr(self, name), (bool, np.bool_), "True or False")


def _two_classes(counted: NDArray[Any], what: str) -> None:
    if len(counted) < 2:
        found = f"only one class ({counted.tolist()[0]!r})" if len(counted) else "no class"
        raise OptionError(f"{what} {found}, expected at least two")


def row_slices(X: Any) -> Iterator[slice]:
    """Cut the rows of X into slices of a size that may be copied."""
    step = rows_a_block(X)
    return (slice(start, min(start + step, X.shape[0])) for start in range(0, X.shape[0], step))


def logits_of(X: NDArray[Any], coef: Floats, intercept: Floats) -> Floats:
    """Return the logits (n, k) in float64, whatever the type of X: coefficients of far columns cancel."""
    logits: Floats = X.astype(np.float64, copy=False) @ coef.T + intercept
    return logits


def check_type(name: str, value: object, types: Any, expected: str) -> None:
    """Raise OptionError unless `value` is an instance of `types`."""
    if not isinstance(value, types):
        raise OptionError(f"{name} is {value!r}, expected {expected}")


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold of an estimator's parameters: the numbers, words and truths, numpy's as Python's."""
    kinds = (bool, int, float, str, type(None))
    known = {name: _python(value) for name, value in params.items()}
    weights = known.get("class_weight")
    if isinstance(weights, dict):  # as pairs: labels that are numbers would become words as JSON's names
        known["class_weight"] = [[_python(label), _python(weight)] for label, weight in weights.items()]
    return {name: value for name, value in known.items() if isinstance(value, (*kinds, list))}


def _python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
