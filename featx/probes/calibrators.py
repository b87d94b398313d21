"""Calibration of logits in scikit-learn's manner: fitted on held-out rows, it gives probabilities."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from featx.errors import OptionError
from featx.portable import Scaling
from featx.probes.calibration import SCALINGS
from featx.probes.config import Calibrate
from featx.probes.logit_scaling import Floats


class LogitScaling(BaseEstimator):  # type: ignore[misc]
    """What temperature and vector scaling share; see `TemperatureScaling` and `VectorScaling`."""

    _method: Calibrate

    def fit(self, logits: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Fit on rows that the model has not learnt from.

        Parameters
        ----------
        logits : array-like of shape (n, k) or (n,)
            A classifier's ``decision_function``; of two classes the second's alone will do.
        y : array-like of shape (n,)
            Labels.
        classes : array-like of shape (k,), optional
            The label of each column, rising, as a classifier's ``classes_``; None takes 0 to k - 1.

        Returns
        -------
        LogitScaling
            Itself.

        Raises
        ------
        featx.errors.OptionError
            (a ValueError) Shapes that do not belong together, or a label that is not among the classes.
        featx.errors.FeatureError
            Logits that are not finite.
        """
        values, labels = _columns(logits), np.asarray(y)
        self.classes_ = np.arange(values.shape[1]) if classes is None else np.asarray(classes)
        if self.classes_.shape != values.shape[1:]:
            raise OptionError(f"classes of shape {self.classes_.shape}, expected ({values.shape[1]},)")
        unknown = labels[~np.isin(labels, self.classes_)]
        if len(unknown):
            raise OptionError(f"y holds {unknown.tolist()[0]!r}, which is not among the classes")
        found = SCALINGS[self._method](values, np.searchsorted(self.classes_, labels))
        self.scale_, self.offset_, self.temperature_ = found.scale, found.offset, found.temperature
        self.temperature_bounds_, self.n_iter_ = found.temperature_bounds, found.n_iter
        self.objective_, self.objective_gap_, self.notes_ = found.objective, found.objective_gap, found.notes
        return self

    def decision_function(self, logits: ArrayLike) -> Floats:
        """Return calibrated logits.

        Parameters
        ----------
        logits : array-like of shape (n, k) or (n,)
            As in `fit`.

        Returns
        -------
        ndarray of float64 of shape (n, k)
            Columns in the order of `classes_`.

        Raises
        ------
        featx.errors.OptionError
            (a ValueError) Logits of another number of classes.
        sklearn.exceptions.NotFittedError
            Nothing was fitted yet.
        """
        check_is_fitted(self)
        values = _columns(logits)
        if values.shape[1:] != self.scale_.shape:
            raise OptionError(f"logits of shape {values.shape}, expected (n, {len(self.scale_)})")
        return Scaling(self._method, self.scale_, self.offset_)(values)

    def predict_proba(self, logits: ArrayLike) -> Floats:
        """Return the classes' calibrated probabilities.

        Parameters
        ----------
        logits : array-like of shape (n, k) or (n,)
            As in `fit`.

        Returns
        -------
        ndarray of float64 of shape (n, k)
            Columns in the order of `classes_`.

        Raises
        ------
        featx.errors.OptionError
            (a ValueError) Logits of another number of classes.
        sklearn.exceptions.NotFittedError
            Nothing was fitted yet.
        """
        probabilities: Floats = softmax(self.decision_function(logits), axis=1)
        return probabilities

    def predict_log_proba(self, logits: ArrayLike) -> Floats:
        """Return the calibrated probabilities' logarithms, finite even where a probability underflows.

        Parameters
        ----------
        logits : array-like of shape (n, k) or (n,)
            As in `fit`.

        Returns
        -------
        ndarray of float64 of shape (n, k)
            Columns in the order of `classes_`.

        Raises
        ------
        featx.errors.OptionError
            (a ValueError) Logits of another number of classes.
        sklearn.exceptions.NotFittedError
            Nothing was fitted yet.
        """
        logarithms: Floats = log_softmax(self.decision_function(logits), axis=1)
        return logarithms

    def predict(self, logits: ArrayLike) -> NDArray[Any]:
        """Return the most probable label of each row.

        Parameters
        ----------
        logits : array-like of shape (n, k) or (n,)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n,)
            Some of `classes_`.

        Raises
        ------
        featx.errors.OptionError
            (a ValueError) Logits of another number of classes.
        sklearn.exceptions.NotFittedError
            Nothing was fitted yet.
        """
        labels: NDArray[Any] = self.classes_[self.decision_function(logits).argmax(axis=1)]
        return labels


def _columns(logits: ArrayLike) -> Floats:
    """Return logits of shape (n, k); those of the second of two classes, (n,), beside zeros."""
    values = np.asarray(logits, np.float64)
    return np.column_stack([np.zeros_like(values), values]) if values.ndim == 1 else values


class TemperatureScaling(LogitScaling):
    """Logits divided by one temperature, that of least log loss; no prediction changes, only how sure it is.

    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017. The log loss is minimised as the
    convex function of 1/T that it is, to the same T as scikit-learn's ``CalibratedClassifierCV(method="temperature")``;
    see `featx.probes.temperature` for the bounds and the tiny ridge of rows that determine none.

    Attributes
    ----------
    temperature_ : float
        Above 1 where the model was too sure.
    temperature_bounds_ : tuple of float
        The optimal temperature lies between them, in exact arithmetic.
    scale_, offset_ : ndarray of shape (k,)
        Calibrated logits are ``scale_ * z + offset_``: here ``1 / temperature_`` and 0.
    objective_, objective_gap_ : float
        The mean log loss reached, nats; an upper bound on how far it is above its minimum, rounding errors included.
    n_iter_ : int
        Steps taken.
    classes_ : ndarray of shape (k,)
        The label of each column.
    notes_ : tuple of str
        Why the rows determine no temperature, where they do not.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    >>> found = TemperatureScaling().fit(logits, [0, 0, 1, 1])  # three of four are right: 4 / T is log 3
    >>> round(found.temperature_, 4)
    3.641
    >>> found.predict_proba(logits[:1]).round(4).tolist()
    [[0.75, 0.25]]
    """

    _method = "temperature"


class VectorScaling(LogitScaling):
    """A scale and an offset for the logit of each class, those of least penalised log loss.

    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017: a multinomial logistic problem of
    2 k parameters, here with a prior of one row's weight around temperature scaling (`featx.probes.vector_scaling`), so
    that classes without rows and rows that are all right have a finite optimum. Predictions may change.

    Attributes
    ----------
    scale_, offset_ : ndarray of shape (k,)
        Calibrated logits are ``scale_ * z + offset_``.
    temperature_, temperature_bounds_ : float, tuple of float
        Those of temperature scaling, around which the prior is.
    objective_, objective_gap_ : float
        Mean log loss and prior reached, nats; an upper bound on how far they are above the minimum, rounding errors
        included.
    n_iter_ : int
        Steps taken.
    classes_ : ndarray of shape (k,)
        The label of each column.
    notes_ : tuple of str
        What the rows do not determine.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]] * 10)
    >>> found = VectorScaling().fit(logits, [0, 0, 1, 1] * 10)
    >>> bool(found.objective_gap_ < 1e-9)
    True
    >>> found.predict_proba(logits[:1]).round(1).tolist()  # two of three such rows are of the first class
    [[0.7, 0.3]]
    """

    _method = "vector"
